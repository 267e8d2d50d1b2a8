"""The framing of ``application/x-skep-batch``, version 1: docs/formats/batch.md.

    b"SKB1"  ( u32 big-endian head size, head, body )*  u32 zero

The head is JSON: ``{"path": "/a/b", "size_bytes": 5, "modified_us": ..., "mime": ..., "if_match":
[...], "if_none_match": [...], "md5"|"sha1"|"sha256": hex}``; ``size_bytes`` bytes of body follow it.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from skep.base.errors import BodyTooLarge, MalformedRequest

BATCH_TYPE = "application/x-skep-batch"
MAGIC = b"SKB1"
HEAD_LIMIT_BYTES = 64 * 1024
_SIZE = struct.Struct(">I")


class FrameHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What precedes the bytes of one file."""

    path: str
    size_bytes: int
    modified_us: int | None = None
    mime: str | None = None
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    md5: str | None = None
    sha1: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One file of a batch."""

    head: FrameHead
    body: bytes


_decoder = msgspec.json.Decoder(FrameHead)
_encoder = msgspec.json.Encoder()


def encode_frame(head: FrameHead, body: bytes) -> bytes:
    """One file as bytes of a batch."""
    assert head.size_bytes == len(body)
    text = _encoder.encode(head)
    return _SIZE.pack(len(text)) + text + body


def encode_batch(files: list[tuple[FrameHead, bytes]]) -> bytes:
    """A whole batch."""
    return b"".join((MAGIC, *(encode_frame(head, body) for head, body in files), _SIZE.pack(0)))


class _Reader:
    """Takes exact numbers of bytes out of a stream of pieces. Holds at most one piece more than asked for."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._piece = b""
        self._position = 0

    async def take(self, size: int) -> bytes:
        available = len(self._piece) - self._position
        if size <= available:
            start = self._position
            self._position += size
            return self._piece[start : self._position]
        parts = [self._piece[self._position :]]
        wanted = size - available
        while wanted > 0:
            piece = await anext(self._stream, None)
            if piece is None:
                raise MalformedRequest("The batch ends in the middle of a file: nothing was stored.")
            parts.append(piece[:wanted])
            self._piece, self._position = piece, min(wanted, len(piece))
            wanted -= len(parts[-1])
        return b"".join(parts)

    async def at_end(self) -> bool:
        return self._position == len(self._piece) and await anext(self._stream, None) is None


async def read_batch(
    stream: AsyncIterator[bytes], *, items_max: int, item_bytes_max: int, batch_bytes_max: int
) -> AsyncIterator[Frame]:
    """The files of a batch as they come.

    Ends only after the closing zero and the end of the stream. Raises MalformedRequest (framing,
    heads) and BodyTooLarge (number of files, size of one or of all).
    """
    reader = _Reader(stream)
    if await reader.take(len(MAGIC)) != MAGIC:
        raise MalformedRequest(f"A batch starts with {MAGIC.decode()}: see docs/formats/batch.md.")
    count = total = 0
    while head_size := _SIZE.unpack(await reader.take(_SIZE.size))[0]:
        count += 1
        if count > items_max:
            raise BodyTooLarge(f"The batch has more than {items_max} files: send several.", limit=items_max)
        if head_size > HEAD_LIMIT_BYTES:
            raise BodyTooLarge(f"The head of file {count} is {head_size} bytes; at most {HEAD_LIMIT_BYTES} are taken.")
        head = _decode_head(await reader.take(head_size), count)
        total += head.size_bytes
        if head.size_bytes > item_bytes_max:
            raise BodyTooLarge(
                f"{head.path[:200]!r} has {head.size_bytes} bytes; a batch takes files of at most {item_bytes_max}:"
                " upload it alone.",
                limit_bytes=item_bytes_max,
            )
        if total > batch_bytes_max:
            raise BodyTooLarge(f"The batch is over {batch_bytes_max} bytes: send several.", limit_bytes=batch_bytes_max)
        yield Frame(head, await reader.take(head.size_bytes))
    if not await reader.at_end():
        raise MalformedRequest("There are bytes after the end of the batch: nothing was stored.")


def _decode_head(raw: bytes, number: int) -> FrameHead:
    try:
        head = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"The head of file {number} in the batch does not fit: {error}.") from None
    if head.size_bytes < 0:
        raise MalformedRequest(f"The head of file {number} in the batch has a negative size.")
    return head
