"""Tickets: how a browser's EventSource or WebSocket shows who it is without a token in a URL.

A ticket is the Authorization header of the request that asked for it, sealed under a key of the hive's, with its
time: good once and for half a minute, so that one found in a log opens nothing. It needs no table; which were used
is remembered by the process that took them.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections import OrderedDict

from skep.base.clock import Clock
from skep.base.errors import CorruptRecord, InvalidToken, TokenExpired
from skep.crypto.hashing import derive_key, digest
from skep.crypto.sealing import open_record, seal_record

TICKET_S = 30
TICKET_LENGTH_MAX = 6_000
USED_MAX = 100_000
_AAD = b"skep live ticket"
_TIME = struct.Struct(">Q")


class Tickets:
    """Makes and takes tickets."""

    def __init__(self, token_key: bytes, clock: Clock) -> None:
        self._key = derive_key("skep live ticket v1", token_key)
        self._clock = clock
        self._used: OrderedDict[bytes, int] = OrderedDict()

    def make(self, authorization: str) -> str:
        """A ticket for an Authorization header that was found good."""
        until_us = self._clock.now_us() + TICKET_S * 1_000_000
        sealed = seal_record(self._key, _TIME.pack(until_us) + authorization.encode(), _AAD)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def take(self, ticket: str) -> str:
        """The header of a ticket, which is used up by this. Raises InvalidToken, TokenExpired."""
        try:
            if len(ticket) > TICKET_LENGTH_MAX:
                raise ValueError
            sealed = base64.b64decode(ticket.encode("ascii") + b"=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
            plain = open_record(self._key, sealed, _AAD)
        except (ValueError, binascii.Error, CorruptRecord):
            raise InvalidToken("the ticket is not one of this hive: ask for another") from None
        (until_us,) = _TIME.unpack_from(plain)
        now_us = self._clock.now_us()
        if not now_us < until_us <= now_us + 2 * TICKET_S * 1_000_000:
            raise TokenExpired("the ticket has expired: ask for another")
        self._use(digest(sealed), until_us, now_us)
        return plain[_TIME.size :].decode()

    def _use(self, key: bytes, until_us: int, now_us: int) -> None:
        while self._used and (len(self._used) >= USED_MAX or next(iter(self._used.values())) <= now_us):
            self._used.popitem(last=False)
        if key in self._used:
            raise InvalidToken("the ticket was used already: ask for another")
        self._used[key] = until_us
