"""Rows of agents and of their invitations: plain functions over a transaction.

What always holds: an invitation is spent by one conditional update, so that two who race for its last use cannot both
get it; ``generation <= pending``, and both only grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from skep.base.errors import AgentNotFound, AlreadyExists, Forbidden, NotFound
from skep.base.ids import Id
from skep.crypto.hashing import digest
from skep.db import Statement, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.agents.records import AgentInfo, AgentInvite

AGENTS_MAX = 10_000
_TOKEN_MAX = 128
_a, _i = s.agents.c, s.agent_invites.c
_AGENT = sa.select(
    _a.id, _a.name, _a.owner_id, _a.public_key, _a.store_id, _a.zone, _a.capacity_bytes, _a.joins, _a.state,
    _a.generation, _a.pending, _a.trouble, _a.created_us, _a.seen_us, _a.address,
)  # fmt: skip
_AGENTS = prepared(_AGENT.order_by(_a.created_us, _a.id).limit(AGENTS_MAX))
_BY_ID = prepared(_AGENT.where(_a.id == sa.bindparam("agent")))
_BY_NAME = prepared(_AGENT.where(_a.name == sa.bindparam("named")))
_BY_KEY = prepared(_AGENT.where(_a.public_key == sa.bindparam("key")))
_COUNT = prepared(sa.select(sa.func.count()).select_from(s.agents))
_ADD = insert_new(s.agents)
_DELETE = prepared(sa.delete(s.agents).where(_a.id == sa.bindparam("agent")))


def _set(*names: str) -> Statement:
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
    return prepared(sa.update(s.agents).where(_a.id == sa.bindparam("agent")).values(values))


_SET: Mapping[tuple[str, ...], Statement] = {
    names: _set(*names)
    for names in (
        ("name",),
        ("state",),
        ("trouble",),
        ("store_id",),
        ("seen_us",),
        ("generation",),
        ("pending", "capacity_bytes", "seen_us", "address"),
        ("pending",),
    )
}
_INVITE = sa.select(
    _i.id, _i.created_by, _i.owner_id, _i.name, _i.zone, _i.joins, _i.uses_left, _i.created_us, _i.expires_us
)
_USABLE = sa.and_(_i.uses_left > 0, _i.expires_us > sa.bindparam("now"))
_INVITES = prepared(_INVITE.where(_USABLE).order_by(_i.id).limit(sa.bindparam("page")))
_INVITER = sa.exists().where(s.users.c.id == _i.created_by, s.users.c.state == "active")
_BY_TOKEN = prepared(_INVITE.where(_i.token_hash == sa.bindparam("for_hash"), _USABLE, _INVITER))
_ADD_INVITE = insert_new(s.agent_invites)
_SPEND = prepared(
    sa.update(s.agent_invites)
    .where(_i.id == sa.bindparam("invite"), _i.uses_left > 0)
    .values(uses_left=_i.uses_left - 1)
)
_DELETE_INVITE = prepared(sa.delete(s.agent_invites).where(_i.id == sa.bindparam("invite")))
_PURGE_INVITES = prepared(
    sa.delete(s.agent_invites).where(sa.or_(_i.uses_left <= 0, _i.expires_us <= sa.bindparam("now")))
)


def token_hash(token: str) -> bytes:
    """What is stored of an invitation's token. Overlong text has a hash that matches nothing."""
    return digest(token[: _TOKEN_MAX + 1].encode("utf-8", "surrogatepass"))


def _agent(row: Sequence[Any]) -> AgentInfo:
    (
        agent_id, name, owner, key, store, zone, capacity, joins, state, generation, pending, trouble, created, seen,
        address,
    ) = row  # fmt: skip
    return AgentInfo(
        bytes(agent_id), name, _id(owner), bytes(key), _id(store), zone, capacity, bool(joins), state,
        generation, pending, trouble, created, seen, address,
    )  # fmt: skip


def _id(raw: Any) -> Id | None:
    return None if raw is None else bytes(raw)


def _invite(row: Sequence[Any]) -> AgentInvite:
    invite_id, by, owner, name, zone, joins, uses_left, created, expires = row
    return AgentInvite(bytes(invite_id), bytes(by), _id(owner), name, zone, bool(joins), uses_left, created, expires)


