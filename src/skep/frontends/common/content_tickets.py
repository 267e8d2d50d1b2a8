"""Tickets for contents: how a browser's own download, image or film shows who asks, without a token in a URL.

A ticket is the Authorization header of the request that asked for it, sealed under a key of the hive's together with
the nodes that it opens and its end. It reads those contents alone, ends with the credential inside it and after
TICKET_S at the latest, and may be used until then as often as a player seeks. It needs no table.
"""

from __future__ import annotations

import base64
import binascii
import struct

from skep.base.clock import Clock
from skep.base.errors import CorruptRecord, InvalidToken, TokenExpired
from skep.crypto.hashing import derive_key, digest
from skep.crypto.sealing import open_record, seal_record

TICKET_S = 6 * 3600
TICKET_LENGTH_MAX = 6_000
_AAD = b"skep content ticket"
_HEAD = struct.Struct(">Q32s")


class ContentTickets:
    """Makes and opens tickets."""

    def __init__(self, token_key: bytes, clock: Clock) -> None:
        self._key = derive_key("skep content ticket v1", token_key)
        self._clock = clock

    def make(self, authorization: str, subject: str) -> str:
        """A ticket of an Authorization header that was found good, for what ``subject`` names."""
        until_us = self._clock.now_us() + TICKET_S * 1_000_000
        plain = _HEAD.pack(until_us, digest(subject.encode())) + authorization.encode()
        return base64.urlsafe_b64encode(seal_record(self._key, plain, _AAD)).rstrip(b"=").decode()

    def open(self, ticket: str, subject: str) -> str:
        """The header in a ticket for this subject. Raises InvalidToken, TokenExpired."""
        try:
            if len(ticket) > TICKET_LENGTH_MAX:
                raise ValueError
            sealed = base64.b64decode(ticket.encode("ascii") + b"=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
            plain = open_record(self._key, sealed, _AAD)
        except (ValueError, binascii.Error, CorruptRecord):
            raise InvalidToken("the ticket is not one of this hive: ask for another") from None
        until_us, subject_hash = _HEAD.unpack_from(plain)
        if subject_hash != digest(subject.encode()):
            raise InvalidToken("the ticket is for something else: ask for another")
        if until_us <= self._clock.now_us():
            raise TokenExpired("the ticket has expired: ask for another")
        return plain[_HEAD.size :].decode()
