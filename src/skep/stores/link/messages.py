"""The payloads of frames other than DATA and WINDOW: JSON objects (RFC 8259) with the fields below.

Fields that a reader does not know are passed over, so that a later version may add some. Format page:
docs/formats/agent-link.md.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from skep.base.errors import MalformedRequest
from skep.stores.link.frames import Frame, Kind, encode
from skep.stores.protocol import Buffer

Text = Annotated[str, Meta(max_length=512)]
Size = Annotated[int, Meta(ge=0, le=1 << 62)]
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
AUDIT_RANGES_MAX = 64
LIST_PAGE = 500


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """Agent to hive, first. ``instance`` is drawn anew by every agent process."""

    versions: Annotated[list[int], Meta(min_length=1, max_length=32)]
    agent_id: Text
    nonce: Hex32
    instance: Hex32
    program: Text = ""


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """Hive to agent. ``signature``: the hive's, in hex, over the hive's text (see ``handshake``)."""

    version: int
    hive_id: Text
    nonce: Hex32
    signature: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Agent to hive. ``certificate``: SHA-256 of the TLS certificate that it was shown, or empty without TLS."""

    signature: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]
    certificate: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
    generation: Size
    capacity_bytes: Size | None
    """What it lends; None: all that the disk has."""


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """Hive to agent: the link stands once ``generation`` is on the agent's disk and READY was sent."""

    generation: Size
    streams: Annotated[int, Meta(ge=1, le=1024)]
    """Requests that the hive may have open at once."""
    ping_s: float
    dead_s: float


class Generation(msgspec.Struct, frozen=True):
    """ADVANCE, hive to agent: write this number down. READY, agent to hive: it is on the disk."""

    generation: Size


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the other end should know.

    From the agent: ``room`` (usage changed, ask again), ``leaving`` (drain me). From the hive: ``draining``, with the
    number of shards that are left.
    """

    kind: Literal["room", "leaving", "draining"]
    shards_left: Size | None = None


class Goodbye(msgspec.Struct, frozen=True, kw_only=True):
    """Why the link ends: a code of our error tree, or ``left``, ``stopping``, ``replaced``."""

    code: Text
    message: Annotated[str, Meta(max_length=4_096)] = ""


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of a store's verb; which fields count depends on the verb."""

    verb: Literal["put", "get", "stat", "delete", "list", "usage", "audit", "claim", "identity"]
    key: Text = ""
    offset: Size = 0
    length: Size | None = None
    """Of a get: how many bytes; None: to the end. Of a put: how many follow."""
    window: Size = 0
    """Of a get: how many bytes of data may come before a WINDOW grants more."""
    prefix: Text = ""
    after: Text = ""
    nonce: Text = ""
    ranges: Annotated[list[tuple[Size, Size]], Meta(max_length=AUDIT_RANGES_MAX)] = []
    hive_id: Text = ""
    store_id: Text = ""


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request, before any data."""

    size: Size | None = None
    """Of a get: the bytes of data that follow. Of a stat: the object's."""
    items: list[tuple[str, Size]] = []
    more: bool = False
    """Of a list: whether there are keys after the last of ``items``."""
    used: Size | None = None
    free: Size | None = None
    digest: Text = ""
    hive_id: Text = ""
    store_id: Text = ""
    created_us: Size = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error of our tree: its code, its message, its details."""

    code: Text
    message: Annotated[str, Meta(max_length=4_096)]
    details: dict[str, bool | int | float | str | None] = {}


M = TypeVar("M", bound=msgspec.Struct)
_encoder = msgspec.json.Encoder()


def encode_message(kind: Kind, message: msgspec.Struct, *, stream: int = 0, end: bool = True) -> bytes:
    """A frame with this message."""
    return encode(kind, _encoder.encode(message), stream=stream, end=end and stream != 0)


def read_message(payload: Buffer | Frame, kind: type[M]) -> M:
    """The message of a frame. Raises MalformedRequest."""
    raw = payload.payload if isinstance(payload, Frame) else payload
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"a {kind.__name__} of the agent link does not fit: {error}") from None
