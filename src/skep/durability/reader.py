"""Verified reads of content: from a manifest's slices to plain bytes, reading ahead.

The sealed bytes of each chunk come from ``PackReader``, which fetches, verifies and rebuilds; here is how
a chunk is opened, so that no byte is served before its AEAD is checked, and the next ones are under
way while a chunk is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from skep.base.errors import CorruptChunk, InvalidRange
from skep.base.ids import Id
from skep.chunks.manifest import ChunkRef, Manifest
from skep.chunks.seal import open_sealed
from skep.crypto.keys import DomainKeys
from skep.db import Database
from skep.durability.catalog import LOCATION_ONE, locate, located
from skep.durability.intake import INLINE_BYTES
from skep.durability.packreader import PackReader
from skep.durability.readmemory import SLOW_S, STRETCH_BYTES, ReadMemory
from skep.durability.recent import Recent
from skep.durability.records import Location

LOCATE_AHEAD = 64
SHORT_BYTES = 256 << 10
"""A single chunk of up to this size is given whole, and not counted."""


class _Ahead(NamedTuple):
    """A chunk that is being opened, and what of it is wanted."""

    ref: ChunkRef
    start: int
    stop: int
    location: Location
    task: asyncio.Task[bytes]


class Reader:
    """Reads contents of a hive. Used from the event loop's thread."""

    def __init__(self, db: Database, packs: PackReader, held_bytes_max: int, recent: Recent) -> None:
        self.memory = ReadMemory(held_bytes_max)
        self.recent = recent
        self._db = db
        self._packs = packs

    async def read(
        self, keys: DomainKeys, manifest: Manifest, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes in parts of at most PART_BYTES_MAX.

        Raises InvalidRange, DataLost, StoreUnavailable, CorruptChunk.
        """
        length = manifest.size_bytes - offset if length is None else length
        if offset < 0 or length < 0 or offset + length > manifest.size_bytes:
            raise InvalidRange(f"bytes {offset}+{length} are not all within {manifest.size_bytes}")
        slices = manifest.slice(offset, length)
        if len(slices) == 1 and slices[0][0].plain_bytes <= SHORT_BYTES:
            ref, start, stop = slices[0]
            yield (await self._only(keys, ref))[start:stop]
            return
        memory, queue = self.memory, self._located(keys.domain_id, slices)
        ahead: deque[_Ahead] = deque()
        given: _Given | None = None
        exhausted = False
        with memory.enter():
            try:
                while True:
                    while not exhausted and memory.may_fetch(len(ahead), sum(one.ref.plain_bytes for one in ahead)):
                        item = await anext(queue, None)
                        if item is None:
                            exhausted = True
                            break
                        memory.held_bytes += item[0].plain_bytes
                        ahead.append(_Ahead(*item, asyncio.create_task(self.chunk(keys, item[0], item[3]))))
                    if not ahead:
                        return
                    plain = await ahead[0].task
                    given = _Given(self, keys, ahead.popleft(), plain)
                    del plain
                    while (part := await given.next()) is not None:
                        yield part
            finally:
                if given is not None:
                    given.let_go()
                memory.held_bytes -= sum(one.ref.plain_bytes for one in ahead)
                await _end([one.task for one in ahead])

    async def whole(self, keys: DomainKeys, manifest: Manifest, offset: int, length: int) -> bytes:
        """The bytes of a range in one piece, which the caller has found to be small. Raises what ``read`` raises."""
        if offset or length != manifest.size_bytes or len(manifest.chunks) != 1:
            return b"".join([part async for part in self.read(keys, manifest, offset, length)])
        return await self._only(keys, manifest.chunks[0])

    async def _only(self, keys: DomainKeys, ref: ChunkRef) -> bytes:
        """The chunk of a small read: from memory, at once if its store has it at hand, or as any other."""
        known = self.recent.get(keys.domain_id, ref.id)
        if known is not None:
            return known
        row = await self._db.look(LOCATION_ONE, {"domain": keys.domain_id, "id": ref.id})
        location = located(ref.id, row)
        plain = self._at_hand(keys, ref, location)
        if plain is None:
            plain = await self.chunk(keys, ref, location)
        self.recent.put(keys.domain_id, ref.id, plain)
        return plain

    def _at_hand(self, keys: DomainKeys, ref: ChunkRef, location: Location) -> bytes | None:
        """The plain bytes, if nothing has to be waited for and all is well; whoever gets None asks ``chunk``."""
        if location.size_bytes > INLINE_BYTES:
            return None
        sealed = self._packs.at_hand(location)
        if sealed is None:
            return None
        try:
            plain = open_sealed(keys, ref.id, sealed)
        except CorruptChunk:
            return None
        return plain if len(plain) == ref.plain_bytes else None

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


class _Given:
    """The chunk that is being given, or a stretch of it. What is kept is counted for as long as it is."""

    def __init__(self, reader: Reader, keys: DomainKeys, opened: _Ahead, plain: bytes) -> None:
        self._reader = reader
        self._keys = keys
        self._ref, self._at, self._stop, self._location, _ = opened
        self._kept, self._kept_from = plain, 0
        self._given_s: float | None = None

    async def next(self) -> bytes | None:
        """The next part of what is wanted, None after the last. Raises what ``Reader.chunk`` raises."""
        if self._at >= self._stop:
            return None
        memory, now_s = self._reader.memory, asyncio.get_running_loop().time
        is_slow = self._given_s is not None and now_s() - self._given_s > SLOW_S
        if self._at >= self._kept_from + len(self._kept):
            await self._again()
        start = self._at - self._kept_from
        end = min(start + memory.part_bytes, self._stop - self._kept_from, len(self._kept))
        part = self._kept[start:end]  # no copy, if that is all
        self._at += len(part)
        if self._at == self._stop:
            self.let_go()
        elif len(self._kept) > STRETCH_BYTES and memory.is_short(is_slow=is_slow):
            self._keep(self._kept[end : end + STRETCH_BYTES])
        self._given_s = now_s()
        return part

    async def _again(self) -> None:
        """Open the chunk once more."""
        self.let_go()
        self._reader.memory.held_bytes += self._ref.plain_bytes
        try:
            self._kept, self._kept_from = await self._reader.chunk(self._keys, self._ref, self._location), 0
        except BaseException:
            self._reader.memory.held_bytes -= self._ref.plain_bytes
            raise

    def let_go(self) -> None:
        """Keep nothing of it any more."""
        self._keep(b"")

    def _keep(self, stretch: bytes) -> None:
        """Keep of it only what comes next."""
        self._reader.memory.held_bytes += len(stretch) - len(self._kept)
        self._kept, self._kept_from = stretch, self._at


async def _end(tasks: Sequence[asyncio.Task[bytes]]) -> None:
    """End tasks whose results nobody wants."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()
