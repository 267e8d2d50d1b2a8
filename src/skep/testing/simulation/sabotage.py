"""Known mistakes, to be made on purpose: a simulation that does not notice them would prove nothing.

    python -m skep.testing.simulation --sabotage "repair trusts what it reads" --seeds 0:200

Each takes one of the rules away that ARCHITECTURE says always hold. They are put into the running process only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from skep.base.errors import DataLost, QuorumNotReached, SkepError
from skep.base.ids import Id
from skep.chunks.layout import BLOCK_BYTES, HASH_BYTES, HEADER_BYTES, ShardLayout
from skep.chunks.pack import PackBuilder
from skep.chunks.scheme import Scheme
from skep.chunks.shard import Shard, _Checked, encode_shards
from skep.db import Transaction
from skep.durability.cache import BlockCache
from skep.durability.leases import Leases
from skep.durability.packreader import PackReader
from skep.durability.placement import place
from skep.durability.policies import Pools, Tiers
from skep.durability.pools import HIVE, Pool
from skep.durability.reconcile import OnStores, Reconciler
from skep.durability.recording import WrittenShard
from skep.durability.service import ChunkService, Repoint
from skep.durability.shardwriter import PutShards, ShardWriter
from skep.durability.underway import Sweeping, Underway
from skep.filesystem.core import Core
from skep.stores.protocol import Buffer


def _check_no_quorum(self: ShardWriter, *what: Any) -> bool:
    return True


async def _believe_the_put(self: ShardWriter, pack_id: bytes, shard: Shard, store_id: Id) -> None:
    await _try_put(self, pack_id, shard, store_id)


_try_put = ShardWriter._try_put


def _verify_nothing(self: PackReader, pack: Any, number: int, first_block: int, raw: Buffer) -> Any:
    layout = ShardLayout(pack.scheme, pack.size_bytes)
    view, payloads, block = memoryview(raw), [], first_block
    while len(view):
        size = layout.block_bytes(block)
        payloads.append(view[:size])
        view, block = view[size + HASH_BYTES :], block + 1
    return payloads


def _take_the_block(self: _Checked, block: int) -> memoryview:
    start = HEADER_BYTES + block * (BLOCK_BYTES + HASH_BYTES)
    return self._view[start : start + self._header.layout.block_bytes(block)]


async def _commit_later(self: Core, work: Callable[[Transaction], Any]) -> Any:
    """Answer with what the work would give, and do it a moment later."""

    def rehearse(tx: Transaction) -> None:
        raise _Rehearsed(work(tx))

    try:
        await self._db.write(rehearse)
    except _Rehearsed as rehearsed:
        task = asyncio.ensure_future(self._db.write(work))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return rehearsed.result


class _Rehearsed(Exception):
    def __init__(self, result: object) -> None:
        super().__init__("rolled back")
        self.result = result


async def _record_first(self: ChunkService, builder: PackBuilder, scheme: Scheme, record: Any, **more: Any) -> Any:
    """Record a pack as stored everywhere, and store it only then."""
    put = self._shards.put

    async def claim(pack_id: bytes, scheme: Scheme, shards: Sequence[Shard], pool: Pool) -> PutShards:
        size_bytes = max(shard.size_bytes for shard in shards)
        where = place(pack_id, len(shards), size_bytes, await self.stores.candidates())
        if len(where.stores) < len(shards):
            return await put(pack_id, scheme, shards, pool)
        rows = [
            WrittenShard(shard.number, store_id, shard.size_bytes, True)
            for shard, store_id in zip(shards, where.stores, strict=True)
        ]
        late = [
            asyncio.ensure_future(_late(self._shards, pack_id, shard, row))
            for shard, row in zip(shards, rows, strict=True)
        ]
        return PutShards(tuple(rows), where.spread, tuple(late))

    self._shards.put = claim  # type: ignore[method-assign]
    try:
        return await _close_and_put(self, builder, scheme, record, **more)
    finally:
        self._shards.put = put  # type: ignore[method-assign]


async def _late(writer: ShardWriter, pack_id: bytes, shard: Shard, row: WrittenShard) -> WrittenShard:
    try:
        await writer._try_put(pack_id, shard, row.store_id)
    except SkepError:
        pass
    return row


_close_and_put = ChunkService._close_and_put


def _forget_leases(self: Leases) -> int:
    return self._epoch


def _hold_up_nobody(self: Underway, packs: Collection[bytes]) -> AbstractContextManager[Sweeping]:
    """All packs are the sweep's, whoever is putting shards of them."""
    return nullcontext(Sweeping(Underway(), set(packs)))


