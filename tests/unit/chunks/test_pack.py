from __future__ import annotations

import struct

import pytest
from blake3 import blake3

from skep.base.errors import CorruptPack
from skep.chunks.buffers import BufferPool
from skep.chunks.pack import (
    PACK_BYTES,
    TRAILER_BYTES,
    Pack,
    PackBuilder,
    PackEntry,
    index_tail_size,
    pack_id,
    read_index,
)
from skep.chunks.scheme import Scheme
from skep.chunks.seal import SEAL_OVERHEAD_BYTES, chunk_id, open_sealed
from skep.chunks.shard import encode_shards
from skep.crypto import DomainKeys, public_domain_keys, seal_record

KEYS = DomainKeys.derive(bytes(16), 1, bytes(32))
KEY = bytes(range(32))
BODIES = [blake3(b"pack%d" % n).digest(n) for n in (1, 100, 5000)]


def build(pool: BufferPool | None = None, bodies: list[bytes] = BODIES) -> Pack:
    builder = PackBuilder(KEY, pool=pool or BufferPool())
    for body in bodies:
        builder.append(KEYS, chunk_id(KEYS, body), body)
    return builder.close()


def tail_of(data: bytes) -> bytes:
    return data[-index_tail_size(data[-TRAILER_BYTES:]) :]


def test_a_pack_tells_what_is_in_it_and_where() -> None:
    pack = build()
    data = bytes(pack.data)
    assert pack.size_bytes == len(data)
    entries = read_index(KEY, tail_of(data), len(data))
    assert tuple(entries) == pack.entries
    for entry, body in zip(entries, BODIES, strict=True):
        assert entry.plain_bytes == len(body)
        assert entry.domain_id == KEYS.domain_id
        sealed = data[entry.offset : entry.offset + entry.size_bytes]
        assert open_sealed(KEYS, entry.chunk_id, sealed) == body
    assert read_index(KEY, data, len(data)) == entries


def test_the_id_is_of_index_and_trailer_and_never_repeats() -> None:
    first, second = build(), build()
    assert first.id == pack_id(tail_of(bytes(first.data))) == blake3(tail_of(bytes(first.data))).digest()
    assert first.id != second.id


def test_the_index_lists_each_tag_so_that_the_id_commits_to_the_chunks() -> None:
    from skep.crypto import open_record

    data = bytes(build().data)
    index = open_record(KEY, tail_of(data)[:-TRAILER_BYTES], data[-TRAILER_BYTES:])
    for _, _, offset, size, _, tag in struct.iter_unpack("<16s32sIII16s", index[8:]):
        assert tag == data[offset + size - 16 : offset + size]


def test_fits_is_exact_for_content_that_does_not_compress() -> None:
    body = blake3(b"fits").digest(300_000)
    builder = PackBuilder(KEY, 1 << 20)
    while builder.fits(len(body)):
        builder.append(KEYS, chunk_id(KEYS, body), body)
    size = max(n for n in range(0, len(body), 1) if builder.fits(n))
    builder.append(KEYS, chunk_id(KEYS, body[:size]), body[:size])
    assert not builder.fits(0)
    promised = builder.size_bytes
    pack = builder.close()
    assert pack.size_bytes == promised == 1 << 20


def test_a_chunk_that_does_not_fit_is_a_programming_error() -> None:
    builder = PackBuilder(KEY, 4096)
    assert not builder.fits(4096)
    with pytest.raises(AssertionError):
        builder.append(KEYS, bytes(32), bytes(4096))
    with pytest.raises(AssertionError, match="at least one chunk"):
        builder.close()


def test_adopted_chunks_are_the_same_bytes_in_another_place() -> None:
    pack = build()
    data = bytes(pack.data)
    builder = PackBuilder(KEY)
    public = public_domain_keys()
    builder.append(public, chunk_id(public, b"public"), b"public")
    kept = pack.entries[2]
    sealed = data[kept.offset : kept.offset + kept.size_bytes]
    moved = builder.adopt(kept, memoryview(sealed))
    assert moved.offset == builder.entries[0].size_bytes
    assert (moved.chunk_id, moved.size_bytes, moved.plain_bytes) == (kept.chunk_id, kept.size_bytes, kept.plain_bytes)
    again = builder.close()
    assert bytes(again.data[moved.offset :][: moved.size_bytes]) == sealed
    assert [entry.domain_id for entry in again.entries] == [public.domain_id, KEYS.domain_id]
    with pytest.raises(CorruptPack, match="its entry says"):
        PackBuilder(KEY).adopt(kept, sealed[:-1])


