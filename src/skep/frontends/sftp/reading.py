"""Reading an open file: small reads at given offsets out of a stream that reads ahead.

What always holds: at most ``BEHIND_BYTES`` and one part of the stream are in memory for a handle; the stream is at
most ``AHEAD_MAX_BYTES`` ahead of nothing: it advances only when a read needs it (the chunk service reads ahead of it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from skep.filesystem.content import FileContent

BEHIND_BYTES = 1 << 20
"""Kept behind the last read, for requests that come in another order."""
SKIP_BYTES = 4 << 20
"""A jump ahead up to this far reads on; a longer one, and any jump back, begins anew."""
PROBE_BYTES = 256 << 10
"""What the first read after a jump takes; when the next goes on from there, the stream reads to the end."""


class Reader:
    """The bytes of one version, for one caller at a time."""

    def __init__(self, content: FileContent) -> None:
        self.content = content
        self._parts: AsyncIterator[bytes] | None = None
        self._kept = bytearray()
        self._kept_from = 0
        self._ends = 0  # where the stream that runs now ends

    @property
    def size_bytes(self) -> int:
        """How long the file is."""
        return self.content.size_bytes

    async def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; none at or behind the end. Raises what reading content raises."""
        end = min(offset + length, self.size_bytes)
        if offset >= end:
            return b""
        if not self._kept_from <= offset <= self._kept_end + SKIP_BYTES or (
            self._parts is None and offset > self._kept_end
        ):
            await self._begin(offset, min(self.size_bytes, offset + max(length, PROBE_BYTES)))
        while self._kept_end < end:
            if self._parts is None or self._kept_end >= self._ends:
                await self._stop()
                self._parts, self._ends = self.content.read(self._kept_end), self.size_bytes
            self._take(await anext(self._parts), offset)
        start = offset - self._kept_from
        return bytes(memoryview(self._kept)[start : start + end - offset])

    async def close(self) -> None:
        """Stop reading ahead."""
        await self._stop()
        self._kept = bytearray()

    @property
    def _kept_end(self) -> int:
        return self._kept_from + len(self._kept)

    async def _begin(self, offset: int, until: int) -> None:
        await self._stop()
        self._kept, self._kept_from, self._ends = bytearray(), offset, until
        self._parts = self.content.read(offset, until - offset)

    def _take(self, part: bytes, offset: int) -> None:
        """Keep a part, and let go of what lies far behind the read."""
        surplus = min(offset - BEHIND_BYTES - self._kept_from, len(self._kept))
        if surplus > BEHIND_BYTES:  # seldom, since it moves what stays
            del self._kept[:surplus]
            self._kept_from += surplus
        self._kept += part

    async def _stop(self) -> None:
        close = getattr(self._parts, "aclose", None)
        self._parts = None
        if close is not None:
            await close()
