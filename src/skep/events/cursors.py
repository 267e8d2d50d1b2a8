"""Cursors: where a client stands in a space's journal, as opaque text.

The text is base64url without padding of: version 1 (1 byte), the space's id (16 bytes), the number
of the last change seen (8 bytes, big endian). It grants nothing: whoever presents it must have
access to the space anyway.
"""

from __future__ import annotations

import base64
import binascii
import struct

from skep.base.errors import InvalidCursor
from skep.base.ids import Id

_LAYOUT = struct.Struct(">B16sQ")
_VERSION = 1
_NUMBER_MAX = 2**63 - 1
_TEXT_LENGTH = 34


def encode_cursor(space_id: Id, number: int) -> str:
    """The cursor of one who has seen all changes of the space up to ``number`` (0: none)."""
    if not 0 <= number <= _NUMBER_MAX:
        raise ValueError(f"{number} is no number of a change")
    return base64.urlsafe_b64encode(_LAYOUT.pack(_VERSION, space_id, number)).rstrip(b"=").decode()


def decode_cursor(text: str) -> tuple[Id, int]:
    """The space and the number of a cursor. Raises InvalidCursor for any text not given out."""
    try:
        if len(text) != _TEXT_LENGTH:
            raise ValueError(text)
        raw = base64.b64decode(text.encode("ascii") + b"==", altchars=b"-_", validate=True)
        version, space_id, number = _LAYOUT.unpack(raw)
        if version != _VERSION or number > _NUMBER_MAX or encode_cursor(space_id, number) != text:
            raise ValueError(text)
    except (ValueError, binascii.Error, struct.error):
        raise InvalidCursor(f"{text[:64]!r} is not a cursor of this hive: leave it out to start anew") from None
    return space_id, number
