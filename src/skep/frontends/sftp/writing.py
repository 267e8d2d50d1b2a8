"""Writing an open file: writes at given offsets become one stream, and the stream one version.

SFTP writes pieces at offsets; a hive takes contents whole. So the pieces are put in order: what comes next in the
file goes into the stream at once, what comes too early waits in memory, and what no write covers is filled from the
content that was there, or with zeros, when the file is closed. A write that goes back over what the stream has
already taken ends the stream: it becomes a version, and the rest goes into another one on top of it.

What always holds:
- nothing is seen of a stream before it is whole and durable; when the connection breaks, the file is as it was;
- at most ``EARLY_BYTES`` in ``EARLY_PIECES`` wait for their turn, and a little more than ``PIPE_BYTES`` for the
  pipeline;
- ``_at`` is how much the stream has taken; every early piece begins behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from skep.base.errors import BodyTooLarge, SkepError
from skep.filesystem.content import FileContent
from skep.filesystem.records import WriteResult

EARLY_BYTES = 16 << 20
EARLY_PIECES = 1024
"""So many writes wait for their turn at most: each is looked at when another comes."""
PIPE_BYTES = 1 << 20
HOLE_MAX_BYTES = 16 << 30
"""The longest run of zeros that a write behind the end makes."""
_ZEROS = bytes(256 << 10)

Store = Callable[[AsyncIterator[bytes]], Coroutine[Any, Any, WriteResult]]
"""Makes a stream the current version of the file."""
Reopen = Callable[[WriteResult], Coroutine[Any, Any, FileContent]]


class Writer:
    """One file that is being written, by one caller at a time.

    ``base`` is the content that writes change, None for a new or emptied file; ``must_store`` makes a version even
    if nothing is written.
    """

    def __init__(self, store: Store, reopen: Reopen, base: FileContent | None, *, must_store: bool) -> None:
        self._store = store
        self._reopen = reopen
        self._base = base
        self._base_bytes = base.size_bytes if base else 0  # how much of it still counts
        self._length = self._base_bytes  # of the whole, as it would be if it were closed now
        self._dirty = must_store
        self._at = 0
        self._early: dict[int, bytes] = {}
        self._early_bytes = 0
        self._pipe = _Pipe()
        self._task: asyncio.Task[WriteResult] | None = None
        self._broken: SkepError | None = None
        self.last: WriteResult | None = None
        """What the last stream became."""

    @property
    def size_bytes(self) -> int:
        """How long the file would be if it were closed now."""
        return self._length

    @property
    def waiting_pieces(self) -> int:
        """How many writes wait for what comes before them."""
        return len(self._early)

    @property
    def is_dirty(self) -> bool:
        """Whether there is something that is no version yet."""
        return self._dirty

    async def write(self, offset: int, data: bytes) -> None:
        """Put bytes at an offset. Raises what storing raises, BodyTooLarge for a hole that is too long."""
        self._require_whole()
        if not data:
            return
        if offset > self._length + HOLE_MAX_BYTES:
            raise BodyTooLarge(f"a hole of more than {HOLE_MAX_BYTES} bytes: write the file from its beginning")
        if offset < self._at or self._overlaps(offset, len(data)):
            await self.settle()
        self._dirty = True
        self._length = max(self._length, offset + len(data))
        if offset == self._at:
            await self._feed(data)
            await self._feed_early()
            return
        self._early[offset] = data
        self._early_bytes += len(data)
        if self._early_bytes > EARLY_BYTES or len(self._early) > EARLY_PIECES:
            await self._fill(min(self._early))
            await self._feed_early()

    async def truncate(self, size: int) -> None:
        """Make the file so long: cut it, or let it end in zeros."""
        self._require_whole()
        if size == self._length:
            return
        if size > self._length + HOLE_MAX_BYTES:
            raise BodyTooLarge(f"a hole of more than {HOLE_MAX_BYTES} bytes: write the file from its beginning")
        if size < self._at or any(start + len(data) > size for start, data in self._early.items()):
            await self.settle()
        self._dirty = True
        self._base_bytes = min(self._base_bytes, size)
        self._length = size

    async def settle(self, *, is_last: bool = False) -> WriteResult | None:
        """Make all that was written a version, durable when this returns; later writes change it.

        ``is_last``: none come, and the version need not be looked at.
        """
        self._require_whole()
        if not self._dirty:
            return self.last
        while self._early:
            await self._fill(min(self._early))
            await self._feed_early()
        await self._fill(self._length)
        task = self._running()
        self._pipe.end()
        self._task = None
        self.last = await self._result(task)
        self._at, self._dirty = 0, False
        if not is_last:
            self._base = await self._reopen(self.last)
            self._base_bytes = self._length = self._base.size_bytes
        return self.last

    async def abandon(self) -> None:
        """Forget what is no version yet."""
        self._early.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # seen: nobody asks any more

    def _overlaps(self, offset: int, length: int) -> bool:
        return any(start < offset + length and offset < start + len(data) for start, data in self._early.items())

    async def _feed_early(self) -> None:
        while (data := self._early.pop(self._at, None)) is not None:
            self._early_bytes -= len(data)
            await self._feed(data)

    async def _fill(self, until: int) -> None:
        """Bring the stream to an offset: with what was there, then with zeros."""
        if self._base is not None and self._at < min(until, self._base_bytes):
            wanted = min(until, self._base_bytes) - self._at
            async for part in self._base.read(self._at, wanted):
                await self._feed(part)
        while self._at < until:
            await self._feed(_ZEROS[: until - self._at])

    async def _feed(self, data: bytes) -> None:
        """Hand a part to the stream; waits while the pipeline is behind. Raises what storing raised."""
        task = self._running()
        self._pipe.put(data)
        self._at += len(data)
        if self._pipe.is_full:
            room = asyncio.ensure_future(self._pipe.room.wait())
            try:
                await asyncio.wait((room, task), return_when=asyncio.FIRST_COMPLETED)
            finally:
                room.cancel()
        if task.done():
            await self._result(task)

    def _running(self) -> asyncio.Task[WriteResult]:
        if self._task is None:
            self._pipe = _Pipe()
            self._task = asyncio.create_task(self._store(self._pipe.parts()))
        return self._task

    async def _result(self, task: asyncio.Task[WriteResult]) -> WriteResult:
        try:
            return await task
        except SkepError as error:
            self._broken = error
            raise

    def _require_whole(self) -> None:
        """A part of the stream is gone for good once storing has failed: nothing can be made of the rest."""
        if self._broken is not None:
            raise self._broken


class _Pipe:
    """Parts from the one who writes to the one who stores; small ones are handed over together."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._ended = False
        self._some = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether the writer should wait for ``room``."""
        return self._held_bytes >= PIPE_BYTES

    def put(self, data: bytes) -> None:
        """Add a part."""
        self._parts.append(data)
        self._held_bytes += len(data)
        self._some.set()
        if self.is_full:
            self.room.clear()

    def end(self) -> None:
        """No part comes any more."""
        self._ended = True
        self._some.set()

    async def parts(self) -> AsyncIterator[bytes]:
        """What is put, in order, until the end."""
        while True:
            await self._some.wait()
            self._some.clear()
            parts, self._parts, self._held_bytes = self._parts, [], 0
            self.room.set()
            if parts:
                yield parts[0] if len(parts) == 1 else b"".join(parts)
            if self._ended and not self._parts:
                return
