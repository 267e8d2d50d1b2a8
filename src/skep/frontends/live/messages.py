"""The messages of the live stream: frozen records that are JSON on the wire. docs/events.md is made from them.

Over a WebSocket each message is one text frame with its ``type``. Over Server-Sent Events the type is the
event's name, the cursor its id, and the rest its data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from skep.events import Change
from skep.frontends.common.change_records import ChangeRecord, change_record

SUBPROTOCOL = "skep.events.v1"
"""What a WebSocket speaks (RFC 6455 section 1.9)."""
BEARER_PREFIX, TICKET_PREFIX = "skep.bearer.", "skep.ticket."
"""Further subprotocols that a browser may offer in place of an Authorization header: with a token, with a ticket."""

Name: TypeAlias = Annotated[str, Meta(max_length=64)]


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A message from the hive."""


class Hello(Sent, frozen=True, kw_only=True, tag="hello"):
    """The connection is open. ``expires_in_s``: when the credential ends, and the connection with it."""

    request_id: str
    keepalive_s: float
    expires_in_s: int | None = None


class Subscribed(Sent, frozen=True, kw_only=True, tag="subscribed"):
    """A subscription begins after ``cursor``; ``id`` is the client's own name for it."""

    id: str
    space: str
    cursor: str


class Changes(Sent, frozen=True, kw_only=True, tag="changes"):
    """Changes in their order; ``cursor`` stands after the last. An empty list: only what was not asked for happened."""

    id: str
    changes: tuple[ChangeRecord, ...]
    cursor: str


class Resync(Sent, frozen=True, kw_only=True, tag="resync"):
    """Changes after ``seen`` and up to ``cursor`` were not sent; the stream goes on after ``cursor``.

    ``why``: ``behind`` (the client was too slow: the journal still has them, read it from ``seen``) or ``too-old`` (the
    journal does not reach back: list anew).
    """

    id: str
    why: str
    seen: str | None
    cursor: str


class Ended(Sent, frozen=True, kw_only=True, tag="ended"):
    """A subscription is over, with a code of docs/errors.md: the space is gone or may not be seen any more."""

    id: str
    code: str
    detail: str


class Renewed(Sent, frozen=True, kw_only=True, tag="renewed"):
    """The fresh token was taken."""

    expires_in_s: int | None = None


class Refused(Sent, frozen=True, kw_only=True, tag="refused"):
    """A message of the client's could not be done, with a code of docs/errors.md; nothing else changes."""

    code: str
    detail: str
    id: str | None = None


class Keepalive(Sent, frozen=True, kw_only=True, tag="keepalive"):
    """Nothing happened for a while, and the connection is well. Also the answer to ``ping``."""


class Closing(Sent, frozen=True, kw_only=True, tag="closing"):
    """The last message: why the hive closes the connection. ``reconnect_after_s``: come back, with the cursor."""

    code: str
    detail: str
    reconnect_after_s: float | None = None


class Received(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """A message from the client."""


class Subscribe(Received, frozen=True, kw_only=True, tag="subscribe"):
    """Follow a space (one's own if left out), what is at and below ``path``, or one ``node``; from ``cursor`` on."""

    id: Name = ""
    space: Name | None = None
    path: str | None = None
    node: Name | None = None
    cursor: Name | None = None


class Unsubscribe(Received, frozen=True, kw_only=True, tag="unsubscribe"):
    """Follow this no more."""

    id: Name = ""


class Renew(Received, frozen=True, kw_only=True, tag="renew"):
    """A fresh access token of the same user, before the old one expires."""

    token: Annotated[str, Meta(max_length=4096)]


class Ping(Received, frozen=True, kw_only=True, tag="ping"):
    """Ask for a sign of life."""


FromHive: TypeAlias = Hello | Subscribed | Changes | Resync | Ended | Renewed | Refused | Keepalive | Closing
FromClient: TypeAlias = Subscribe | Unsubscribe | Renew | Ping

CLOSE_CODES: Mapping[int, str] = MappingProxyType(
    {
        1003: "binary frames are not understood",
        1009: "a message is too large",
        1012: "the hive stops or restarts: reconnect",
        4400: "a message is not understood",
        4401: "the credential expired: reconnect with a fresh one",
        4403: "the credential was revoked, or the account may not do this any more",
        4408: "the client takes nothing",
        4429: "too many messages, or too many subscriptions",
        4503: "the hive cannot go on: reconnect later",
    }
)
"""How a WebSocket ends (RFC 6455 section 7.4.2: 4000 to 4999 are an application's own)."""

LAST_MESSAGES = 16
"""So many are remembered as they were sent: a change that a thousand streams hear of is written down once."""
_encoder = msgspec.json.Encoder()
decode_received = msgspec.json.Decoder(FromClient).decode
"""A client's message from its text. Raises msgspec.DecodeError."""


@lru_cache(maxsize=LAST_MESSAGES)
def changes_of(name: str, changes: tuple[Change, ...], cursor: str) -> Changes:
    """The message that tells of these changes: one for all streams that hear the same."""
    return Changes(id=name, changes=tuple(map(change_record, changes)), cursor=cursor)


@lru_cache(maxsize=LAST_MESSAGES)
def encoded(message: Sent) -> str:
    """The text of a frame."""
    return _encoder.encode(message).decode()


@lru_cache(maxsize=LAST_MESSAGES)
def as_event(message: Sent, event_id: str | None = None) -> bytes:
    """A message as one event of a text/event-stream (WHATWG HTML section 9.2)."""
    head = f"id: {event_id}\n" if event_id else ""
    data = _encoder.encode(message).decode()
    return f"{head}event: {message.__struct_config__.tag}\ndata: {data}\n\n".encode()
