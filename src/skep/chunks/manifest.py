"""Manifests: the chunks that make one version of a file, in order.

Format page: docs/formats/manifest.md. In short: ``version 1 | chunk count u32 | per chunk: id 32,
plain size u32``, little-endian. An empty file has no chunks.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import msgspec

from skep.base.errors import CorruptRecord
from skep.chunks.gear import CHUNK_BYTES_MAX
from skep.crypto.hashing import Buffer, digest

VERSION = 1
_HEAD = struct.Struct("<BI")
_CHUNK = struct.Struct("<32sI")


class ChunkRef(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a version: its id and how many bytes of content it holds."""

    id: bytes
    plain_bytes: int


@dataclass(frozen=True)
class Manifest:
    """The content of one version. ``size_bytes`` is the sum of its chunks' sizes."""

    size_bytes: int
    chunks: tuple[ChunkRef, ...]

    def __post_init__(self) -> None:
        assert self.size_bytes == sum(chunk.plain_bytes for chunk in self.chunks)

    @classmethod
    def of(cls, chunks: Iterable[ChunkRef]) -> Manifest:
        """The manifest of these chunks, in this order."""
        listed = tuple(chunks)
        return cls(sum(chunk.plain_bytes for chunk in listed), listed)

    def encode(self) -> bytes:
        """The stored form."""
        parts = [_HEAD.pack(VERSION, len(self.chunks))]
        parts += [_CHUNK.pack(chunk.id, chunk.plain_bytes) for chunk in self.chunks]
        return b"".join(parts)

    @classmethod
    def decode(cls, encoded: Buffer) -> Manifest:
        """Read the stored form. Raises CorruptRecord."""
        if len(encoded) < _HEAD.size:
            raise CorruptRecord(f"a manifest has only {len(encoded)} bytes")
        version, count = _HEAD.unpack_from(encoded)
        if version != VERSION:
            raise CorruptRecord(f"a manifest of version {version} is damaged, or a newer Skep wrote it")
        if len(encoded) != _HEAD.size + count * _CHUNK.size:
            raise CorruptRecord(f"a manifest of {count} chunks has {len(encoded)} bytes")
        if count == 1:  # most files: worth a shorter way
            only = ChunkRef(*_CHUNK.unpack_from(encoded, _HEAD.size))
            if 0 < only.plain_bytes <= CHUNK_BYTES_MAX:
                return cls(only.plain_bytes, (only,))
        manifest = cls.of(ChunkRef(*pair) for pair in _CHUNK.iter_unpack(memoryview(encoded)[_HEAD.size :]))
        if any(not 0 < chunk.plain_bytes <= CHUNK_BYTES_MAX for chunk in manifest.chunks):
            raise CorruptRecord("a manifest holds a chunk of an impossible size")
        return manifest

    def slice(self, offset: int, length: int | None = None) -> list[tuple[ChunkRef, int, int]]:
        """The chunks that hold ``length`` bytes from ``offset`` (to the end if None).

        Each with the part of its own bytes that is wanted, ``start`` to ``stop``. What lies after
        the end is left out.
        """
        assert offset >= 0
        stop = self.size_bytes if length is None else min(self.size_bytes, offset + length)
        found = []
        number = bisect_right(self._ends, offset)
        while offset < stop:
            chunk = self.chunks[number]
            first = self._ends[number] - chunk.plain_bytes
            found.append((chunk, offset - first, min(stop - first, chunk.plain_bytes)))
            offset = self._ends[number]
            number += 1
        return found

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(chunk.plain_bytes for chunk in self.chunks))


def join(encoded: Sequence[Buffer]) -> bytes:
    """The stored form of contents one after the other, made of their stored forms without reading their chunks.

    Raises CorruptRecord.
    """
    count = 0
    for one in encoded:
        if len(one) < _HEAD.size:
            raise CorruptRecord(f"a manifest has only {len(one)} bytes")
        version, chunks = _HEAD.unpack_from(one)
        if version != VERSION or len(one) != _HEAD.size + chunks * _CHUNK.size:
            raise CorruptRecord(f"a manifest of version {version} and {chunks} chunks has {len(one)} bytes")
        count += chunks
    return b"".join([_HEAD.pack(VERSION, count), *(memoryview(one)[_HEAD.size :] for one in encoded)])


def etag(manifest: Manifest) -> str:
    """32 hex digits that are equal for equal content in one domain: ``etag_of`` its stored form."""
    return etag_of(manifest.encode())


def etag_of(encoded: bytes) -> str:
    """The ETag of a stored form: BLAKE3, cut to 16 bytes.

    Content that was cut at other places (parts of an upload that came by themselves) has another.
    """
    return digest(b"skep etag", encoded)[:16].hex()
