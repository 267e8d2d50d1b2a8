"""The ``aws-chunked`` encoding of bodies: chunks of data, each signed or not, then trailing headers.

    10000;chunk-signature=ad80…\r\n <64 KiB> \r\n … 0;chunk-signature=b6c6…\r\n
    x-amz-checksum-crc32c:sOO8/Q==\r\n x-amz-trailer-signature:63bd…\r\n \r\n

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html. What always holds: nothing after the last chunk's
line is given out as data; a body whose signatures, lengths or trailer are wrong raises, at the latest at its end, so
that whoever writes what they read from it writes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from enum import Enum

from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.sigv4 import ChunkSigner, same

LINE_BYTES_MAX = 1024
TRAILERS_MAX = 16
CHUNK_BYTES_MAX = 1 << 32
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,9})(?:;chunk-signature=([0-9a-f]{64}))?\Z")


class _At(Enum):
    HEAD = 1
    DATA = 2
    END_OF_DATA = 3
    TRAILER = 4
    DONE = 5


class ChunkedBody:
    """Takes the bytes of a body as they come and gives out its data."""

    def __init__(self, signer: ChunkSigner | None, *, with_trailer: bool) -> None:
        """``signer``: of a signed body; ``with_trailer``: whether trailing headers were announced."""
        self._signer = signer
        self._with_trailer = with_trailer
        self._at = _At.HEAD
        self._line = bytearray()
        self._left_bytes = 0
        self._claimed = ""
        self._hash = hashlib.sha256()
        self._canonical = bytearray()
        self._trailer_signature: str | None = None
        self.trailers: dict[str, str] = {}

    @property
    def done(self) -> bool:
        """Whether the body's end was seen."""
        return self._at is _At.DONE

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The data in the next bytes of the body. Raises Refusal."""
        position, view = 0, memoryview(part)
        while position < len(part):
            if self._at is _At.DATA:
                piece = bytes(view[position : position + self._left_bytes])
                position += len(piece)
                self._left_bytes -= len(piece)
                if self._signer is not None:
                    self._hash.update(piece)
                if not self._left_bytes:
                    self._end_chunk()
                yield piece
            elif self._at is _At.DONE:
                raise Refusal("IncompleteBody", "The body goes on after its last chunk.")
            else:
                position = self._take_line(part, position)

    def finish(self) -> None:
        """The body is over. Raises Refusal unless it was whole."""
        if self._at is not _At.DONE:
            raise Refusal("IncompleteBody", "The body ends before its last chunk.")

    def _take_line(self, part: bytes, position: int) -> int:
        """Take bytes up to the end of a line, and the line if it is whole; the position behind them."""
        end = part.find(b"\n", position)
        stop = len(part) if end < 0 else end + 1
        self._line += part[position:stop]
        if len(self._line) > LINE_BYTES_MAX:
            raise Refusal("InvalidRequest", "A chunk's head or a trailing header is too long.")
        if end >= 0:
            if not self._line.endswith(b"\r\n"):
                raise Refusal("InvalidRequest", "A line of the chunked body does not end with CR LF.")
            line = bytes(self._line[:-2])
            self._line.clear()
            self._on_line(line)
        return stop

    def _on_line(self, line: bytes) -> None:
        if self._at is _At.HEAD:
            self._begin_chunk(line)
        elif self._at is _At.END_OF_DATA:
            if line:
                raise Refusal("InvalidRequest", "A chunk is longer than its head says.")
            self._at = _At.HEAD
        elif line:
            self._on_trailer(line)
        else:
            self._end_trailer()

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK.match(line)
        if match is None or (match[2] is None) is not (self._signer is None):
            raise Refusal("InvalidRequest", "A chunk's head does not parse, or lacks its signature.")
        self._left_bytes = int(match[1], 16)
        if self._left_bytes > CHUNK_BYTES_MAX:
            raise Refusal("InvalidRequest", "A chunk is too long.")
        self._claimed = (match[2] or b"").decode()
        if self._left_bytes:
            self._at = _At.DATA
            return
        self._check_chunk()
        self._at = _At.TRAILER

    def _end_chunk(self) -> None:
        self._check_chunk()
        self._at = _At.END_OF_DATA

    def _check_chunk(self) -> None:
        if self._signer is None:
            return
        if not same(self._signer.chunk(self._hash.hexdigest()), self._claimed):
            raise Refusal("SignatureDoesNotMatch", "The signature of a chunk of the body does not match its data.")
        self._hash = hashlib.sha256()

    def _on_trailer(self, line: bytes) -> None:
        name, colon, value = line.decode("latin-1").partition(":")
        name = name.strip().lower()
        if not colon or not self._with_trailer or len(self.trailers) >= TRAILERS_MAX:
            raise Refusal("InvalidRequest", "The body ends with headers that were not announced, or too many.")
        if name == "x-amz-trailer-signature":
            self._trailer_signature = value.strip()
            return
        if name in self.trailers or self._trailer_signature is not None:
            raise Refusal("InvalidRequest", f"The trailing header {name[:64]} came twice, or after the signature.")
        self.trailers[name] = value.strip()
        self._canonical += f"{name}:{value.strip()}\n".encode("latin-1")

    def _end_trailer(self) -> None:
        if self._signer is not None and self._with_trailer:
            signature = self._signer.trailer(bytes(self._canonical))
            if self._trailer_signature is None or not same(signature, self._trailer_signature):
                raise Refusal("SignatureDoesNotMatch", "The signature of the trailing headers does not match.")
        self._at = _At.DONE
