"""Verified reads of content: from a manifest's slices to plain bytes, reading ahead.

The sealed bytes of each chunk come from ``PackReader``, which fetches, verifies and rebuilds; here is how
a chunk is opened, so that no byte is served before its AEAD is checked, and the next ones are under
way while a chunk is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence

from skep.base.errors import CorruptChunk, InvalidRange
from skep.base.ids import Id
from skep.chunks.manifest import ChunkRef, Manifest
from skep.chunks.seal import open_sealed
from skep.crypto.keys import DomainKeys
from skep.db import Database
from skep.durability.catalog import locate
from skep.durability.packreader import PackReader
from skep.durability.records import Location

PART_BYTES = 1 << 20
LOCATE_AHEAD = 64
READ_AHEAD_CHUNKS = 3


class Reader:
    """Reads contents of a hive. Used from the event loop's thread."""

    def __init__(self, db: Database, packs: PackReader, ahead_bytes_max: int) -> None:
        self._db = db
        self._packs = packs
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
            ref, start, stop = slices[0]
            for part in _parts(await self._only(keys, ref), start, stop):
                yield part
            return
        ahead: deque[asyncio.Task[bytes]] = deque()
        held = 0
        queue = self._located(keys.domain_id, slices)
        waiting: deque[tuple[int, int, int]] = deque()
        try:
            exhausted = False
            while True:
                while not exhausted and self._may_fetch(len(ahead)):
                    item = await anext(queue, None)
                    if item is None:
                        exhausted = True
                        break
                    ref, start, stop, location = item
                    ahead.append(asyncio.create_task(self.chunk(keys, ref, location)))
                    waiting.append((start, stop, ref.plain_bytes))
                    held += ref.plain_bytes
                    self._ahead_bytes += ref.plain_bytes
                if not ahead:
                    return
                plain = await ahead[0]
                ahead.popleft()
                start, stop, size = waiting.popleft()
                for part in _parts(plain, start, stop):
                    yield part
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

    async def _only(self, keys: DomainKeys, ref: ChunkRef) -> bytes:
        """The chunk of a small read."""
        found = await self._db.glance(lambda tx: locate(tx, keys.domain_id, [ref.id]))
        return await self.chunk(keys, ref, found[ref.id])

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

    async def chunk(self, keys: DomainKeys, ref: ChunkRef, location: Location) -> bytes:
        """The plain bytes of one chunk. Raises CorruptChunk and what ``PackReader.range`` raises."""
        try:
            plain = await self._packs.opened(location, lambda sealed: open_sealed(keys, ref.id, sealed))
        except CorruptChunk as error:
            raise CorruptChunk(
                f"chunk {ref.id.hex()} in pack {location.pack_id.hex()} does not open: {error.message}"
            ) from error
        if len(plain) != ref.plain_bytes:
            raise CorruptChunk(f"chunk {ref.id.hex()} has {len(plain)} bytes and its manifest says {ref.plain_bytes}")
        return plain


def _parts(plain: bytes, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from ``start`` to ``stop``, without a copy if that is all of a small chunk."""
    if stop - start == len(plain) <= PART_BYTES:
        return iter((plain,))
    return (plain[at : min(at + PART_BYTES, stop)] for at in range(start, stop, PART_BYTES))
