"""From plain chunks to durable chunks: identify, look up, seal into open packs, wait.

One ``Intake`` serves all writers of a hive. The steps that cost processor time run in its threads,
on whole windows of a stream or whole groups of small bodies, so that a thread is entered a few
times per megabyte and once for a group of small files, not once for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from skep.base.errors import BodyTooLarge
from skep.base.ids import Id
from skep.chunks.manifest import ChunkRef
from skep.chunks.scheme import Scheme
from skep.chunks.seal import chunk_id
from skep.crypto.keys import DomainKeys
from skep.db import Database, Transaction
from skep.durability.catalog import Wanted, known_chunks
from skep.durability.packs import OpenPack, PackRoom
from skep.durability.policies import Pools
from skep.durability.pools import HIVE, Pool
from skep.stores.protocol import Buffer

INLINE_BYTES = 64 << 10
"""Up to this much is worked on in the event loop's thread: it takes less time than the way to another and back."""

GLANCES_MAX = 16
"""Chunk ids that are looked up on the event loop."""

SPACIOUS_STREAMS = 2
"""Streams at once that may have more and larger windows than they need: that bounds memory."""

CROWD_STREAMS = 16
"""Long streams at once beyond which each makes do with little."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlainChunk:
    """A chunk that has its id; ``data`` stays unchanged until it is sealed."""

    id: bytes
    data: Buffer

    @property
    def ref(self) -> ChunkRef:
        """How a manifest names it."""
        return ChunkRef(self.id, len(self.data))


@dataclass(slots=True)
class Stored:
    """Where the chunks of one writer have gone so far."""

    packs: set[OpenPack] = field(default_factory=set)


async def run_to_end(threads: Executor, call: Callable[[], T]) -> T:
    """Run a call in a thread; return, even if cancelled, only when it has ended."""
    future = asyncio.get_running_loop().run_in_executor(threads, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        raise


def identify(keys: DomainKeys, views: Sequence[Buffer]) -> list[PlainChunk]:
    """Give each run of bytes its chunk id."""
    return [PlainChunk(chunk_id(keys, view), view) for view in views]


class Spare:
    """A number of things that whoever comes first may have. One event loop only."""

    def __init__(self, count: int) -> None:
        self._count = count

    def take(self) -> bool:
        """Take one; whether there was one."""
        if self._count <= 0:
            return False
        self._count -= 1
        return True

    def give(self) -> None:
        """Give it back."""
        self._count += 1


class Intake:
    """Seals chunks that the hive does not have yet into packs."""

    def __init__(self, db: Database, room: PackRoom, threads: Executor, compression_level: int, pools: Pools) -> None:
        self._db = db
        self._pools = pools
        self._room = room
        self._threads = threads
        self._level = compression_level
        self.spacious = Spare(SPACIOUS_STREAMS)
        self.streams = 0
        """Long streams that are being written."""

    @property
    def crowded(self) -> bool:
        """Whether there are so many long streams that each must make do with little memory."""
        return self.streams > CROWD_STREAMS

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run processor-bound work in the intake's threads.

        A cancelled caller still waits for the thread to end: its buffers and pack are in use until then.
        """
        return await run_to_end(self._threads, lambda: call(*args, **kwargs))

    async def run_sized(self, size_bytes: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``run``, or at once if ``size_bytes`` to work on are few."""
        if size_bytes <= INLINE_BYTES:
            return call(*args, **kwargs)
        return await self.run(call, *args, **kwargs)

    async def store(
        self, keys: DomainKeys, chunks: Sequence[PlainChunk], scheme: Scheme, pool: Pool, stored: Stored
    ) -> None:
        """Append the chunks that are not known in their pool; on return their data may change.

        They are durable once ``settle`` has returned for ``stored``.
        """
        unique = {chunk.id: chunk for chunk in chunks}
        rest = [chunk for chunk in unique.values() if not self._follow(keys.domain_id, chunk, stored)]
        if not rest:
            return
        ids = [chunk.id for chunk in rest]
        wanted = Wanted(pool, scheme) if self._pools.any_owned or pool != HIVE else None
        known = await self._look(lambda tx: known_chunks(tx, keys.domain_id, ids, wanted), len(ids))
        await self._seal_all(keys, [chunk for chunk in rest if chunk.id not in known], scheme, pool, stored)

    async def _look(self, work: Callable[[Transaction], T], count: int) -> T:
        return await (self._db.glance(work) if count <= GLANCES_MAX else self._db.read(work))

    def _follow(self, domain_id: Id, chunk: PlainChunk, stored: Stored) -> bool:
        """Wait for another writer's pack if it already holds this chunk."""
        pack = self._room.pending(domain_id, chunk.id)
        if pack is not None:
            stored.packs.add(pack)
        return pack is not None

    async def _seal_all(
        self, keys: DomainKeys, chunks: Sequence[PlainChunk], scheme: Scheme, pool: Pool, stored: Stored
    ) -> None:
        start = 0
        while start < len(chunks):
            pack = await self._room.checkout(scheme, len(chunks[start].data), pool)
            full = False
            try:
                count = await self.run_sized(
                    sum(len(chunk.data) for chunk in chunks[start:]), self._append, keys, pack, chunks[start:], stored
                )
                full = start + count < len(chunks)
                if not count and not pack.builder.entries:
                    raise BodyTooLarge(f"a chunk of {len(chunks[start].data)} bytes does not fit in an empty pack")
                start += count
            finally:
                self._room.checkin(pack, full=full)

    def _append(self, keys: DomainKeys, pack: OpenPack, chunks: Sequence[PlainChunk], stored: Stored) -> int:
        """Seal as many chunks as fit; returns how many are settled. Runs in a thread."""
        count = 0
        for chunk in chunks:
            if not pack.builder.fits(len(chunk.data)):
                break
            holder = self._room.claim(pack, keys.domain_id, chunk.id)
            if holder is None:
                pack.builder.append(keys, chunk.id, chunk.data, self._level)
            stored.packs.add(holder or pack)
            count += 1
        return count

    async def begin(self, stored: Stored) -> None:
        """Have the packs of this writer written, and return while they are: there may be other work to do."""
        self._room.want(stored.packs)
        await asyncio.sleep(0)

    async def settle(self, stored: Stored) -> None:
        """Wait until every pack of this writer is durable and recorded. Raises what failed."""
        await self._room.settle(stored.packs)
