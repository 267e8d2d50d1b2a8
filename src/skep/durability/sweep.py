"""Sweep: shards that no row knows, as a crash between a put and its commit leaves them.

What always holds: a shard goes only when no row has placed it on its store for the grace period,
and its pack is not on its way (underway.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import SkepError
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.collect import delete_shards
from skep.durability.member import Member
from skep.durability.records import parse_shard_key
from skep.durability.service import ChunkService
from skep.stores.protocol import ObjectInfo

SWEEP_KEYS = 1000
LIST_TIMEOUT_S = 300.0

_h = s.shards.c
_PACK_SHARD_STORE = prepared(
    sa.select(_h.store_id, _h.state).where(_h.pack_id == sa.bindparam("pack"), _h.number == sa.bindparam("shard"))
)


class Sweeper:
    """The ``sweep`` worker: one unit looks through one page of one store."""

    name = "sweep"
    description = "Removes shards from the stores that no row knows, as a crash may leave them."

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock, grace_s: float) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._grace_us = round(grace_s * 1e6)
        self._seen: dict[tuple[Id, str], int] = {}
        """Unknown shards that the round before met, and when each was met first."""
        self._met: dict[tuple[Id, str], int] = {}
        """Those of this round."""
        self._at: dict[Id, str] = {}
        """The last key looked at in each store; empty: looked through."""

    async def run_once(self, progress: Progress) -> Outcome:
        """One page of one store; more work until every store has been looked through."""
        for member in self._chunks.stores:
            if member.store is None or member.down or self._at.get(member.id) == "":
                continue
            found = await self._page(member, self._grace_us)
            return Outcome(more_work=True, done_units=found)
        self._end_round()
        return Outcome(more_work=False)

    async def run(self, *, grace_s: float = 0.0) -> int:
        """Look through all stores now; returns how many unknown shards were removed."""
        self._at.clear()
        removed = 0
        for member in self._chunks.stores:
            while member.store is not None and not member.down and self._at.get(member.id) != "":
                removed += await self._page(member, round(grace_s * 1e6))
        self._end_round()
        return removed

    def _end_round(self) -> None:
        self._at.clear()
        self._seen, self._met = self._met, {}

    async def _page(self, member: Member, grace_us: int) -> int:
        try:
            page = await self._list(member, self._at.get(member.id, ""))
        except (SkepError, TimeoutError):
            self._at[member.id] = ""  # it has its turn in the next round, the others have theirs now
            return 0
        now_us = self._clock.now_us()
        named = {info.key: parsed for info in page if (parsed := parse_shard_key(info.key)) is not None}
        with self._chunks.on_their_way.sweeping([pack_id for pack_id, _ in named.values()]) as sweeping:
            found = await self._unknown(member, named, sweeping.packs)
            unknown = {key: self._seen.get((member.id, key), now_us) for key in found}
            due = [key for key, first_met_us in unknown.items() if now_us - first_met_us >= grace_us]
            sweeping.only([named[key][0] for key in due])
            gone = set(await delete_shards(self._chunks, member, due))
        self._met |= {(member.id, key): first_met_us for key, first_met_us in unknown.items() if key not in gone}
        removed = len(gone)
        self._at[member.id] = page[-1].key if len(page) == SWEEP_KEYS else ""
        return removed

    async def _list(self, member: Member, after: str) -> list[ObjectInfo]:
        store = member.store
        page: list[ObjectInfo] = []
        if store is None:
            return page
        async with asyncio.timeout(LIST_TIMEOUT_S):
            async for info in store.list("shards/", after):
                page.append(info)
                if len(page) == SWEEP_KEYS:
                    break
        return page

    async def _unknown(
        self, member: Member, named: Mapping[str, tuple[bytes, int]], still: Collection[bytes]
    ) -> list[str]:
        """Keys of packs that are not on their way, and that no row places here."""
        settled = [(key, parsed) for key, parsed in named.items() if parsed[0] in still]

        def work(tx: Transaction) -> list[str]:
            unknown = []
            for key, (pack_id, number) in settled:
                row = tx.one(_PACK_SHARD_STORE, {"pack": pack_id, "shard": number})
                if row is None or row[0] != member.id:
                    unknown.append(key)
            return unknown

        return await self._db.read(work) if settled else []
