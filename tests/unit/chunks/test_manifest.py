from __future__ import annotations

import struct

import pytest

from skep.base.errors import CorruptRecord
from skep.chunks.gear import CHUNK_BYTES_MAX
from skep.chunks.manifest import ChunkRef, Manifest, etag

A, B, C = (ChunkRef(bytes([n]) * 32, size) for n, size in ((1, 10), (2, 20), (3, 5)))
ABC = Manifest.of([A, B, C])


def test_an_empty_file_has_no_chunks() -> None:
    empty = Manifest.of([])
    assert (empty.size_bytes, empty.chunks) == (0, ())
    assert Manifest.decode(empty.encode()) == empty
    assert empty.slice(0) == empty.slice(0, 10) == empty.slice(5, 10) == []


def test_the_stored_form_comes_back() -> None:
    assert Manifest.decode(ABC.encode()) == ABC
    assert Manifest.decode(memoryview(ABC.encode())) == ABC
    assert len(ABC.encode()) == 5 + 3 * 36


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x01\x00",
        b"\x02" + ABC.encode()[1:],
        ABC.encode()[:-1],
        ABC.encode() + b"\0",
        ABC.encode()[:-4] + bytes(4),
        ABC.encode()[:-4] + (CHUNK_BYTES_MAX + 1).to_bytes(4, "little"),
        b"\x01\xff\xff\xff\xff" + ABC.encode()[5:],
    ],
)
def test_damaged_forms_are_refused(damaged: bytes) -> None:
    with pytest.raises(CorruptRecord):
        Manifest.decode(damaged)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, [(A, 0, 10), (B, 0, 20), (C, 0, 5)]),
        (0, 10, [(A, 0, 10)]),
        (10, 1, [(B, 0, 1)]),
        (9, 2, [(A, 9, 10), (B, 0, 1)]),
        (5, 27, [(A, 5, 10), (B, 0, 20), (C, 0, 2)]),
        (34, 100, [(C, 4, 5)]),
        (35, 1, []),
        (100, None, []),
        (12, 0, []),
    ],
)
def test_slices_name_the_chunks_that_hold_them(
    offset: int, length: int | None, expected: list[tuple[ChunkRef, int, int]]
) -> None:
    assert ABC.slice(offset, length) == expected


def test_the_size_must_be_that_of_the_chunks() -> None:
    with pytest.raises(AssertionError):
        Manifest(1, (A,))


def test_etags_tell_contents_apart() -> None:
    tags = {etag(Manifest.of(chunks)) for chunks in ([], [A], [A, B], [B, A], [A, A])}
    assert len(tags) == 5
    assert all(len(tag) == 32 and int(tag, 16) >= 0 for tag in tags)
    assert etag(Manifest.of([A, B])) == etag(Manifest.decode(Manifest.of([A, B]).encode()))


@pytest.mark.parametrize("size", [0, CHUNK_BYTES_MAX + 1, (1 << 32) - 1])
def test_one_chunk_of_an_impossible_size_is_refused(size: int) -> None:
    encoded = struct.pack("<BI", 1, 1) + bytes(32) + struct.pack("<I", size)
    with pytest.raises(CorruptRecord, match="impossible size"):
        Manifest.decode(encoded)
