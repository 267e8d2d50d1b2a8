"""Garbage collection: unused chunks, and packs without chunks. sweep.py has the shards that no row knows.

One unit of the ``gc`` worker does one bounded step of each of these, in this order:

1. condemn chunks without uses since the grace period, and raise the epoch (see leases.py);
2. remove condemned chunks' rows once every lease is younger; packs that nothing points at any
   more are thereby retired;
3. remove retired packs' shards, then their rows, once the grace period is over and every lease is
   younger.

Chunks of lost packs (damage.py) need no grace: once nothing uses them, there is nothing to keep.

What always holds: a chunk row goes only while its uses are 0, in the transaction that checks it; a
shard goes only after its pack's row is retired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import SkepError
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.chunks.layout import BLOCK_BYTES
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.catalog import raise_epoch
from skep.durability.member import Member
from skep.durability.recording import leave_pack
from skep.durability.records import shard_key
from skep.durability.service import ChunkService

STEP_CHUNKS = 1000
STEP_PACKS = 64

_c, _p, _h = s.chunks.c, s.packs.c, s.shards.c

_UNUSED = prepared(
    sa.select(_c.domain_id, _c.id)
    .where(_c.unused_us <= sa.bindparam("before"), _c.condemned_epoch.is_(None), _c.refs == 0)
    .limit(STEP_CHUNKS)
)
_CONDEMN = prepared(
    sa.update(s.chunks)
    .where(
        _c.domain_id == sa.bindparam("domain"),
        _c.id == sa.bindparam("chunk"),
        _c.refs == 0,
        _c.condemned_epoch.is_(None),
    )
    .values(condemned_epoch=sa.bindparam("epoch"))
)
_CONDEMNED = prepared(
    sa.select(_c.domain_id, _c.id, _c.pack_id, _c.size_bytes)
    .where(_c.unused_us.is_not(None), _c.condemned_epoch < sa.bindparam("oldest"), _c.refs == 0)
    .limit(STEP_CHUNKS)
)
_REMOVE_CHUNK = prepared(
    sa.delete(s.chunks).where(
        _c.domain_id == sa.bindparam("domain"),
        _c.id == sa.bindparam("chunk"),
        _c.refs == 0,
        _c.condemned_epoch < sa.bindparam("oldest"),
    )
)
_RETIRED = prepared(
    sa.select(_p.id)
    .where(_p.retired_us <= sa.bindparam("before"), _p.retired_epoch < sa.bindparam("oldest"), _p.chunk_count == 0)
    .limit(STEP_PACKS)
)
_RETIRED_NOW = prepared(
    sa.select(_p.id).where(_p.retired_us.is_not(None), _p.retired_epoch >= sa.bindparam("epoch")).limit(1)
)
_SHARDS_OF = prepared(
    sa.select(_h.number, _h.store_id, _h.size_bytes, _h.state).where(_h.pack_id == sa.bindparam("pack"))
)
_REMOVE_PACK = prepared(sa.delete(s.packs).where(_p.id == sa.bindparam("pack"), _p.chunk_count == 0))
_REMOVE_SHARDS = prepared(sa.delete(s.shards).where(_h.pack_id == sa.bindparam("pack")))
_REMOVE_REPAIR = prepared(sa.delete(s.repairs).where(s.repairs.c.pack_id == sa.bindparam("pack")))
_FREE_STORE = prepared(
    sa.update(s.stores)
    .where(s.stores.c.id == sa.bindparam("store"))
    .values(used_bytes=s.stores.c.used_bytes - sa.bindparam("bytes"))
)


@dataclass(frozen=True, slots=True)
class Collected:
    """What one step removed."""

    condemned_chunks: int = 0
    removed_chunks: int = 0
    removed_packs: int = 0
    freed_bytes: int = 0

    def __add__(self, other: Collected) -> Collected:
        return Collected(
            self.condemned_chunks + other.condemned_chunks,
            self.removed_chunks + other.removed_chunks,
            self.removed_packs + other.removed_packs,
            self.freed_bytes + other.freed_bytes,
        )

    @property
    def units(self) -> int:
        """Things done."""
        return self.condemned_chunks + self.removed_chunks + self.removed_packs


class Collector:
    """The ``gc`` worker."""

    name = "gc"
    description = "Removes chunks that nothing uses, and packs without chunks, after the grace period."

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock, grace_s: float) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._grace_us = round(grace_s * 1e6)

    async def run_once(self, progress: Progress) -> Outcome:
        """One bounded step."""
        done = await self.step()
        return Outcome(more_work=done.units > 0, done_units=done.units)

    async def run(
        self, report: Callable[[Collected], None] = lambda _: None, *, grace_s: float | None = None
    ) -> Collected:
        """Steps until there is nothing left to do now: ``skep gc``."""
        total = Collected()
        while (done := await self.step(grace_s)).units:
            total += done
            report(total)
        return total

    async def step(self, grace_s: float | None = None) -> Collected:
        """Condemn, remove chunks, remove packs: a bounded number of each."""
        grace_us = self._grace_us if grace_s is None else round(grace_s * 1e6)
        condemned = await self._condemn(grace_us)
        removed = await self._remove_chunks()
        packs, freed = await self._remove_packs(grace_us)
        return Collected(condemned, removed, packs, freed)

    async def _condemn(self, grace_us: int) -> int:
        epoch = self._chunks.leases.epoch

        def work(tx: Transaction) -> tuple[int, int | None]:
            count = 0
            for domain_id, chunk_id in tx.rows(_UNUSED, {"before": tx.now_us - grace_us}):
                count += tx.run(_CONDEMN, {"domain": domain_id, "chunk": chunk_id, "epoch": epoch})
            waiting = tx.one(_RETIRED_NOW, {"epoch": epoch})
            return count, raise_epoch(tx) if count or waiting else None

        count, raised = await self._db.write(work)
        if raised is not None:
            self._chunks.leases.advance(raised)
        return count

    async def _remove_chunks(self) -> int:
        oldest, epoch = self._chunks.leases.oldest(), self._chunks.leases.epoch

        def work(tx: Transaction) -> int:
            count = 0
            left: dict[bytes, tuple[int, int]] = {}
            for domain_id, chunk_id, pack_id, size in tx.rows(_CONDEMNED, {"oldest": oldest}):
                if tx.run(_REMOVE_CHUNK, {"domain": domain_id, "chunk": chunk_id, "oldest": oldest}):
                    before = left.get(pack_id, (0, 0))
                    left[pack_id] = (before[0] + size, before[1] + 1)
                    count += 1
            for pack_id, (size, chunks) in left.items():
                leave_pack(tx, pack_id, size, chunks, tx.now_us, epoch)
            return count

        return await self._db.write(work)

    async def _remove_packs(self, grace_us: int) -> tuple[int, int]:
        oldest = self._chunks.leases.oldest()

        def due(tx: Transaction) -> list[tuple[bytes, list[tuple[int, Id, int, str]]]]:
            rows = tx.rows(_RETIRED, {"before": tx.now_us - grace_us, "oldest": oldest})
            return [(row[0], tx.rows(_SHARDS_OF, {"pack": row[0]})) for row in rows]

        count = freed = 0
        for pack_id, shards in await self._db.read(due):
            if await self._delete_shards(pack_id, shards):
                await self._db.write(lambda tx, p=pack_id, h=shards: _forget_pack(tx, p, h))  # type: ignore[misc]
                self._chunks.packs.forget(pack_id)
                self._forget_cached(pack_id, shards)
                count += 1
                freed += sum(size for _, _, size, state in shards if state != "missing")
        return count, freed

    def _forget_cached(self, pack_id: bytes, shards: Sequence[tuple[int, Id, int, str]]) -> None:
        """Drop what the read cache has of a pack that is gone."""
        if self._chunks.cache is not None:
            blocks = max(-(-size_bytes // BLOCK_BYTES) for _, _, size_bytes, _ in shards) if shards else 0
            self._chunks.cache.forget(pack_id, [number for number, _, _, _ in shards], blocks)

    async def _delete_shards(self, pack_id: bytes, shards: Sequence[tuple[int, Id, int, str]]) -> bool:
        """Delete a retired pack from its stores; False when one could not be asked (it is tried again)."""
        complete = True
        for number, store_id, _, _ in shards:
            member = self._chunks.stores.get(store_id)
            if member is None or member.state == "lost":
                continue
            complete = await delete_shard(self._chunks, member, shard_key(pack_id, number)) and complete
        return complete


async def delete_shard(chunks: ChunkService, member: Member, key: str) -> bool:
    """Delete one object of a store; whether it is surely gone."""
    store = member.store
    if store is None or member.resting:
        return False
    try:
        timeout_s = chunks.options.put_timeout_s
        await chunks.stores.call(member, lambda: store.delete(key), timed=False, timeout_s=timeout_s)
    except SkepError:
        return False
    return True


def _forget_pack(tx: Transaction, pack_id: bytes, shards: Sequence[tuple[int, Id, int, str]]) -> None:
    if not tx.run(_REMOVE_PACK, {"pack": pack_id}):
        return
    tx.run(_REMOVE_SHARDS, {"pack": pack_id})
    tx.run(_REMOVE_REPAIR, {"pack": pack_id})
    tx.many(
        _FREE_STORE, [{"store": store_id, "bytes": size} for _, store_id, size, state in shards if state != "missing"]
    )
