"""Who is invited, enrolled, renamed, revoked: the hive's book of agents."""

from __future__ import annotations

import base64
import dataclasses
import os

from skep.base.errors import BadInput, Forbidden, InvalidName
from skep.base.ids import Id, new_id
from skep.crypto.signatures import VerifyKey
from skep.db import Database, Transaction
from skep.durability.agents import rows
from skep.durability.agents.records import AgentInfo, AgentInvite, MadeInvite, NewAgent
from skep.stores.link.handshake import enrolment_text

TOKEN_PREFIX = "ska_"  # noqa: S105 - a prefix, no secret
INVITE_S = 7 * 86_400.0
INVITE_S_MAX = 365 * 86_400.0
USES_MAX = 1_000
INVITES_SHOWN = 1_000


def checked_name(name: str) -> str:
    """A name that can be a store's too. Raises InvalidName."""
    if not name or len(name.encode()) > 64 or any(not (c.isalnum() or c in "-_.") for c in name):
        raise InvalidName(f"{name[:80]!r} cannot name an agent: use 1 to 64 letters, digits, dots and dashes")
    return name


class AgentBook:
    """Reads and changes the agents' rows. Who may call what is decided by the door."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def invite(
        self,
        by: Id,
        *,
        owner_id: Id | None,
        name: str = "",
        zone: str = "",
        joins: bool = True,
        uses: int = 1,
        expires_in_s: float | None = None,
    ) -> MadeInvite:
        """Make an invitation. Raises InvalidName, BadInput."""
        if name:
            checked_name(name)
        if len(zone.encode()) > 64:
            raise InvalidName("a zone has at most 64 bytes")
        if not 1 <= uses <= USES_MAX or (name and uses != 1):
            raise BadInput(f"an invitation has 1 to {USES_MAX} uses, and one that names the agent has one")
        for_s = INVITE_S if expires_in_s is None else expires_in_s
        if not 1 <= for_s <= INVITE_S_MAX:
            raise BadInput(f"an invitation is good for 1 to {INVITE_S_MAX:.0f} seconds")
        token = TOKEN_PREFIX + base64.urlsafe_b64encode(os.urandom(20)).rstrip(b"=").decode()

        def work(tx: Transaction) -> AgentInvite:
            expires_us = tx.now_us + round(for_s * 1e6)
            info = AgentInvite(new_id(), by, owner_id, name, zone, joins, uses, tx.now_us, expires_us)
            rows.add_invite(tx, info, token)
            return info

        return MadeInvite(await self._db.write(work), token)

    async def invites(self) -> list[AgentInvite]:
        """Those that can still be used, oldest first."""
        return await self._db.read(lambda tx: rows.invite_rows(tx, INVITES_SHOWN))

    async def revoke_invite(self, invite_id: Id) -> None:
        """Make an invitation useless. Raises NotFound."""
        await self._db.write(lambda tx: rows.delete_invite(tx, invite_id))

    async def enrol(self, new: NewAgent) -> AgentInfo:
        """Take an agent in. Raises Forbidden (invitation, signature), InvalidName, AlreadyExists.

        Safe to repeat with the same key, as an agent does that lost the answer: whoever has the key is that agent.
        """
        try:
            key = VerifyKey(new.public_key)
        except ValueError:
            raise BadInput("the agent's public key is not one of Ed25519") from None
        if not key.verify(enrolment_text(rows.token_hash(new.token), new.public_key), new.signature):
            raise Forbidden("the agent does not prove that it has the key that it enrols")

        def work(tx: Transaction) -> AgentInfo:
            there = rows.agent_with_key(tx, new.public_key)
            if there is not None:
                return there
            invite = rows.spend_invite(tx, new.token)
            name = checked_name(invite.name or new.name)
            info = AgentInfo(
                new_id(), name, invite.owner_id, new.public_key, None, invite.zone or name, new.capacity_bytes,
                invite.joins, "active", 0, 0, None, tx.now_us, None,
            )  # fmt: skip
            rows.add_agent(tx, info)
            return info

        return await self._db.write(work)

    async def agents(self) -> list[AgentInfo]:
        """All agents, oldest first."""
        return await self._db.read(rows.agent_rows)

    async def agent(self, agent_id: Id) -> AgentInfo:
        """One agent. Raises AgentNotFound."""
        return await self._db.glance(lambda tx: rows.agent_row(tx, agent_id))

    async def named(self, name: str) -> AgentInfo:
        """The agent of that name. Raises AgentNotFound."""
        return await self._db.read(lambda tx: rows.agent_named(tx, name))

    async def rename(self, agent_id: Id, name: str) -> AgentInfo:
        """Give an agent another name; its store keeps its own. Raises AgentNotFound, InvalidName, AlreadyExists."""
        checked_name(name)

        def work(tx: Transaction) -> AgentInfo:
            info = rows.agent_row(tx, agent_id)
            if info.name != name:
                rows.refuse_taken_name(tx, name)
                rows.change_agent(tx, agent_id, name=name)
            return dataclasses.replace(info, name=name)

        return await self._db.write(work)

    async def begin(
        self, agent_id: Id, claimed: int, capacity_bytes: int | None, address: str | None = None
    ) -> tuple[int, bool]:
        """A link from this address begins and the agent's disk says that it holds generation ``claimed``.

        Returns the number that it must write down next, and whether its disk is an older state (or the hive's database
        is): then what it lists decides.
        """

        def work(tx: Transaction) -> tuple[int, bool]:
            info = rows.agent_row(tx, agent_id)
            astray = claimed not in (info.generation, info.pending)
            pending = max(claimed, info.pending) + 1
            rows.change_agent(
                tx, agent_id, pending=pending, capacity_bytes=capacity_bytes, seen_us=tx.now_us, address=address
            )
            return pending, astray

        return await self._db.write(work)

    async def advance(self, agent_id: Id) -> int:
        """The number that a connected agent must write down next."""

        def work(tx: Transaction) -> int:
            pending = rows.agent_row(tx, agent_id).pending + 1
            rows.change_agent(tx, agent_id, pending=pending)
            return pending

        return await self._db.write(work)

    async def confirm(self, agent_id: Id, generation: int) -> None:
        """The agent's disk holds this number."""
        await self._change(agent_id, generation=generation)

    async def seen(self, agent_id: Id) -> None:
        """The agent was there just now."""
        await self._db.write(lambda tx: rows.change_agent(tx, agent_id, seen_us=tx.now_us))

    async def set_trouble(self, agent_id: Id, trouble: str | None) -> None:
        """Say, or unsay, what an operator should look at."""
        await self._change(agent_id, trouble=trouble)

    async def set_state(self, agent_id: Id, state: str) -> None:
        """Make an agent active, leaving or revoked."""
        await self._change(agent_id, state=state)

    async def set_store(self, agent_id: Id, store_id: Id | None) -> None:
        """Note which store the agent is."""
        await self._change(agent_id, store_id=store_id)

    async def forget(self, agent_id: Id) -> None:
        """Drop the agent's row."""
        await self._db.write(lambda tx: rows.delete_agent(tx, agent_id))

    async def _change(self, agent_id: Id, **values: object) -> None:
        def work(tx: Transaction) -> None:
            rows.change_agent(tx, agent_id, **values)

        await self._db.write(work)