async def _repoint_first(
    self: ChunkService, builder: PackBuilder, scheme: Scheme, pool: Pool, repoint: Repoint
) -> None:
    """Point the rows at the new pack, then store it."""
    closed = builder.close()
    shards = encode_shards(self.shard_key, closed, scheme)
    where = place(closed.id, len(shards), shards[0].size_bytes, await self.stores.candidates())
    rows = tuple(
        WrittenShard(shard.number, store_id, shard.size_bytes, True)
        for shard, store_id in zip(shards, where.stores, strict=False)
    )
    if len(rows) < len(shards):
        raise QuorumNotReached("no room for a repack", stored=0, needed=len(shards))
    outcome = PutShards(rows, where.spread)
    await self._db.write(lambda tx: self._record_repacked(repoint, tx, closed, scheme, pool, outcome))
    for shard, row in zip(shards, rows, strict=True):
        await self._shards._try_put(closed.id, shard, row.store_id)


def _trust_the_cache(self: BlockCache, pack: Any, number: int, names: dict[int, str]) -> dict[int, memoryview]:
    found = {block: self.disk.read(name) for block, name in names.items()}
    return {block: memoryview(raw)[:-HASH_BYTES] for block, raw in found.items() if raw}


def _ask_no_owner(self: Pools, pool: Pool) -> Tiers:
    return lambda member: 0


def _know_no_pool(self: Pools, owner_id: Id, members: str = "") -> Pool:
    return HIVE


def _believe_the_snapshot(self: Reconciler, tx: Transaction, ids: Sequence[bytes], on_stores: OnStores) -> int:
    return 0


async def _see_no_new_packs(self: Reconciler, pack_id: bytes, places: Any) -> Any:
    raise DataLost("not looked at")


Change = tuple[type, str, object]
"""A class, a method of it, what stands in for it."""

SABOTAGE: dict[str, tuple[Change, ...]] = {
    "writes are acknowledged below the quorum": ((ShardWriter, "_check_stored", _check_no_quorum),),
    "a put that failed counts as stored": ((ShardWriter, "_try_put", _believe_the_put),),
    "writes are acknowledged before their shards are stored": ((ChunkService, "_close_and_put", _record_first),),
    "writes are acknowledged before they are committed": ((Core, "_commit", _commit_later),),
    "collection forgets leases": ((Leases, "oldest", _forget_leases),),
    "the sweep takes what is on its way": ((Underway, "sweeping", _hold_up_nobody),),
    "repack points at a pack that is not stored yet": ((ChunkService, "write_repacked", _repoint_first),),
    "the read cache is trusted": ((BlockCache, "_read", _trust_the_cache),),
    "a store's owner is not asked about": ((Pools, "tiers", _ask_no_owner),),
    "everybody's content goes into the same packs": ((Pools, "of_owner", _know_no_pool),),
    "recovery believes the snapshot": ((Reconciler, "_settle_shards", _believe_the_snapshot),),
    "recovery does not read packs that are newer than the snapshot": ((Reconciler, "_read_pack", _see_no_new_packs),),
    "repair trusts what it reads": ((PackReader, "_verify", _verify_nothing), (_Checked, "block", _take_the_block)),
}
"""What is done wrong."""


@contextmanager
def sabotaged(name: str | None) -> Iterator[None]:
    """Make a mistake in the body; None makes none. Raises KeyError for an unknown one."""
    changes = () if name is None else SABOTAGE[name]
    before = [owner.__dict__[method] for owner, method, _ in changes]
    for owner, method, instead in changes:
        setattr(owner, method, instead)
    try:
        yield
    finally:
        for (owner, method, _), was in zip(changes, before, strict=True):
            setattr(owner, method, was)
