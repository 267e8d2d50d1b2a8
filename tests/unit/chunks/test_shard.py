from __future__ import annotations

import dataclasses
import itertools

import pytest
from blake3 import blake3

from skep.base.errors import CorruptShard
from skep.chunks.buffers import BufferPool
from skep.chunks.layout import BLOCK_BYTES, HASH_BYTES, HEADER_BYTES, ShardLayout, payload_runs
from skep.chunks.pack import Pack, PackBuilder
from skep.chunks.scheme import Scheme
from skep.chunks.seal import chunk_id
from skep.chunks.shard import (
    Shard,
    ShardHeader,
    encode_shards,
    frame_shard,
    read_header,
    rebuild_shards,
    unframed,
    verify_blocks,
    verify_shard,
)
from skep.crypto import public_domain_keys

KEY = bytes(range(32))
PACK_ID = blake3(b"pack id").digest()
STRIDE = BLOCK_BYTES + HASH_BYTES


def pack_of(size: int) -> Pack:
    return Pack(PACK_ID, memoryview(blake3(b"pack").digest(size)))


def file_of(shard: Shard) -> bytes:
    return b"".join(shard.parts)


SMALL = pack_of(300)
PAIR = Scheme.parse("ec(2,1)")
SMALL_FILES = [file_of(shard) for shard in encode_shards(KEY, SMALL, PAIR)]
LARGE = pack_of(3 * BLOCK_BYTES + 1000)
NONE = Scheme.parse("none")
LARGE_FILE = file_of(encode_shards(KEY, LARGE, NONE)[0])


def check_small(number: int, raw: bytes | bytearray, **other: object) -> None:
    facts = {"shard_key": KEY, "pack_id": PACK_ID, "number": number, "scheme": PAIR, "pack_size": 300} | other
    verify_shard(**facts, raw=raw)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 64, 300, BLOCK_BYTES, 3 * BLOCK_BYTES + 1000])
@pytest.mark.parametrize("text", ["none", "raid0(2)", "raid1(3)", "ec(4,2)"])
def test_shards_hold_the_pack_and_verify(size: int, text: str) -> None:
    scheme, pack = Scheme.parse(text), pack_of(size)
    shards = encode_shards(KEY, pack, scheme)
    layout = ShardLayout(scheme, size)
    assert [shard.number for shard in shards] == list(range(scheme.total))
    payload = b""
    for shard in shards:
        raw = file_of(shard)
        assert len(raw) == shard.size_bytes == layout.shard_file_bytes
        assert read_header(raw, KEY) == ShardHeader(PACK_ID, scheme, shard.number, size)
        verify_shard(KEY, PACK_ID, shard.number, scheme, size, raw)
        blocks = verify_blocks(KEY, PACK_ID, shard.number, scheme, size, 0, raw[HEADER_BYTES:])
        if shard.number < scheme.data_shards:
            payload += b"".join(blocks)
    assert payload.rstrip(b"\0") == bytes(pack.data).rstrip(b"\0")
    assert len(payload) == scheme.data_shards * layout.shard_payload_bytes


@pytest.mark.parametrize("text", ["none", "raid0(3)", "raid1(3)", "ec(7,2)"])
def test_a_built_pack_is_coded_without_a_copy_of_it(text: str) -> None:
    builder = PackBuilder(KEY, pool=BufferPool())
    body = blake3(b"body").digest(700_001)
    builder.append(public_domain_keys(), chunk_id(public_domain_keys(), body), body)
    pack = builder.close()
    scheme = Scheme.parse(text)
    for shard in encode_shards(KEY, pack, scheme):
        views = [part for part in shard.parts if isinstance(part, memoryview)]
        of_the_pack = shard.number < scheme.data_shards or scheme.data_shards == 1
        assert {view.obj is pack.data.obj for view in views} == {of_the_pack}


@pytest.mark.parametrize("scheme", ["none", "raid1(3)", "ec(3,2)"])
def test_some_shards_alone_are_those_that_all_would_be(scheme: str) -> None:
    wanted = Scheme.parse(scheme)
    whole = [file_of(shard) for shard in encode_shards(KEY, LARGE, wanted)]
    for number in range(wanted.total):
        (alone,) = encode_shards(KEY, LARGE, wanted, [number])
        assert (alone.number, file_of(alone)) == (number, whole[number])
    assert encode_shards(KEY, LARGE, wanted, []) == []


