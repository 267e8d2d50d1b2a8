from __future__ import annotations

import pytest

from skep.base.errors import CorruptRecord
from skep.crypto.sealing import RECORD_OVERHEAD_BYTES, open_record, seal_record

KEY = bytes(range(32))


@pytest.mark.parametrize("plain", [b"", b"a", b"secret " * 1000])
def test_what_is_sealed_opens(plain: bytes) -> None:
    sealed = seal_record(KEY, plain, b"place")
    assert len(sealed) == len(plain) + RECORD_OVERHEAD_BYTES
    assert open_record(KEY, sealed, b"place") == plain
    assert open_record(KEY, memoryview(sealed), b"place") == plain


def test_two_seals_of_one_secret_have_nothing_in_common() -> None:
    first, second = seal_record(KEY, bytes(64), b""), seal_record(KEY, bytes(64), b"")
    assert first[4:28] != second[4:28]
    assert first[28:] != second[28:]


def test_each_flipped_bit_is_noticed() -> None:
    sealed = seal_record(KEY, b"four", b"place")
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptRecord):
            open_record(KEY, changed, b"place")


def test_other_key_other_place_and_cut_records_do_not_open() -> None:
    sealed = seal_record(KEY, b"four", b"place")
    with pytest.raises(CorruptRecord, match="does not open"):
        open_record(bytes(32), sealed, b"place")
    with pytest.raises(CorruptRecord, match="does not open"):
        open_record(KEY, sealed, b"other place")
    for size in range(len(sealed)):
        with pytest.raises(CorruptRecord):
            open_record(KEY, sealed[:size], b"place")


def test_a_newer_version_is_named() -> None:
    sealed = bytearray(seal_record(KEY, b"four", b""))
    sealed[2] = 2
    with pytest.raises(CorruptRecord, match="newer Skep"):
        open_record(KEY, sealed, b"")
