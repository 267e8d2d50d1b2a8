"""Blocks of shards, from a cache on a disk or from whoever has them, each verified.

    payloads = await cache.payloads(pack, number, layout, first_block, count, fetch)

Blocks are sealed, as stores have them, with the keyed hash that binds them to pack, shard and place: what the cache
gives is checked against it before a byte is used, and what does not hold is dropped and fetched. So neither a torn
write nor whoever gets at the directory can make a read wrong, only slower.

Blocks are fetched whole, in runs, and what somebody fetches already is waited for, so that neighbours that are read at
once cost one fetch. What is fetched is kept in the background, within a limit of memory; what is over is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from skep.base.errors import CorruptShard
from skep.chunks.layout import HASH_BYTES, ShardLayout
from skep.chunks.shard import verify_blocks
from skep.durability.cache.disk import CacheDisk, block_name
from skep.durability.records import PackPlaces
from skep.stores.protocol import Buffer

KEEPING_MAX_BYTES = 32 << 20
"""What may wait in memory to be written to the cache."""

Fetch = Callable[[int, int], Awaitable[Buffer]]
"""Reads ``count`` blocks from the ``first``, with their hashes, from a store, and verifies them."""


@dataclass(slots=True)
class CacheCounters:
    """What has passed since the start, in blocks and in bytes of payload."""

    hit_blocks: int = 0
    missed_blocks: int = 0
    hit_bytes: int = 0
    missed_bytes: int = 0
    damaged_blocks: int = 0
    """Blocks that were not what they should be, and were dropped."""
    skipped_blocks: int = 0
    """Blocks that were not kept because too many waited to be written."""

    @property
    def hit_ratio(self) -> float:
        """The part of the blocks asked for that were there."""
        asked = self.hit_blocks + self.missed_blocks
        return self.hit_blocks / asked if asked else 0.0


class BlockCache:
    """Used from the event loop's thread; the disk's work is done in threads."""

    def __init__(self, disk: CacheDisk, shard_key: bytes, threads: Executor) -> None:
        self.disk = disk
        self.counters = CacheCounters()
        self._shard_key = shard_key
        self._threads = threads
        self._coming: dict[str, asyncio.Future[Buffer]] = {}
        """Blocks that somebody fetches."""
        self._keeping: set[asyncio.Future[object]] = set()
        self._keeping_bytes = 0

    async def load(self) -> None:
        """Find what is there from before; until then nothing is kept."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self.disk.load)

    async def close(self) -> None:
        """Wait for what is being written."""
        if self._keeping:
            await asyncio.wait(self._keeping)

    def has(self, pack_id: bytes, number: int, first: int, count: int) -> bool:
        """Whether all these blocks seem to be there."""
        return all(self.disk.has(block_name(pack_id, number, block)) for block in range(first, first + count))

    def forget(self, pack_id: bytes, numbers: Sequence[int], block_count: int) -> None:
        """Drop the blocks of a pack that is gone."""
        names = [block_name(pack_id, number, block) for number in numbers for block in range(block_count)]
        known = [name for name in names if self.disk.has(name)]
        if known:
            self._in_background(lambda: self.disk.drop_all(known))

    async def payloads(
        self, pack: PackPlaces, number: int, layout: ShardLayout, first: int, count: int, fetch: Fetch
    ) -> list[memoryview]:
        """The payloads of a run of blocks of a shard. Raises what ``fetch`` raises."""
        wanted = range(first, first + count)
        found = await self._look(pack, number, layout, wanted)
        for block in wanted:
            if block not in found and (coming := self._coming.get(block_name(pack.pack_id, number, block))):
                raw = await _outcome(coming)
                if raw is not None:
                    found[block] = _payload(raw)
        for start, length in _runs([block for block in wanted if block not in found]):
            found.update(await self._fetch(pack, number, layout, start, length, fetch))
        return [found[block] for block in wanted]

    async def _look(self, pack: PackPlaces, number: int, layout: ShardLayout, wanted: range) -> dict[int, memoryview]:
        """Those blocks that the disk has, verified."""
        names = {block: block_name(pack.pack_id, number, block) for block in wanted}
        there = [block for block in wanted if self.disk.has(names[block])]
        found: dict[int, memoryview] = {}
        if there:
            call = lambda: self._read(pack, number, {block: names[block] for block in there})  # noqa: E731
            found = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        counters = self.counters
        counters.hit_blocks += len(found)
        counters.hit_bytes += sum(payload.nbytes for payload in found.values())
        counters.missed_blocks += len(wanted) - len(found)
        counters.missed_bytes += sum(layout.block_bytes(block) for block in wanted if block not in found)
        return found

    def _read(self, pack: PackPlaces, number: int, names: dict[int, str]) -> dict[int, memoryview]:
        """In a thread: blocks from the disk, without those that are gone or not right."""
        found = {}
        for block, name in names.items():
            raw = self.disk.read(name)
            if raw is None:
                continue
            try:
                (found[block],) = verify_blocks(
                    self._shard_key, pack.pack_id, number, pack.scheme, pack.size_bytes, block, raw
                )
            except (CorruptShard, ValueError):
                self.disk.drop(name)
                self.counters.damaged_blocks += 1
        return found

    async def _fetch(
        self, pack: PackPlaces, number: int, layout: ShardLayout, start: int, count: int, fetch: Fetch
    ) -> dict[int, memoryview]:
        """Fetch a run of blocks, let others who want them have them, and keep them."""
        names = {block: block_name(pack.pack_id, number, block) for block in range(start, start + count)}
        loop = asyncio.get_running_loop()
        ours = {name: self._coming.setdefault(name, loop.create_future()) for name in names.values()}
        blocks: dict[int, memoryview] = {}
        try:
            view, at = memoryview(await fetch(start, count)), 0
            for block in names:
                size_bytes = layout.block_bytes(block) + HASH_BYTES
                blocks[block] = view[at : at + size_bytes]
                at += size_bytes
        finally:
            for block, name in names.items():
                if not ours[name].done():
                    ours[name].set_result(blocks.get(block, b""))
                if self._coming.get(name) is ours[name]:
                    del self._coming[name]
        self._keep({names[block]: raw for block, raw in blocks.items()})
        return {block: _payload(raw) for block, raw in blocks.items()}

    def _keep(self, blocks: dict[str, memoryview]) -> None:
        """Write blocks in the background, unless too many wait already."""
        size_bytes = sum(raw.nbytes for raw in blocks.values())
        if self._keeping_bytes + size_bytes > KEEPING_MAX_BYTES:
            self.counters.skipped_blocks += len(blocks)
            return
        self._keeping_bytes += size_bytes
        self._in_background(lambda: [self.disk.write(name, raw) for name, raw in blocks.items()], size_bytes)

    def _in_background(self, call: Callable[[], object], size_bytes: int = 0) -> None:
        future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        self._keeping.add(future)

        def done(_: asyncio.Future[object]) -> None:
            self._keeping.discard(future)
            self._keeping_bytes -= size_bytes

        future.add_done_callback(done)


async def _outcome(coming: asyncio.Future[Buffer]) -> Buffer | None:
    """What somebody else has fetched; None when they failed or gave up."""
    raw = await asyncio.shield(coming)
    return raw if len(raw) else None


def _payload(raw: Buffer) -> memoryview:
    return memoryview(raw)[:-HASH_BYTES]


def _runs(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive blocks as (first, count)."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and sum(runs[-1]) == block:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((block, 1))
    return runs