def test_a_range_is_verified_without_the_rest() -> None:
    layout = ShardLayout(NONE, LARGE.size_bytes)
    for offset, length in ((0, 1), (BLOCK_BYTES - 5, 10), (2 * BLOCK_BYTES, BLOCK_BYTES + 900), (3 * BLOCK_BYTES, 7)):
        where = layout.file_range(offset, length)
        raw = LARGE_FILE[where.offset : where.offset + where.length]
        blocks = verify_blocks(KEY, PACK_ID, 0, NONE, LARGE.size_bytes, where.first_block, raw)
        assert b"".join(blocks)[where.skip :][:length] == bytes(LARGE.data)[offset : offset + length]


@pytest.mark.parametrize("offset", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES - 5])
@pytest.mark.parametrize("length", [1, 5, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 2])
def test_an_exact_range_is_what_it_says_and_no_more(offset: int, length: int) -> None:
    start, size = ShardLayout(NONE, LARGE.size_bytes).exact_range(offset, length)
    assert size <= length + 3 * HASH_BYTES
    parts = unframed(offset, LARGE_FILE[start : start + size])
    assert payload_runs(offset, size) == [len(part) for part in parts]
    assert b"".join(parts) == bytes(LARGE.data)[offset : offset + length]


def test_each_flipped_bit_of_a_small_shard_is_noticed() -> None:
    for number, raw in enumerate(SMALL_FILES):
        for bit in range(len(raw) * 8):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CorruptShard):
                check_small(number, changed)


@pytest.mark.parametrize(
    "position",
    [
        HEADER_BYTES,  # first byte of a block
        HEADER_BYTES + BLOCK_BYTES - 1,  # last byte of a block
        HEADER_BYTES + BLOCK_BYTES,  # its hash
        HEADER_BYTES + STRIDE + 1000,  # the middle of another
        HEADER_BYTES + 3 * STRIDE + 999,  # the short last block
        HEADER_BYTES + 3 * STRIDE + 1020,  # its padding
        -1,  # the last hash
    ],
)
def test_flipped_bits_of_a_large_shard_are_noticed(position: int) -> None:
    changed = bytearray(LARGE_FILE)
    changed[position] ^= 0x10
    with pytest.raises(CorruptShard, match="is not what was written"):
        verify_shard(KEY, PACK_ID, 0, NONE, LARGE.size_bytes, changed)


def test_cut_and_lengthened_shards_are_noticed() -> None:
    raw = SMALL_FILES[0]
    for damaged in (*(raw[:size] for size in range(len(raw))), raw + b"\0", raw + raw):
        with pytest.raises(CorruptShard):
            check_small(0, damaged)


def test_cut_and_lengthened_ranges_are_noticed() -> None:
    size = LARGE.size_bytes
    good = LARGE_FILE[HEADER_BYTES : HEADER_BYTES + 2 * STRIDE]
    assert len(verify_blocks(KEY, PACK_ID, 0, NONE, size, 0, good)) == 2
    for damaged in (good[:-1], good[1:], good[:100], good + b"x"):
        with pytest.raises(CorruptShard):
            verify_blocks(KEY, PACK_ID, 0, NONE, size, 0, damaged)
    tail = LARGE_FILE[HEADER_BYTES + 3 * STRIDE :]
    assert len(verify_blocks(KEY, PACK_ID, 0, NONE, size, 3, tail)) == 1
    with pytest.raises(CorruptShard):
        verify_blocks(KEY, PACK_ID, 0, NONE, size, 3, tail + tail)


def test_blocks_do_not_pass_in_another_place() -> None:
    """A holder that swaps shards, packs or blocks is found out."""
    raw = SMALL_FILES[0]
    with pytest.raises(CorruptShard):
        check_small(1, raw)
    for other in (
        {"pack_id": bytes(32)},
        {"pack_size": 299},
        {"scheme": Scheme.parse("ec(2,2)")},
        {"shard_key": bytes(32)},
    ):
        with pytest.raises(CorruptShard):
            check_small(0, raw, **other)
    blocks = [LARGE_FILE[HEADER_BYTES + n * STRIDE :][:STRIDE] for n in range(3)]
    with pytest.raises(CorruptShard, match="block 0"):
        verify_blocks(KEY, PACK_ID, 0, NONE, LARGE.size_bytes, 0, blocks[1] + blocks[0])
    with pytest.raises(CorruptShard, match="block 1"):
        verify_blocks(KEY, PACK_ID, 0, NONE, LARGE.size_bytes, 0, blocks[0] + blocks[2])


