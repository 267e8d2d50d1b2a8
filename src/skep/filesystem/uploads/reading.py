"""Reading what is stored already: digests of the whole, and ranges of files that become parts."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Collection, Mapping

from skep.base.errors import ChecksumMismatch, InvalidRange
from skep.chunks.manifest import ChunkRef, Manifest
from skep.chunks.scheme import Scheme
from skep.crypto.keys import DomainKeys
from skep.filesystem.ports import ContentStore
from skep.filesystem.records import VersionInfo

HOP_BYTES = 1 << 20
"""Hashed at one go, in a thread."""


async def digests_of(content: AsyncIterator[bytes], names: Collection[str]) -> dict[str, bytes]:
    """Digests of a content that is read."""
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in names}

    def update(parts: list[bytes]) -> None:
        for hasher in hashers.values():
            for part in parts:
                hasher.update(part)

    waiting: list[bytes] = []
    size_bytes = 0
    async for part in content:
        waiting.append(part)
        size_bytes += len(part)
        if size_bytes >= HOP_BYTES:
            await asyncio.to_thread(update, waiting)
            waiting, size_bytes = [], 0
    update(waiting)
    return {name: hasher.digest() for name, hasher in hashers.items()}


async def verified(
    chunks: ContentStore, domain: DomainKeys, manifest: Manifest, wanted: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The digests of a content. Raises ChecksumMismatch unless they are the wanted ones."""
    found = await digests_of(chunks.read(domain, manifest), wanted)
    for name, value in wanted.items():
        if found[name] != value:
            raise ChecksumMismatch(
                f"the upload has {name} {found[name].hex()}, not {value.hex()} as declared", algorithm=name
            )
    return found


def check_range(size_bytes: int, offset: int, length: int) -> None:
    """Raise InvalidRange unless a range is within a content."""
    if offset < 0 or length < 0 or offset + length > size_bytes:
        raise InvalidRange(
            f"the bytes {offset} to {offset + length - 1} are not all there: the file has {size_bytes}",
            size_bytes=size_bytes,
        )


def known_digests(version: VersionInfo, offset: int, length: int) -> dict[str, bytes]:
    """What is known of a range: the digests of the version, if it is all of it."""
    if offset or length != version.size_bytes:
        return {}
    known = {"md5": version.md5, "sha1": version.sha1, "sha256": version.sha256}
    return {name: value for name, value in known.items() if value is not None}


async def shared_range(
    chunks: ContentStore, domain: DomainKeys, manifest: Manifest, offset: int, length: int, scheme: Scheme | None
) -> Manifest:
    """A manifest of a range: whole chunks as they are, the pieces at its ends as new ones, under a scheme.

    Hold ``chunks.writing()`` from before this until they are referenced.
    """
    refs: list[ChunkRef] = []
    for chunk, start, stop in manifest.slice(offset, length):
        if (start, stop) == (0, chunk.plain_bytes):
            refs.append(chunk)
        else:
            piece = await chunks.write(domain, _piece(chunks, domain, chunk, start, stop), scheme=scheme)
            refs += piece.manifest.chunks
    return Manifest.of(refs)


def _piece(chunks: ContentStore, domain: DomainKeys, chunk: ChunkRef, start: int, stop: int) -> AsyncIterator[bytes]:
    return chunks.read(domain, Manifest.of([chunk]), start, stop - start)
