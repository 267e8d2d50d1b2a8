"""An open file: one version's facts, and its bytes when asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from skep.base.errors import InvalidRange
from skep.chunks.manifest import Manifest
from skep.crypto.keys import DomainKeys
from skep.filesystem.ports import ContentStore
from skep.filesystem.records import NodeInfo, VersionInfo
from skep.filesystem.taps import Tap


class FileContent(msgspec.Struct, frozen=True):
    """One version of a file. Stays readable, whatever becomes of the file, for the grace period of the collector."""

    node: NodeInfo
    version: VersionInfo
    manifest: Manifest
    domain: DomainKeys
    chunks: ContentStore
    tap: Tap | None = None
    """What counts the bytes that are read; None: nothing."""

    def __repr__(self) -> str:
        return f"FileContent({self.node.path!r}, version={self.version.number})"

    @property
    def size_bytes(self) -> int:
        return self.version.size_bytes

    @property
    def etag(self) -> str:
        return self.version.etag

    @property
    def mime(self) -> str:
        return self.version.mime

    @property
    def modified_us(self) -> int:
        """The file's own time; of an older version the one it had."""
        return self.node.modified_us if self.version.is_current else self.version.modified_us

    def read(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The verified bytes of a range, in parts; what lies beyond the end is left out.

        Raises InvalidRange for a range that begins before 0 or after the end; while reading DataLost, CorruptChunk,
        Unavailable, TrafficExceeded, CreditExhausted.
        """
        if not 0 <= offset <= self.size_bytes or (length is not None and length < 0):
            raise InvalidRange(f"no byte at {offset}: the file has {self.size_bytes} bytes", size_bytes=self.size_bytes)
        parts = self.chunks.read(self.domain, self.manifest, offset, length)
        if self.tap is None:
            return parts
        left = self.size_bytes - offset
        return self.tap.out(parts, left if length is None else min(length, left))

    async def whole(self, offset: int, length: int) -> bytes:
        """The verified bytes of a range that lies within the content and is small enough to be held.

        Raises DataLost, CorruptChunk, Unavailable, TrafficExceeded, CreditExhausted.
        """
        assert 0 <= offset <= offset + length <= self.size_bytes
        if self.tap is not None:
            await self.tap.counted_out(length)
        return await self.chunks.whole(self.domain, self.manifest, offset, length)