def agent_rows(tx: Transaction) -> list[AgentInfo]:
    """All agents, oldest first."""
    return [_agent(row) for row in tx.rows(_AGENTS)]


def agent_row(tx: Transaction, agent_id: Id) -> AgentInfo:
    """One agent. Raises AgentNotFound."""
    row = tx.one(_BY_ID, {"agent": agent_id})
    if row is None:
        raise AgentNotFound("there is no such agent: `skep agent ls` shows them all")
    return _agent(row)


def agent_named(tx: Transaction, name: str) -> AgentInfo:
    """The agent of that name. Raises AgentNotFound."""
    row = tx.one(_BY_NAME, {"named": name})
    if row is None:
        raise AgentNotFound(f"no agent is named {name!r}: `skep agent ls` shows them all")
    return _agent(row)


def agent_with_key(tx: Transaction, public_key: bytes) -> AgentInfo | None:
    """The agent that enrolled this key, if one did."""
    row = tx.one(_BY_KEY, {"key": public_key})
    return None if row is None else _agent(row)


def add_agent(tx: Transaction, info: AgentInfo) -> None:
    """Record a new agent. Raises AlreadyExists for a name that is taken."""
    refuse_taken_name(tx, info.name)
    if int(tx.value(_COUNT) or 0) >= AGENTS_MAX:
        raise AlreadyExists(f"the hive has {AGENTS_MAX} agents, and takes no more")
    tx.run(
        _ADD,
        {
            "id": info.id,
            "name": info.name,
            "owner_id": info.owner_id,
            "public_key": info.public_key,
            "store_id": info.store_id,
            "zone": info.zone,
            "capacity_bytes": info.capacity_bytes,
            "joins": int(info.joins),
            "state": info.state,
            "generation": info.generation,
            "pending": info.pending,
            "trouble": info.trouble,
            "created_us": info.created_us,
            "seen_us": info.seen_us,
            "address": info.address,
        },
    )


def refuse_taken_name(tx: Transaction, name: str) -> None:
    """Raises AlreadyExists when another agent has this name."""
    if tx.one(_BY_NAME, {"named": name}) is not None:
        raise AlreadyExists(f"an agent named {name!r} is there: take another name")


def change_agent(tx: Transaction, agent_id: Id, **values: object) -> None:
    """Set columns of an agent's row; a row that is gone stays gone."""
    statement = _SET[tuple(values)]
    tx.run(statement, {"agent": agent_id, **{f"new_{name}": value for name, value in values.items()}})


def delete_agent(tx: Transaction, agent_id: Id) -> None:
    """Forget an agent."""
    tx.run(_DELETE, {"agent": agent_id})


def add_invite(tx: Transaction, info: AgentInvite, token: str) -> None:
    """Record a new invitation, and drop those that nobody can use any more."""
    tx.run(_PURGE_INVITES, {"now": tx.now_us})
    tx.run(
        _ADD_INVITE,
        {
            "id": info.id,
            "token_hash": token_hash(token),
            "created_by": info.created_by,
            "owner_id": info.owner_id,
            "name": info.name,
            "zone": info.zone,
            "joins": int(info.joins),
            "uses_left": info.uses_left,
            "created_us": info.created_us,
            "expires_us": info.expires_us,
        },
    )


def invite_rows(tx: Transaction, limit: int) -> list[AgentInvite]:
    """Invitations that can still be used, oldest first."""
    return [_invite(row) for row in tx.rows(_INVITES, {"now": tx.now_us, "page": limit})]


def spend_invite(tx: Transaction, token: str) -> AgentInvite:
    """Take one use of an invitation, if whoever made it still may. Raises Forbidden, the same for every reason."""
    row = tx.one(_BY_TOKEN, {"for_hash": token_hash(token), "now": tx.now_us})
    if row is None or tx.run(_SPEND, {"invite": row[0]}) != 1:
        raise Forbidden("the invitation is unknown, used up or expired: ask for a new one", reason="invite")
    return _invite(row)


def delete_invite(tx: Transaction, invite_id: Id) -> None:
    """Take an invitation back. Raises NotFound."""
    if tx.run(_DELETE_INVITE, {"invite": invite_id}) != 1:
        raise NotFound("no such invitation: it may have been used up or revoked")
