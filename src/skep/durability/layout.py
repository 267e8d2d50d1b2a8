"""The lint of a hive's layout as it stands: which stores are lost together, and how many packs that would cost now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from skep.base.errors import SkepError, UnsafeLayout
from skep.base.ids import Id, id_text
from skep.chunks.scheme import Scheme
from skep.db import Database, prepared
from skep.db import schema as s
from skep.durability.agents.book import AgentBook
from skep.durability.agents.records import AgentInfo
from skep.durability.lint import Facts, Finding, account_of, lint
from skep.durability.member import Member
from skep.durability.pools import Pool
from skep.durability.service import ChunkService
from skep.durability.terms import Terms
from skep.stores.url import parse_store_url

_h, _p, _sp = s.shards.c, s.packs.c, s.spaces.c
_SHARED = (
    sa.select(_p.scheme.label("scheme"), sa.func.count().label("held"))
    .join_from(s.shards, s.packs, _p.id == _h.pack_id)
    .where(_h.store_id.in_(sa.bindparam("stores", expanding=True)), _h.state == "ok", _p.retired_us.is_(None))
    .group_by(_p.id, _p.scheme)
    .subquery()
)
_COUNTS = prepared(
    sa.select(_SHARED.c.scheme, _SHARED.c.held, sa.func.count()).group_by(_SHARED.c.scheme, _SHARED.c.held)
)
_PLACES = prepared(
    sa.select(_p.owner_id, _p.members, _h.store_id, sa.func.count())
    .join_from(s.shards, s.packs, _p.id == _h.pack_id)
    .where(_p.retired_us.is_(None))
    .group_by(_p.owner_id, _p.members, _h.store_id)
)
_SCHEME_OF = prepared(sa.select(_sp.scheme).where(_sp.kind == "personal", _sp.owner_id == sa.bindparam("owner")))


@dataclass(frozen=True, slots=True)
class Standing:
    """One finding of the layout as it is."""

    owner_id: Id | None
    """Whose packs it is about; None: the hive's own pool."""
    kind: str
    """As in lint.py, or ``outside``: shards on stores that the policy of their owner excludes."""
    label: str
    stores: tuple[str, ...]
    loses: bool
    packs: int
    """Of ``outside``: shards. Else: packs that would be lost with these stores now."""
    message: str


