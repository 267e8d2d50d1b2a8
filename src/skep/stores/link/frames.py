"""Frames: what one WebSocket message carries. Pure functions. Format page: docs/formats/agent-link.md.

A frame is a header of eight bytes (kind, flags, zero, stream; little-endian) and a payload. Stream 0 is the link
itself; the hive opens the others, one for each request, by numbers that only grow. What always holds:

- a frame is at most ``FRAME_MAX_BYTES``; whoever gets a longer or a malformed one ends the link;
- after END, ERROR or CANCEL nothing more is sent on a stream in that direction; what still comes is dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from skep.base.errors import MalformedRequest
from skep.stores.protocol import Buffer

VERSION: Final = 1
SUBPROTOCOL: Final = "skep-agent-link.1"
"""The WebSocket subprotocol of this version (RFC 6455 section 1.9)."""
DATA_BYTES: Final = 1 << 20
"""The payload of a full DATA frame."""
CONTROL_MAX_BYTES: Final = 256 << 10
"""The largest payload of any other frame."""
END: Final = 0x01
"""Flag: the last frame of its stream in this direction."""
_HEADER = struct.Struct("<BBHI")
HEADER_BYTES: Final = _HEADER.size
FRAME_MAX_BYTES: Final = HEADER_BYTES + DATA_BYTES
_COUNT = struct.Struct("<I")
STREAM_MAX: Final = (1 << 32) - 1


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 0x01
    CHALLENGE = 0x02
    PROOF = 0x03
    WELCOME = 0x04
    READY = 0x05
    ADVANCE = 0x06
    NOTICE = 0x07
    GOODBYE = 0x08
    PING = 0x09
    PONG = 0x0A
    REQUEST = 0x10
    RESPONSE = 0x11
    DATA = 0x12
    ERROR = 0x13
    CANCEL = 0x14
    WINDOW = 0x15


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as received; ``payload`` is a view of the message's bytes."""

    kind: Kind
    stream: int
    end: bool
    payload: memoryview


def encode(kind: Kind, payload: Buffer = b"", *, stream: int = 0, end: bool = False) -> bytes:
    """One frame. ``payload`` is copied: its buffer may change afterwards."""
    return b"".join((_HEADER.pack(kind, END if end else 0, 0, stream), payload))


def encode_data(pieces: Sequence[Buffer], *, stream: int, end: bool) -> bytes:
    """A DATA frame of several buffers, copied once."""
    return b"".join((_HEADER.pack(Kind.DATA, END if end else 0, 0, stream), *pieces))


def data_header(stream: int, *, end: bool) -> bytes:
    """The header of a DATA frame whose payload is sent from where it lies."""
    return _HEADER.pack(Kind.DATA, END if end else 0, 0, stream)


def encode_window(stream: int, more_bytes: int) -> bytes:
    """Leave to send so many bytes of data more."""
    return encode(Kind.WINDOW, _COUNT.pack(more_bytes), stream=stream)


def decode(message: bytes) -> Frame:
    """The frame in a message. Raises MalformedRequest when it is none, or too long."""
    if not HEADER_BYTES <= len(message) <= FRAME_MAX_BYTES:
        raise MalformedRequest(f"a frame of the agent link has {HEADER_BYTES} to {FRAME_MAX_BYTES} bytes")
    kind, flags, zero, stream = _HEADER.unpack_from(message)
    known = _KINDS.get(kind)
    if known is None or zero or flags & ~END:
        raise MalformedRequest("a frame of the agent link has an unknown kind or flag")
    if (stream == 0) != (known < Kind.REQUEST):
        raise MalformedRequest(f"a frame of kind {known.name} is on the wrong stream")
    if known is not Kind.DATA and len(message) > HEADER_BYTES + CONTROL_MAX_BYTES:
        raise MalformedRequest(f"a frame of kind {known.name} has more than {CONTROL_MAX_BYTES} bytes")
    return Frame(known, stream, bool(flags & END), memoryview(message)[HEADER_BYTES:])


def decode_window(frame: Frame) -> int:
    """The bytes that a WINDOW frame grants. Raises MalformedRequest."""
    if len(frame.payload) != _COUNT.size:
        raise MalformedRequest("a WINDOW frame has four bytes of payload")
    granted: int = _COUNT.unpack(frame.payload)[0]
    return granted


class Slices:
    """Buffers to be sent, cut into runs of at most so many bytes without copying."""

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self._parts = iter([view for part in parts if (view := memoryview(part).cast("B")).nbytes])
        self._rest: memoryview = memoryview(b"")

    def take(self, most_bytes: int) -> list[memoryview]:
        """The next pieces, ``most_bytes`` together, or fewer at the end."""
        return list(self._pieces(most_bytes))

    def _pieces(self, wanted: int) -> Iterator[memoryview]:
        while wanted:
            if not self._rest.nbytes:
                following = next(self._parts, None)
                if following is None:
                    return
                self._rest = following
            piece = self._rest[:wanted]
            self._rest = self._rest[piece.nbytes :]
            wanted -= piece.nbytes
            yield piece
