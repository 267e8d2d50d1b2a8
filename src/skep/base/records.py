"""Stored records that name their version and know their predecessor.

A record class has a ``kind`` and a ``version``; the class of the version before is its
``predecessor`` and ``upgraded`` makes the new from the old. Old bytes are then read for ever:

    class Cursor(VersionedRecord, frozen=True):
        kind = "scrub-cursor"
        version = 2
        predecessor = CursorV1
        pack_id: bytes
        passes: int

        @classmethod
        def upgraded(cls, old: VersionedRecord) -> Cursor: ...

    decode_record(Cursor, encode_record(cursor)) == cursor

The bytes are a MessagePack array of kind, version and the record's own map.
"""

from __future__ import annotations

from typing import ClassVar, Self, TypeVar

import msgspec

from skep.base.errors import CorruptRecord

R = TypeVar("R", bound="VersionedRecord")
RECORD_SIZE_MAX_BYTES = 1 << 28


class VersionedRecord(msgspec.Struct, frozen=True):
    """Base of records that outlive the program that wrote them."""

    kind: ClassVar[str]
    version: ClassVar[int]
    predecessor: ClassVar[type[VersionedRecord] | None] = None

    @classmethod
    def upgraded(cls, old: VersionedRecord) -> Self:
        """The record that says the same as its predecessor ``old``."""
        raise TypeError(f"{cls.__name__} does not say how it is made from {type(old).__name__}")


def encode_record(record: VersionedRecord) -> bytes:
    """The bytes to store."""
    return msgspec.msgpack.encode((record.kind, record.version, record))


def decode_record(wanted: type[R], raw: bytes) -> R:
    """Read a record of this class or of any of its predecessors, upgraded step by step.

    Raises CorruptRecord when the bytes are another kind of record, of a newer version, or no record.
    """
    if len(raw) > RECORD_SIZE_MAX_BYTES:
        raise CorruptRecord(f"a {wanted.kind} record of {len(raw)} bytes is no record of ours")
    try:
        kind, version, body = msgspec.msgpack.decode(raw, type=tuple[str, int, msgspec.Raw])
        if kind != wanted.kind:
            raise CorruptRecord(f"expected a {wanted.kind} record and found a {kind[:64]!r} one")
        return _decode_version(wanted, version, body)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"a {wanted.kind} record does not parse: {error}") from None


def _decode_version(wanted: type[R], version: int, body: msgspec.Raw) -> R:
    if version == wanted.version:
        return msgspec.msgpack.decode(body, type=wanted)
    if version > wanted.version:
        raise CorruptRecord(
            f"a {wanted.kind} record has version {version}, this Skep knows up to {wanted.version}: upgrade Skep"
        )
    if wanted.predecessor is None:
        raise CorruptRecord(f"a {wanted.kind} record has version {version}, which never was")
    return wanted.upgraded(_decode_version(wanted.predecessor, version, body))