class Layout:
    """Looks at the layout of a hive."""

    def __init__(
        self, db: Database, chunks: ChunkService, book: AgentBook, schemes: Sequence[str] = (), *, refuse: bool = False
    ) -> None:
        """``schemes``: what users may choose for their space; ``refuse``: whether findings stop what causes them."""
        self._db = db
        self._chunks = chunks
        self._book = book
        self._schemes = frozenset(schemes)
        self._refuse = refuse

    # --- before ----------------------------------------------------------------------------------

    async def try_store(
        self, url: str, secret: bytes | None, name: str, zone: str, owner_id: Id | None, *, force: bool = False
    ) -> list[str]:
        """What a store that is about to be added would make worse, in words.

        Raises UnsafeLayout if the hive refuses that and ``force`` does not insist.
        """
        enrolled = await self._book.agents()
        seen = await self._facts_of(owner_id, {info.store_id: info for info in enrolled})
        new = await _facts(bytes(16), name, zone or name, url, secret, owner_id, Terms(), _agent_at(url, enrolled))
        before = {(each.kind, each.label) for each in lint(await self._scheme(owner_id), seen)}
        found = [
            each
            for each in lint(await self._scheme(owner_id), [*seen, new])
            if new.store_id in each.store_ids and each.kind != "zone" and (each.kind, each.label) not in before
        ]
        return self._told(found, force)

    async def try_scheme(self, scheme: Scheme, owner_id: Id | None, *, force: bool = False) -> list[str]:
        """What a scheme would be worth on the stores that are there, in words. Raises UnsafeLayout as above."""
        agents = {info.store_id: info for info in await self._book.agents()}
        found = lint(scheme, await self._facts_of(owner_id, agents))
        return self._told([each for each in found if each.kind != "zone"], force)

    def _told(self, found: Sequence[Finding], force: bool) -> list[str]:
        if self._refuse and not force and found:
            raise UnsafeLayout(f"{found[0].message}; or insist with --force", findings=[each.message for each in found])
        return [each.message for each in found]

    # --- as it is --------------------------------------------------------------------------------

    async def standing(self, owner_id: Id | None = None) -> list[Standing]:
        """All findings, or those about one owner's packs. Counts packs: it reads every row of shards."""
        agents = {info.store_id: info for info in await self._book.agents()}
        owners: list[Id | None] = [owner_id]
        if owner_id is None:
            owners += sorted({each.owner_id for each in self._chunks.stores if each.owner_id is not None})
        found = []
        for owner in owners:
            for each in lint(await self._scheme(owner), await self._facts_of(owner, agents)):
                packs = await self._packs_lost(each.store_ids)
                found.append(Standing(owner, each.kind, each.label, each.stores, each.loses, packs, each.message))
        return [*found, *await self._outside(owner_id)]

    async def _packs_lost(self, stores: Sequence[Id]) -> int:
        rows = await self._db.read(lambda tx: tx.rows(_COUNTS, {"stores": list(stores)}))
        return sum(int(count) for scheme, held, count in rows if held > Scheme.parse(scheme).parity_shards)

    async def _outside(self, owner_id: Id | None) -> list[Standing]:
        """Shards where they should not be: from before a policy, or whose owner's label changed."""
        counted: dict[tuple[Id | None, str], int] = {}
        for owner, members, store_id, count in await self._db.read(lambda tx: tx.rows(_PLACES)):
            pool = Pool(None if owner is None else bytes(owner), members)
            member = self._chunks.stores.get(bytes(store_id))
            if member is None or (owner_id is not None and pool.owner_id != owner_id):
                continue
            if self._chunks.pools.tiers(pool)(member) is None:
                key = (pool.owner_id, member.name)
                counted[key] = counted.get(key, 0) + int(count)
        return [
            Standing(
                owner, "outside", "", (name,), False, count,
                f"{count} shards lie on {name!r}, which the policy in force does not let take them: drain it, or send "
                "the content again",
            )
            for (owner, name), count in sorted(counted.items(), key=lambda each: each[0][1])
        ]  # fmt: skip

    # --- what is known ---------------------------------------------------------------------------

    async def _scheme(self, owner_id: Id | None) -> Scheme:
        chosen = None
        if owner_id is not None:
            chosen = await self._db.read(lambda tx: tx.value(_SCHEME_OF, {"owner": owner_id}))
        return Scheme.parse(chosen) if chosen in self._schemes and chosen is not None else self._chunks.scheme

    async def _facts_of(self, owner_id: Id | None, agents: dict[Id | None, AgentInfo]) -> list[Facts]:
        """The stores that take an owner's new packs."""
        pools = self._chunks.pools
        tier_of = pools.tiers(Pool(None) if owner_id is None else Pool(owner_id))
        members = [each for each in self._chunks.stores if each.state == "active" and tier_of(each) is not None]
        return [await _facts_of_member(each, agents.get(each.id)) for each in members]


async def _facts_of_member(member: Member, agent: AgentInfo | None) -> Facts:
    return await _facts(
        member.id, member.name, member.zone, member.url, member.secret, member.owner_id, member.terms, agent
    )


async def _facts(
    store_id: Id, name: str, zone: str, url: str, secret: bytes | None, owner_id: Id | None, terms: Terms,
    agent: AgentInfo | None,
) -> Facts:  # fmt: skip
    household = terms.household
    if not household and agent is not None and owner_id is not None:
        household = f"of {owner_id.hex()}"
    facts = Facts(store_id, name, zone, "", account_of(url, secret), household, (agent and agent.address) or "")
    if not url.startswith("fs:"):
        return facts
    try:
        place = parse_store_url(url).path
        return replace(facts, disk=f"device {(await asyncio.to_thread(os.stat, place)).st_dev}")
    except (OSError, SkepError):
        return facts  # it is not mounted now


def _agent_at(url: str, agents: Iterable[AgentInfo]) -> AgentInfo | None:
    """The agent of an array's URL."""
    return next((each for each in agents if url == f"array://{id_text(each.id)}"), None)
