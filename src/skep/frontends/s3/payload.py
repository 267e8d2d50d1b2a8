"""Bodies of uploads: plain or in chunks, signed or not, with checksums in front or behind.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html and
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from skep.base.errors import ChecksumMismatch
from skep.filesystem.growth import Content
from skep.frontends.s3.checksums import HEADER, SIZES, Checksum, new_checksum, parse_value, value_text
from skep.frontends.s3.chunked import ChunkedBody
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.sigv4 import UNSIGNED

if TYPE_CHECKING:
    from skep.frontends.s3.call import Call

_OURS = frozenset({"sha1", "sha256"})
"""Checksums that the chunk pipeline computes as digests, in threads."""


class Payload:
    """The data of an upload as a stream that checks itself; then the checksums that it was sent with."""

    def __init__(self, call: Call, *, hashes_itself: bool = False) -> None:
        """``hashes_itself``: SHA checksums are not left to the pipeline. Raises Refusal for a contradicting head."""
        headers, signed = call.headers, call.signed
        self._body = call.body
        self._chunked: ChunkedBody | None = None
        self._trailer = (headers.get("x-amz-trailer") or "").strip().lower()
        self.expected: dict[str, bytes] = {}
        """Digests that the pipeline checks."""
        self.length = call.body.declared
        if signed.payload.startswith("STREAMING-"):
            signer = None if "UNSIGNED" in signed.payload else signed.chunk_signer()
            self._chunked = ChunkedBody(signer, with_trailer=signed.payload.endswith("-TRAILER"))
            self.length = _decoded_length(headers.get("x-amz-decoded-content-length"))
        elif signed.payload != UNSIGNED:
            self.expected["sha256"] = bytes.fromhex(signed.payload)
        self.checksums = _declared(call)
        self._name = self._algorithm()
        self._sum: Checksum | None = None
        self._is_ours = self._name in _OURS and not (hashes_itself and self._trailer)
        if self._name and not self._is_ours:
            self._sum = new_checksum(self._name)
        md5 = headers.get("content-md5")
        if md5 is not None:
            self.expected["md5"] = _md5(md5)
        for name in _OURS & self.checksums.keys():
            if self.expected.setdefault(name, self.checksums[name]) != self.checksums[name]:
                raise _bad(name)

    @property
    def digests(self) -> set[str]:
        """Digests that the pipeline is to compute: MD5 is the ETag."""
        return {"md5", self._name} if self._is_ours else {"md5"}

    @property
    def names(self) -> list[str]:
        """The algorithms that the data is checked with, apart from its own digests."""
        return [self._name] if self._name else []

    @property
    def checksum_texts(self) -> dict[str, str]:
        """The checksums that the data came with, by algorithm, as headers have them. Complete once the data is read."""
        return {name: value_text(value) for name, value in self.checksums.items()}

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._chunked is None and self._sum is None:
            return self._body  # nothing is to be decoded or computed
        return self._checked()

    def check(self, content: Content) -> None:
        """Compare a checksum that came behind the data with the pipeline's digest. Raises ChecksumMismatch."""
        if self._is_ours and self._trailer:
            wanted = self.checksums[self._name]
            if (content.sha1 if self._name == "sha1" else content.sha256) != wanted:
                raise _bad(self._name)

    async def _checked(self) -> AsyncIterator[bytes]:
        grows = self._sum
        size_bytes = 0
        async for part in self._decoded():
            size_bytes += len(part)
            if grows is not None:
                grows.update(part)
            yield part
        if self._chunked is not None:
            if size_bytes != self.length:
                raise Refusal("IncompleteBody", "The data is not as long as x-amz-decoded-content-length says.")
            self._take_trailer(self._chunked)
        if grows is not None and grows.digest() != self.checksums[self._name]:
            raise _bad(self._name)

    async def _decoded(self) -> AsyncIterator[bytes]:
        chunked = self._chunked
        async for part in self._body:
            if chunked is None:
                yield part
            else:
                for piece in chunked.feed(part):
                    yield piece
        if chunked is not None:
            chunked.finish()

    def _take_trailer(self, chunked: ChunkedBody) -> None:
        if not self._trailer:
            return
        value = parse_value(self._name, chunked.trailers.get(self._trailer, ""))
        if value is None:
            raise Refusal("InvalidRequest", f"The trailing header {self._trailer[:64]} is missing or malformed.")
        self.checksums[self._name] = value

    def _algorithm(self) -> str:
        """The one algorithm that the data is checked with; empty: none."""
        if not self._trailer:
            return next(iter(self.checksums), "")
        name = self._trailer.removeprefix(HEADER)
        if self._trailer == name or name not in SIZES or self.checksums or self._chunked is None:
            raise Refusal("InvalidRequest", "x-amz-trailer must name one checksum, and only of a body with a trailer.")
        return name


async def read_small(call: Call, limit_bytes: int) -> bytes:
    """A whole body that is checked: the XML of some operations. Raises Refusal, BodyTooLarge, ChecksumMismatch."""
    payload = Payload(call)
    call.body.limited(limit_bytes).check_declared()
    data = b"".join([part async for part in payload])
    for name, value in payload.expected.items():
        if hashlib.new(name, data, usedforsecurity=False).digest() != value:
            raise _bad(name)
    return data


def _declared(call: Call) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in SIZES:
        text = call.headers.get(HEADER + name)
        if text is None:
            continue
        value = parse_value(name, text)
        if value is None:
            raise Refusal("InvalidRequest", f"Value for {HEADER}{name} header is invalid.")
        found[name] = value
    if len(found) > 1:
        raise Refusal("InvalidRequest", "Expecting a single x-amz-checksum- header.")
    return found


def _decoded_length(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise Refusal("MissingContentLength", "A body in chunks needs x-amz-decoded-content-length.")
    return int(text)


def _md5(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 16:
        raise Refusal("InvalidDigest", "The Content-MD5 you specified was invalid.")
    return value


def _bad(name: str) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"The data does not have the {name} that was declared: send it again.", algorithm=f"checksum {name}"
    )