def test_each_flipped_bit_of_index_and_trailer_is_noticed() -> None:
    data = bytes(build().data)
    tail = tail_of(data)
    for bit in range(len(tail) * 8):
        changed = bytearray(tail)
        changed[bit // 8] ^= 1 << bit % 8
        assert pack_id(changed) != pack_id(tail)
        with pytest.raises(CorruptPack):
            read_index(KEY, changed, len(data))


def test_wrong_key_wrong_size_and_cut_tails_are_refused() -> None:
    data = bytes(build().data)
    tail = tail_of(data)
    with pytest.raises(CorruptPack, match="does not open"):
        read_index(bytes(32), tail, len(data))
    for size in (len(data) + 1, len(data) - 1, len(tail), 0):
        with pytest.raises(CorruptPack):
            read_index(KEY, tail, size)
    for cut in range(0, len(tail), 7):
        with pytest.raises(CorruptPack):
            read_index(KEY, tail[cut + 1 :], len(data))
    with pytest.raises(CorruptPack, match="newer Skep"):
        index_tail_size(data[-16:-12] + b"\x02" + data[-11:])


@pytest.mark.parametrize(
    ("entries", "end"),
    [
        ([(0, 100), (101, 100)], 201),  # a gap
        ([(0, 100), (99, 100)], 199),  # an overlap
        ([(10, 100)], 110),  # not from the start
        ([(0, 100)], 200),  # not to the index
        ([(0, SEAL_OVERHEAD_BYTES - 1)], SEAL_OVERHEAD_BYTES - 1),  # too small for a chunk
    ],
)
def test_an_index_that_contradicts_itself_is_refused(entries: list[tuple[int, int]], end: int) -> None:
    """Sealed by someone with the key: a bug of a writer must not become a bug of a reader."""
    index = struct.pack("<II", len(entries), end)
    index += b"".join(struct.pack("<16s32sIII16s", bytes(16), bytes(32), *pair, 5, bytes(16)) for pair in entries)
    trailer = struct.pack("<IB3x8s", len(index) + 44, 1, b"SKEPPACK")
    tail = seal_record(KEY, index, trailer) + trailer
    with pytest.raises(CorruptPack):
        read_index(KEY, tail, end + len(tail))


def test_release_gives_all_memory_back_and_takes_the_views() -> None:
    pool = BufferPool()
    pack = build(pool)
    shards = encode_shards(KEY, pack, Scheme.parse("ec(2,2)"))
    data = pack.data
    assert pool.free_bytes == 0
    pack.release()
    assert pool.free_bytes > PACK_BYTES
    pack.release()
    for view in (data, shards[0].parts[1], shards[3].parts[1]):
        with pytest.raises(ValueError, match="released"):
            bytes(view)


def test_memory_that_is_still_read_is_not_used_again() -> None:
    pool = BufferPool()
    pack = build(pool)
    reading, expected = pack.data[:], bytes(pack.data)
    pack.release()
    assert pool.free_bytes == 0
    build(pool)
    assert bytes(reading) == expected


def test_a_used_buffer_leaves_nothing_behind_in_the_next_pack() -> None:
    pool = BufferPool()
    large = build(pool, [blake3(b"large").digest(200_000)])
    large.release()
    small = build(pool, [b"small"])
    assert not any(small.padded(small.size_bytes, small.size_bytes + 4096))


def test_abandoned_builders_give_their_memory_back() -> None:
    pool = BufferPool()
    builder = PackBuilder(KEY, pool=pool)
    builder.append(KEYS, chunk_id(KEYS, b"x"), b"x")
    builder.abandon()
    builder.abandon()
    assert pool.free_bytes > PACK_BYTES


def test_a_pack_from_plain_bytes_can_be_padded() -> None:
    pack = Pack(bytes(32), memoryview(b"abc"))
    assert bytes(pack.padded(1, 6)) == b"bc\0\0\0"
    assert bytes(pack.padded(3, 6)) == bytes(3)
    assert bytes(pack.padded(4, 6)) == bytes(2)


def test_entries_are_plain_values() -> None:
    entry = PackEntry(bytes(16), bytes(32), 0, 50, 10)
    assert entry == PackEntry(bytes(16), bytes(32), 0, 50, 10)
    with pytest.raises(AttributeError):
        entry.offset = 1  # type: ignore[misc]
