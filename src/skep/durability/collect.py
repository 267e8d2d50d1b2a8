"""Garbage collection: unused chunks, and packs without chunks. sweep.py has the shards that no row knows.

One unit of the ``gc`` worker does one bounded step of each of these, in this order:

1. condemn chunks without uses since the grace period, and raise the epoch (see leases.py);
2. remove condemned chunks' rows once every lease is younger; packs that nothing points at any
   more are thereby retired;
3. remove retired packs' shards, then their rows, once the grace period is over and every lease is
   younger.

Chunks of lost packs (damage.py) need no grace: once nothing uses them, there is nothing to keep.

Shards are removed by batches, where a store takes them (stores/batching.py), from all stores at once, each at
its own pace. A store that fails or is away has its shards asked for again in the next step; those that are gone
already are noted as missing, so that nobody asks for them twice, and other packs go on meanwhile.

What always holds: a chunk row goes only while its uses are 0, in the transaction that checks it; a
shard goes only after its pack's row is retired.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
from skep.events.records import GarbageCollected
from skep.stores.batching import batch_of, delete_many

STEP_CHUNKS = 1000
STEP_PACKS = 200
PAGES_MAX = 20
"""Pages of packs that one step passes over because a store of theirs cannot be asked."""
STORES_AT_ONCE = 8
SINGLES_AT_ONCE = 4
"""Calls under way at a store that removes objects one by one."""

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
    .where(
        _p.retired_us <= sa.bindparam("before"),
        _p.retired_epoch < sa.bindparam("oldest"),
        _p.chunk_count == 0,
        _p.id > sa.bindparam("after"),
    )
    .order_by(_p.id)
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
_GONE = prepared(
    sa.update(s.shards)
    .where(
        _h.pack_id == sa.bindparam("pack"),
        _h.number == sa.bindparam("shard"),
        _h.store_id == sa.bindparam("store"),
        _h.state != "missing",
    )
    .values(state="missing")
)
_LEFT = prepared(sa.select(_h.number).where(_h.pack_id == sa.bindparam("pack"), _h.state != "missing").limit(1))
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


class _Shard(NamedTuple):
    """A shard's row."""

    number: int
    store_id: Id
    size_bytes: int
    state: str


@dataclass(frozen=True, slots=True)
class _Retired:
    """A pack that nothing points at, and its shards."""

    pack_id: bytes
    shards: tuple[_Shard, ...]


