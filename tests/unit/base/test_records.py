"""Versioned records: round trips, upgrades from every predecessor, refusals."""

from __future__ import annotations

from typing import Self

import msgspec
import pytest

from skep.base.errors import CorruptRecord
from skep.base.records import VersionedRecord, decode_record, encode_record


class CursorV1(VersionedRecord, frozen=True):
    kind = "cursor"
    version = 1
    pack: bytes


class CursorV2(VersionedRecord, frozen=True):
    kind = "cursor"
    version = 2
    predecessor = CursorV1
    pack_id: bytes

    @classmethod
    def upgraded(cls, old: VersionedRecord) -> Self:
        assert isinstance(old, CursorV1)
        return cls(pack_id=old.pack)


class Cursor(VersionedRecord, frozen=True):
    kind = "cursor"
    version = 3
    predecessor = CursorV2
    pack_id: bytes
    passes: int

    @classmethod
    def upgraded(cls, old: VersionedRecord) -> Self:
        assert isinstance(old, CursorV2)
        return cls(pack_id=old.pack_id, passes=0)


class Other(VersionedRecord, frozen=True):
    kind = "other"
    version = 1


def test_round_trip() -> None:
    assert decode_record(Cursor, encode_record(Cursor(b"p", 7))) == Cursor(b"p", 7)


def test_every_predecessor_is_read() -> None:
    assert decode_record(Cursor, encode_record(CursorV1(b"p"))) == Cursor(b"p", 0)
    assert decode_record(Cursor, encode_record(CursorV2(b"p"))) == Cursor(b"p", 0)


def test_bytes_of_the_first_version_are_read_for_ever() -> None:
    raw = bytes.fromhex("93a6637572736f720181a47061636bc40170")
    assert encode_record(CursorV1(b"p")) == raw
    assert decode_record(Cursor, raw) == Cursor(b"p", 0)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (encode_record(Other()), "found a 'other' one"),
        (msgspec.msgpack.encode(("cursor", 4, {})), "upgrade Skep"),
        (msgspec.msgpack.encode(("cursor", 0, {})), "never was"),
        (msgspec.msgpack.encode(("cursor", 3, {"pack_id": 5})), "does not parse"),
        (encode_record(Cursor(b"p", 7))[:-1], "does not parse"),
        (b"", "does not parse"),
        (b"\xff\xff", "does not parse"),
    ],
)
def test_other_bytes_are_refused(raw: bytes, said: str) -> None:
    with pytest.raises(CorruptRecord, match=said):
        decode_record(Cursor, raw)
