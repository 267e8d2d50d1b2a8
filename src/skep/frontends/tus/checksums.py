"""Checksums of one body: Upload-Checksum (tus: checksum), Content-Digest (RFC 9530)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping

from skep.base.errors import MalformedRequest
from skep.crypto.hashing import Buffer
from skep.filesystem import Expected
from skep.filesystem.uploads.records import Hasher
from skep.frontends.tus.exchange import Exchange


class Crc32:
    """CRC-32 of zlib, as a running checksum; its digest is big-endian, as in tus."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        """Take more bytes."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """The four bytes."""
        return self._value.to_bytes(4, "big")


ALGORITHMS: Mapping[str, Callable[[], Hasher]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "crc32": Crc32,
}
NAMES = ",".join(ALGORITHMS)
_HTTP_NAMES = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5"}


def expected(exchange: Exchange) -> list[Expected]:
    """What the body must have. Raises MalformedRequest for an algorithm or a value that makes no sense."""
    found = []
    text = exchange.headers.get("upload-checksum")
    if text is not None:
        name, _, encoded = text.strip().partition(" ")
        if name.lower() not in ALGORITHMS:
            raise MalformedRequest(f"The checksum {name[:40]!r} is not offered: send one of {NAMES}.")
        found.append(_expected(name.lower(), encoded))
    for member in (exchange.headers.get("content-digest") or "").split(","):
        name, _, value = member.strip().partition("=")
        if name.lower() in _HTTP_NAMES:
            found.append(_expected(_HTTP_NAMES[name.lower()], value.strip().strip(":")))
    return found


def _expected(name: str, encoded: str) -> Expected:
    hasher = ALGORITHMS[name]()
    try:
        value = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        value = b""
    if len(value) != len(hasher.digest()):
        raise MalformedRequest(f"The checksum of kind {name} is not base64 of {len(hasher.digest())} bytes.")
    return Expected(name, hasher, value)