class Collector:
    """The ``gc`` worker."""

    name = "gc"
    description = "Removes chunks that nothing uses, and packs without chunks, after the grace period."

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock, grace_s: float) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._grace_us = round(grace_s * 1e6)
        self._round = Collected()
        """What the worker removed since there was nothing left to do."""

    async def run_once(self, progress: Progress) -> Outcome:
        """One bounded step."""
        done = await self.step()
        self._round += done
        if not done.units:
            self._tell(self._round)
            self._round = Collected()
        return Outcome(more_work=done.units > 0, done_units=done.units)

    async def run(
        self, report: Callable[[Collected], None] = lambda _: None, *, grace_s: float | None = None
    ) -> Collected:
        """Steps until there is nothing left to do now: ``skep gc``."""
        total = Collected()
        while (done := await self.step(grace_s)).units:
            total += done
            report(total)
        self._tell(total)
        return total

    def _tell(self, done: Collected) -> None:
        if done.removed_chunks or done.removed_packs:
            removed = {"chunks": done.removed_chunks, "packs": done.removed_packs, "bytes_freed": done.freed_bytes}
            self._chunks.tell(GarbageCollected, **removed)

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

        def work(tx: Transaction) -> list[tuple[Id, bytes]]:
            removed: list[tuple[Id, bytes]] = []
            left: dict[bytes, tuple[int, int]] = {}
            for domain_id, chunk_id, pack_id, size in tx.rows(_CONDEMNED, {"oldest": oldest}):
                if tx.run(_REMOVE_CHUNK, {"domain": domain_id, "chunk": chunk_id, "oldest": oldest}):
                    before = left.get(pack_id, (0, 0))
                    left[pack_id] = (before[0] + size, before[1] + 1)
                    removed.append((domain_id, chunk_id))
            for pack_id, (size, chunks) in left.items():
                leave_pack(tx, pack_id, size, chunks, tx.now_us, epoch)
            return removed

        removed = await self._db.write(work)
        for domain_id, chunk_id in removed:
            self._chunks.reader.recent.drop(domain_id, chunk_id)
        return len(removed)

    async def _remove_packs(self, grace_us: int) -> tuple[int, int]:
        """A page of retired packs; further ones while none of a page can be removed."""
        after = b""
        for _ in range(PAGES_MAX):
            page = await self._retired(grace_us, after)
            if not page:
                break
            after = page[-1].pack_id
            gone = await self._delete_shards(page)
            done = [pack for pack in page if all((pack.pack_id, each.number) in gone for each in pack.shards)]
            freed = await self._db.write(lambda tx, p=page, g=gone, d=done: _note_gone(tx, p, g, d))  # type: ignore[misc]
            for pack in done:
                self._chunks.packs.forget(pack.pack_id)
                self._forget_cached(pack)
            if done:
                return len(done), freed
        return 0, 0

    async def _retired(self, grace_us: int, after: bytes) -> list[_Retired]:
        oldest = self._chunks.leases.oldest()

        def work(tx: Transaction) -> list[_Retired]:
            rows = tx.rows(_RETIRED, {"before": tx.now_us - grace_us, "oldest": oldest, "after": after})
            return [
                _Retired(row[0], tuple(_Shard(*each) for each in tx.rows(_SHARDS_OF, {"pack": row[0]}))) for row in rows
            ]

        return await self._db.read(work)

    def _forget_cached(self, pack: _Retired) -> None:
        """Drop what the read cache has of a pack that is gone."""
        if self._chunks.cache is not None and pack.shards:
            blocks = max(-(-each.size_bytes // BLOCK_BYTES) for each in pack.shards)
            self._chunks.cache.forget(pack.pack_id, [each.number for each in pack.shards], blocks)

    async def _delete_shards(self, packs: Sequence[_Retired]) -> set[tuple[bytes, int]]:
        """Delete packs' shards from their stores; those (pack, number) that are surely gone."""
        gone: set[tuple[bytes, int]] = set()
        by_store: dict[Id, dict[str, tuple[bytes, int]]] = {}
        for pack in packs:
            for each in pack.shards:
                member = self._chunks.stores.get(each.store_id)
                if each.state == "missing" or member is None or member.state == "lost":
                    gone.add((pack.pack_id, each.number))
                else:
                    at = by_store.setdefault(each.store_id, {})
                    at[shard_key(pack.pack_id, each.number)] = (pack.pack_id, each.number)
        at_once = asyncio.Semaphore(STORES_AT_ONCE)

        async def clear(store_id: Id, keys: dict[str, tuple[bytes, int]]) -> None:
            member = self._chunks.stores.get(store_id)
            if member is not None:
                async with at_once:
                    gone.update(keys[key] for key in await delete_shards(self._chunks, member, list(keys)))

        await asyncio.gather(*(clear(store_id, keys) for store_id, keys in by_store.items()))
        return gone


async def delete_shards(chunks: ChunkService, member: Member, keys: Sequence[str]) -> list[str]:
    """Delete objects of a store in as few calls as it takes; those that are surely gone. Ends at the first failure."""
    gone: list[str] = []
    batch = batch_of(member.store)
    step = batch if batch > 1 else SINGLES_AT_ONCE
    for start in range(0, len(keys), step):
        some = keys[start : start + step]
        if batch > 1:
            done = [await _delete_batch(chunks, member, some)] * len(some)
        else:
            done = await asyncio.gather(*(delete_shard(chunks, member, key) for key in some))
        gone += [key for key, was_done in zip(some, done, strict=True) if was_done]
        if not all(done):
            break
    return gone


async def _delete_batch(chunks: ChunkService, member: Member, keys: Sequence[str]) -> bool:
    store = member.store
    if store is None or member.resting:
        return False
    try:
        timeout_s = chunks.options.put_timeout_s
        await chunks.stores.call(member, lambda: delete_many(store, keys), timed=False, timeout_s=timeout_s)
    except SkepError:
        return False
    return True


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


def _note_gone(
    tx: Transaction, packs: Sequence[_Retired], gone: Collection[tuple[bytes, int]], done: Sequence[_Retired]
) -> int:
    """Remove the rows of packs that are gone; of the others note which shards are. The bytes freed of the former."""
    whole = {pack.pack_id for pack in done}
    freed_bytes = 0
    for pack in packs:
        for each in pack.shards:
            if each.state == "missing" or (pack.pack_id, each.number) not in gone:
                continue
            if tx.run(_GONE, {"pack": pack.pack_id, "shard": each.number, "store": each.store_id}):
                tx.run(_FREE_STORE, {"store": each.store_id, "bytes": each.size_bytes})
        if pack.pack_id not in whole or tx.one(_LEFT, {"pack": pack.pack_id}) is not None:
            continue  # a shard that repair or rebalance has moved meanwhile has its turn in the next step
        if tx.run(_REMOVE_PACK, {"pack": pack.pack_id}):
            freed_bytes += sum(each.size_bytes for each in pack.shards if each.state != "missing")
            tx.run(_REMOVE_SHARDS, {"pack": pack.pack_id})
            tx.run(_REMOVE_REPAIR, {"pack": pack.pack_id})
    return freed_bytes
