"""Verified reads of content: from a manifest's slices to plain bytes, reading ahead.

The sealed bytes of each chunk come from ``PackReader``, which verifies and rebuilds; here each chunk
is opened, so that no byte is served before its AEAD is checked, and the next ones are under way
while a chunk is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor

from skep.base.errors import CorruptChunk, InvalidRange
from skep.base.ids import Id
from skep.chunks.manifest import ChunkRef, Manifest
from skep.chunks.seal import open_sealed
from skep.crypto.keys import DomainKeys
from skep.db import Database
from skep.durability.catalog import locate
from skep.durability.intake import INLINE_BYTES, run_to_end
from skep.durability.packreader import PackReader
from skep.durability.records import Location
from skep.stores.protocol import Buffer

PART_BYTES = 256 << 10
LOCATE_AHEAD = 64
READ_AHEAD_CHUNKS = 3


class Reader:
    """Reads contents of a hive. Used from the event loop's thread."""

    def __init__(self, db: Database, packs: PackReader, threads: Executor, ahead_bytes_max: int) -> None:
        self._db = db
        self._packs = packs
        self._threads = threads
        self._ahead_bytes_max = ahead_bytes_max
        self._ahead_bytes = 0

    async def read(
        self, keys: DomainKeys, manifest: Manifest, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes in parts of at most PART_BYTES.

        Raises InvalidRange, DataLost, StoreUnavailable, CorruptChunk.
        """
        length = manifest.size_bytes - offset if length is None else length
        if offset < 0 or length < 0 or offset + length > manifest.size_bytes:
            raise InvalidRange(f"bytes {offset}+{length} are not all within {manifest.size_bytes}")
        slices = manifest.slice(offset, length)
        if len(slices) == 1:
            for part in _parts(await self._only(keys, slices[0])):
                yield part
            return
        ahead: deque[asyncio.Task[memoryview]] = deque()
        held = 0
        queue = self._located(keys.domain_id, slices)
        waiting: deque[int] = deque()
        try:
            exhausted = False
            while True:
                while not exhausted and self._may_fetch(len(ahead)):
                    item = await anext(queue, None)
                    if item is None:
                        exhausted = True
                        break
                    ref, start, stop, location = item
                    ahead.append(asyncio.create_task(self._slice(keys, ref, location, start, stop)))
                    waiting.append(ref.plain_bytes)
                    held += ref.plain_bytes
                    self._ahead_bytes += ref.plain_bytes
                if not ahead:
                    return
                data = await ahead[0]
                ahead.popleft()
                for part in _parts(data):
                    yield part
                size = waiting.popleft()
                held -= size
                self._ahead_bytes -= size
        finally:
            self._ahead_bytes -= held
            for task in ahead:
                task.cancel()
            if ahead:
                await asyncio.wait(ahead)
                for task in ahead:
                    if not task.cancelled():
                        task.exception()

    async def _only(self, keys: DomainKeys, piece: tuple[ChunkRef, int, int]) -> memoryview:
        """All of a small read."""
        ref, start, stop = piece
        found = await self._db.glance(lambda tx: locate(tx, keys.domain_id, [ref.id]))
        return await self._slice(keys, ref, found[ref.id], start, stop)

    def _may_fetch(self, ahead: int) -> bool:
        """One chunk is always allowed; more while all readers together hold little."""
        return not ahead or (ahead < READ_AHEAD_CHUNKS and self._ahead_bytes < self._ahead_bytes_max)

    async def _located(
        self, domain_id: Id, slices: Sequence[tuple[ChunkRef, int, int]]
    ) -> AsyncIterator[tuple[ChunkRef, int, int, Location]]:
        for first in range(0, len(slices), LOCATE_AHEAD):
            part = slices[first : first + LOCATE_AHEAD]
            ids = list({ref.id for ref, _, _ in part})
            found = await self._db.read(lambda tx, ids=ids: locate(tx, domain_id, ids))  # type: ignore[misc]
            for ref, start, stop in part:
                yield ref, start, stop, found[ref.id]

    async def _slice(self, keys: DomainKeys, ref: ChunkRef, location: Location, start: int, stop: int) -> memoryview:
        plain = await self.chunk(keys, ref, location)
        return memoryview(plain)[start:stop]

    async def chunk(self, keys: DomainKeys, ref: ChunkRef, location: Location) -> Buffer:
        """The plain bytes of one chunk. Raises CorruptChunk and what ``PackReader.range`` raises."""
        sealed = await self._packs.sealed(location)
        try:
            plain = await self._run(len(sealed), lambda: open_sealed(keys, ref.id, sealed))
        except CorruptChunk as error:
            raise CorruptChunk(
                f"chunk {ref.id.hex()} in pack {location.pack_id.hex()} does not open: {error.message}"
            ) from error
        if len(plain) != ref.plain_bytes:
            raise CorruptChunk(f"chunk {ref.id.hex()} has {len(plain)} bytes and its manifest says {ref.plain_bytes}")
        return plain

    async def _run(self, size_bytes: int, call: Callable[[], Buffer]) -> Buffer:
        return call() if size_bytes <= INLINE_BYTES else await run_to_end(self._threads, call)


def _parts(data: memoryview) -> Iterator[bytes]:
    return (bytes(data[at : at + PART_BYTES]) for at in range(0, len(data), PART_BYTES))
