"""Repack: live chunks of packs that are mostly garbage, or small, move together into fresh packs.

Group commit writes small packs so that small files are durable at once; repack later makes few
large ones of them, which is what remote stores and listings want. Sealed chunks are moved as they
are, without opening them. The pointers of the moved chunks change in the one transaction that also
records the new pack; the old packs are retired by it and leave the stores after the grace period,
so that a reader who has just looked up the old place still finds it. A pack that cannot be read
now is passed over until the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import SkepError
from skep.base.workers import Outcome, Progress
from skep.chunks.pack import PackBuilder, PackEntry
from skep.chunks.scheme import Scheme
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.pools import HIVE, Pool
from skep.durability.recording import leave_pack
from skep.durability.records import Location
from skep.durability.service import ChunkService

SOURCES_MAX = 512
SMALL_RATIO = 0.25
INDEX_ENTRY_BYTES = 80
INDEX_FIXED_BYTES = 256
"""Upper bounds of what a pack's index takes, for each chunk and in all."""

_p, _c, _r = s.packs.c, s.chunks.c, s.repairs.c

_CANDIDATES = prepared(
    sa.select(_p.id, _p.scheme, _p.owner_id, _p.members, _p.size_bytes, _p.live_bytes, _p.chunk_count)
    .where(
        _p.retired_us.is_(None),
        _p.live_bytes <= sa.bindparam("live_max"),
        _p.created_us <= sa.bindparam("before"),
        _p.chunk_count > 0,
        ~sa.exists(sa.select(_r.pack_id).where(_r.pack_id == _p.id, _r.lost > 0)),
    )
    .order_by(_p.live_bytes)
    .limit(SOURCES_MAX)
)
_CHUNKS_OF = prepared(
    sa.select(_c.domain_id, _c.id, _c.offset, _c.size_bytes, _c.plain_bytes)
    .where(_c.pack_id == sa.bindparam("pack"))
    .order_by(_c.offset)
)
_REPOINT = prepared(
    sa.update(s.chunks)
    .where(
        _c.domain_id == sa.bindparam("domain"), _c.id == sa.bindparam("chunk"), _c.pack_id == sa.bindparam("old_pack")
    )
    .values(pack_id=sa.bindparam("new_pack"), offset=sa.bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class Source:
    """A pack worth repacking."""

    pack_id: bytes
    scheme: Scheme
    size_bytes: int
    live_bytes: int
    chunk_count: int
    pool: Pool = HIVE

    @property
    def needed_bytes(self) -> int:
        """What its live chunks take up in a pack, their part of the index included."""
        return self.live_bytes + self.chunk_count * INDEX_ENTRY_BYTES

    @property
    def dead_ratio(self) -> float:
        """The part of it that a repack would save."""
        return 1 - min(1.0, (self.needed_bytes + INDEX_FIXED_BYTES) / self.size_bytes)


@dataclass(frozen=True, slots=True)
class Repacked:
    """What one step did."""

    packs: int = 0
    chunks: int = 0
    moved_bytes: int = 0
    worth: bool = False
    """Whether there was something to do: the next step may have more."""


def choose(sources: Sequence[Source], pack_bytes: int, dead_ratio: float) -> list[Source]:
    """A set of packs of one scheme and pool whose live bytes fit one new pack; empty if it is not worth it.

    A pack is worth it when more than ``dead_ratio`` of it is garbage, or when it is small and
    there is another small one to join.
    """
    by_kind: dict[tuple[Scheme, Pool], list[Source]] = {}
    for source in sources:
        if source.dead_ratio > dead_ratio or source.size_bytes <= SMALL_RATIO * pack_bytes:
            by_kind.setdefault((source.scheme, source.pool), []).append(source)
    for worth in by_kind.values():
        chosen: list[Source] = []
        total = 0
        for source in worth:
            if total + source.needed_bytes <= pack_bytes * 0.98:
                chosen.append(source)
                total += source.needed_bytes
        if len(chosen) > 1 or any(source.dead_ratio > dead_ratio for source in chosen):
            return chosen
    return []


class Repacker:
    """The ``repack`` worker."""

    name = "repack"
    description = "Joins small packs and rewrites packs that are mostly garbage."

    def __init__(
        self, db: Database, chunks: ChunkService, clock: Clock, *, dead_ratio: float, age_s: float = 600.0
    ) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._dead_ratio = dead_ratio
        self._age_us = round(age_s * 1e6)
        self._passed_over: set[bytes] = set()
        """Packs that could not be read in this round."""

    async def run_once(self, progress: Progress) -> Outcome:
        """Make one new pack of old ones, if that is worth it."""
        done = await self.step(self._age_us)
        if not done.worth:
            self._passed_over.clear()
        return Outcome(more_work=done.worth, done_units=done.packs)

    async def run(self, report: Callable[[Repacked], None] = lambda _: None) -> Repacked:
        """Steps until nothing is worth it any more: part of ``skep gc --repack``."""
        total = Repacked()
        while (done := await self.step(0)).worth:
            total = Repacked(total.packs + done.packs, total.chunks + done.chunks, total.moved_bytes + done.moved_bytes)
            report(total)
        self._passed_over.clear()
        return total

    async def step(self, age_us: int) -> Repacked:
        """One new pack."""
        pack_bytes = self._chunks.options.pack_bytes
        before = self._clock.now_us() - age_us
        live_max = round(pack_bytes * (1 - self._dead_ratio))
        rows = await self._db.read(lambda tx: tx.rows(_CANDIDATES, {"live_max": live_max, "before": before}))
        sources = [
            Source(row[0], Scheme.parse(row[1]), row[4], row[5], row[6], self._pool(row[2], row[3]))
            for row in rows
            if row[0] not in self._passed_over
        ]
        chosen = choose(sources, pack_bytes, self._dead_ratio)
        if not chosen:
            return Repacked()
        with self._chunks.leases.hold():
            return await self._join(chosen)

    def _pool(self, owner_id: bytes | None, members: str) -> Pool:
        """Where a pack's chunks go now: its owner may have other stores, or none, since it was written."""
        return HIVE if owner_id is None else self._chunks.pools.of_owner(bytes(owner_id), members)

    async def _join(self, sources: Sequence[Source]) -> Repacked:
        builder = PackBuilder(self._chunks.index_key, self._chunks.options.pack_bytes)
        try:
            moves: list[tuple[bytes, PackEntry]] = []
            emptied = 0
            for source in sources:
                emptied += await self._adopt(builder, source, moves)
            if not moves:
                return Repacked(worth=True)
            await self._chunks.write_repacked(
                builder,
                sources[0].scheme,
                sources[0].pool,
                lambda tx, new_pack: _repoint(tx, moves, new_pack, self._chunks.leases.epoch),
            )
        finally:
            builder.abandon()
        return Repacked(emptied, len(moves), sum(entry.size_bytes for _, entry in moves), worth=True)

    async def _adopt(self, builder: PackBuilder, source: Source, moves: list[tuple[bytes, PackEntry]]) -> bool:
        """Copy a pack's live sealed chunks; False when they do not fit any more or cannot be read now."""
        rows = await self._db.read(lambda tx: tx.rows(_CHUNKS_OF, {"pack": source.pack_id}))
        if not builder.fits(sum(row[3] + INDEX_ENTRY_BYTES for row in rows)):
            self._passed_over.add(source.pack_id)
            return False
        try:
            read = [await self._chunks.packs.sealed(Location(source.pack_id, *row[2:])) for row in rows]
        except SkepError:
            self._passed_over.add(source.pack_id)
            return False
        for (domain_id, chunk_id, offset, size, plain), sealed in zip(rows, read, strict=True):
            entry = PackEntry(domain_id, chunk_id, offset, size, plain)
            moves.append((source.pack_id, builder.adopt(entry, sealed)))
        return True


def _repoint(tx: Transaction, moves: Sequence[tuple[bytes, PackEntry]], new_pack: bytes, epoch: int) -> tuple[int, int]:
    """Point chunk rows at the new pack; returns the sealed bytes and number of those that still were there."""
    live = count = 0
    left: dict[bytes, tuple[int, int]] = {}
    for old_pack, entry in moves:
        params = {
            "domain": entry.domain_id,
            "chunk": entry.chunk_id,
            "old_pack": old_pack,
            "new_pack": new_pack,
            "at": entry.offset,
        }
        if tx.run(_REPOINT, params):
            live, count = live + entry.size_bytes, count + 1
            before = left.get(old_pack, (0, 0))
            left[old_pack] = (before[0] + entry.size_bytes, before[1] + 1)
    for old_pack, (size, chunks) in left.items():
        leave_pack(tx, old_pack, size, chunks, tx.now_us, epoch)
    return live, count
