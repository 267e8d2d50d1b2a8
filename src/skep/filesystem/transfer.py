"""Bodies on their way in: counted against what was declared and what there is room for, then made durable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from skep.base.errors import BodyTooLarge, ChecksumMismatch, LengthMismatch, MalformedRequest, QuotaExceeded
from skep.base.ids import Id
from skep.chunks.manifest import Manifest, etag_of
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import Buffer
from skep.crypto.keys import DomainKeys
from skep.filesystem.growth import Content
from skep.filesystem.ports import ContentStore, Stored
from skep.filesystem.versions import Version

DIGESTS = ("md5", "sha1", "sha256")


async def receive(
    chunks: ContentStore,
    domain: DomainKeys,
    stream: AsyncIterator[Buffer],
    *,
    length: int | None,
    room_bytes: int | None,
    file_bytes_max: int,
    digest_bytes_max: int,
    expected: Mapping[str, bytes],
    digests: Collection[str] = (),
    scheme: Scheme | None = None,
) -> Content:
    """Make a body durable.

    Raises LengthMismatch (shorter or longer than ``length``), QuotaExceeded (past ``room_bytes``), BodyTooLarge,
    ChecksumMismatch (``expected`` digests by name), MalformedRequest (a digest that we do not know). ``digests`` are
    computed whatever the size.
    """
    check_known(expected)
    body = counted(stream, length, room_bytes, file_bytes_max)
    if length is None:
        body, length = await _peeked(body, digest_bytes_max)
    wanted: Collection[str] = DIGESTS if length is not None and length <= digest_bytes_max else {*expected, *digests}
    stored = await chunks.write(domain, body, scheme=scheme, digests=wanted)
    check_digests(stored, expected)
    return content_of(stored)


async def whole(stream: AsyncIterator[Buffer], length: int) -> Buffer:
    """A small body of this length, at once. Raises LengthMismatch, and what the stream raises."""
    parts: list[Buffer] = []
    size_bytes = 0
    async for part in stream:
        parts.append(part)
        size_bytes += len(part)
        if size_bytes > length:
            raise LengthMismatch(f"the body is longer than the {length} bytes declared", length=length)
    if size_bytes != length:
        raise LengthMismatch(f"the body ended after {size_bytes} of the {length} bytes declared", length=length)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def keep(
    chunks: ContentStore,
    domain: DomainKeys,
    body: Buffer,
    *,
    expected: Mapping[str, bytes],
    digests: Collection[str] = (),
    digest_bytes_max: int,
    scheme: Scheme | None = None,
) -> Content:
    """``receive`` for a small body that is all here."""
    wanted: Collection[str] = DIGESTS if len(body) <= digest_bytes_max else {*expected, *digests}
    (stored,) = await chunks.write_many(domain, [body], scheme=scheme, digests=wanted)
    if expected:
        check_digests(stored, expected)
    return content_of(stored)


def content_of(stored: Stored) -> Content:
    """Durable bytes as the content of a version to be."""
    digests = stored.digests
    manifest = stored.manifest
    encoded = manifest.encode()
    return Content(
        manifest,
        encoded,
        stored.size_bytes,
        etag_of(encoded),
        digests.get("md5"),
        digests.get("sha1"),
        digests.get("sha256"),
    )


def require_room(size_bytes: int | None, room_bytes: int | None) -> None:
    """Raise QuotaExceeded for a body of known length that there is no room for; None: not known, no limit."""
    if size_bytes is not None and room_bytes is not None and size_bytes > room_bytes:
        raise QuotaExceeded(
            f"the body of {size_bytes} bytes does not fit: the space has room for {room_bytes}", free_bytes=room_bytes
        )


def check_known(expected: Mapping[str, bytes]) -> None:
    """Raise MalformedRequest for a digest that cannot be checked."""
    if not expected:
        return
    unknown = sorted(expected.keys() - set(DIGESTS))
    if unknown:
        raise MalformedRequest(f"cannot check the digest {unknown[0]!r}: send one of {', '.join(DIGESTS)}")


def check_digests(stored: Stored, expected: Mapping[str, bytes]) -> None:
    """Raise ChecksumMismatch unless the bytes have the digests that their sender declared."""
    for name, value in expected.items():
        if stored.digests[name] != value:
            raise ChecksumMismatch(
                f"the body has {name} {stored.digests[name].hex()}, not {value.hex()} as declared: send it again",
                algorithm=name,
            )


async def counted(
    stream: AsyncIterator[Buffer], length: int | None, room_bytes: int | None, file_bytes_max: int
) -> AsyncIterator[Buffer]:
    """The same stream. Raises LengthMismatch, BodyTooLarge, QuotaExceeded as ``receive`` does."""
    size_bytes = 0
    async for part in stream:
        size_bytes += len(part)
        if length is not None and size_bytes > length:
            raise LengthMismatch(f"the body is longer than the {length} bytes declared", length=length)
        if size_bytes > file_bytes_max:
            raise BodyTooLarge(f"a file has at most {file_bytes_max} bytes", limit_bytes=file_bytes_max)
        if room_bytes is not None and size_bytes > room_bytes:
            raise QuotaExceeded("the body does not fit: the space has no room for more")
        yield part
    if length is not None and size_bytes != length:
        raise LengthMismatch(f"the body ended after {size_bytes} of the {length} bytes declared", length=length)


async def _peeked(stream: AsyncIterator[Buffer], enough_bytes: int) -> tuple[AsyncIterator[Buffer], int | None]:
    """The same stream, and its length if it ends within ``enough_bytes``."""
    head: list[bytes] = []
    size_bytes = 0
    async for part in stream:
        head.append(bytes(part))
        size_bytes += len(part)
        if size_bytes > enough_bytes:
            return _chained(head, stream), None
    return _chained(head, stream), size_bytes


async def _chained(head: list[bytes], rest: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    for part in head:
        yield part
    head.clear()
    async for later in rest:
        yield later


async def rewrite(
    chunks: ContentStore, source: DomainKeys, target: DomainKeys, versions: Sequence[Version], scheme: Scheme | None
) -> dict[Id, Manifest]:
    """Read contents from one domain and write them under another; the new manifests by version id.

    Hold ``chunks.writing()`` from before this until they are referenced.
    """
    known: dict[bytes, Manifest] = {}
    found: dict[Id, Manifest] = {}
    for version in versions:
        manifest = known.get(version.manifest)
        if manifest is None:
            body = chunks.read(source, Manifest.decode(version.manifest))
            manifest = known[version.manifest] = (await chunks.write(target, body, scheme=scheme)).manifest
        found[version.id] = manifest
    return found