def test_mirrors_are_equal_in_payload_and_not_exchangeable() -> None:
    mirror = Scheme.parse("raid1(2)")
    first, second = (file_of(shard) for shard in encode_shards(KEY, SMALL, mirror))
    assert first[HEADER_BYTES:-HASH_BYTES] == second[HEADER_BYTES:-HASH_BYTES]
    with pytest.raises(CorruptShard):
        verify_shard(KEY, PACK_ID, 0, mirror, 300, second)


def test_a_header_alone_tells_what_recovery_needs() -> None:
    header = read_header(SMALL_FILES[1][:HEADER_BYTES])
    assert (header.pack_id, header.scheme, header.number, header.pack_size) == (PACK_ID, PAIR, 1, 300)
    assert header.layout == ShardLayout(PAIR, 300)
    with pytest.raises(CorruptShard, match="another hive's"):
        read_header(SMALL_FILES[1], bytes(32))


@pytest.mark.parametrize(
    ("position", "value"),
    [(0, 0), (4, 2), (5, 0), (5, 33), (6, 255), (7, 3), (15, 1)],
    ids=["magic", "version", "no data", "too many", "too much parity", "number", "size"],
)
def test_impossible_headers_are_refused_without_a_key(position: int, value: int) -> None:
    raw = bytearray(SMALL_FILES[0])
    raw[position] = value
    with pytest.raises(CorruptShard):
        read_header(raw)


def test_a_pack_of_no_bytes_is_refused() -> None:
    raw = bytearray(SMALL_FILES[0])
    raw[8:16] = bytes(8)
    with pytest.raises(CorruptShard):
        read_header(raw)


def test_a_rebuilt_payload_is_framed_as_it_was() -> None:
    header = read_header(SMALL_FILES[2])
    layout = header.layout
    payload = SMALL_FILES[2][HEADER_BYTES : HEADER_BYTES + layout.shard_payload_bytes]
    assert file_of(frame_shard(KEY, header, bytearray(payload))) == SMALL_FILES[2]
    with pytest.raises(AssertionError):
        frame_shard(KEY, header, payload[:-1])
    assert file_of(frame_shard(KEY, dataclasses.replace(header, number=1), payload)) != SMALL_FILES[1]


@pytest.mark.parametrize("size", [1, 300, 2 * BLOCK_BYTES, 9 * BLOCK_BYTES + 77])
@pytest.mark.parametrize("text", ["none", "raid0(2)", "raid1(3)", "ec(4,2)"])
def test_shards_are_rebuilt_from_the_files_of_any_k_others(size: int, text: str) -> None:
    scheme, pack = Scheme.parse(text), pack_of(size)
    files = {shard.number: file_of(shard) for shard in encode_shards(KEY, pack, scheme)}
    payload_bytes = ShardLayout(scheme, size).shard_payload_bytes
    for present in itertools.combinations(files, scheme.data_shards):
        wanted = [number for number in files if number not in present] or [0]
        some = {number: files[number] for number in present}
        buffer = memoryview(bytearray(len(wanted) * payload_bytes))
        made = rebuild_shards(KEY, PACK_ID, scheme, size, some, wanted, buffer)
        assert [(shard.number, file_of(shard), shard.size_bytes) for shard in made] == [
            (number, files[number], len(files[number])) for number in wanted
        ]


@pytest.mark.parametrize("at", [0, 7, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + BLOCK_BYTES, -1])
def test_nothing_is_rebuilt_from_a_file_that_is_not_what_was_written(at: int) -> None:
    scheme, pack = Scheme.parse("ec(2,2)"), pack_of(5 * BLOCK_BYTES)
    files = {shard.number: file_of(shard) for shard in encode_shards(KEY, pack, scheme)}
    damaged = bytearray(files[2])
    damaged[at] ^= 4
    buffer = memoryview(bytearray(ShardLayout(scheme, pack.size_bytes).shard_payload_bytes))
    for raw in (bytes(damaged), files[2][:-1], files[3], b""):
        with pytest.raises(CorruptShard) as caught:
            rebuild_shards(KEY, PACK_ID, scheme, pack.size_bytes, {1: files[1], 2: raw}, [0], buffer)
        assert caught.value.details["number"] == 2
