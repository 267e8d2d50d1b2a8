"""Whatever goes in comes out, whatever is lost within the scheme's promise, whatever is flipped is noticed."""

from __future__ import annotations

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.base.errors import CorruptChunk, CorruptPack, CorruptShard
from skep.chunks import (
    HEADER_BYTES,
    ChunkRef,
    Manifest,
    Pack,
    PackBuilder,
    Scheme,
    ShardLayout,
    chunk_id,
    encode_shards,
    index_tail_size,
    open_sealed,
    read_index,
    rebuild_blocks,
    verify_blocks,
    verify_shard,
)
from skep.chunks.buffers import BufferPool
from skep.chunks.coding import PlainCoder
from skep.crypto import DomainKeys

KEYS = DomainKeys.derive(bytes(16), 1, bytes(32))
KEY = bytes(range(32))
POOL = BufferPool()

schemes = st.integers(1, 12).flatmap(
    lambda total: st.integers(1, total).map(lambda k: Scheme.of(k, total - k)),
)
noise = st.builds(lambda label, size: blake3(label).digest(size), st.binary(max_size=4), st.integers(0, 20_000))
rows = st.builds(lambda word, count: word * count, st.binary(min_size=1, max_size=20), st.integers(0, 2000))
bodies = st.lists(st.one_of(st.binary(max_size=200), noise, rows), min_size=1, max_size=8)


def build(contents: list[bytes], level: int) -> Pack:
    builder = PackBuilder(KEY, 1 << 20, pool=POOL)
    for content in contents:
        assert builder.fits(len(content))
        builder.append(KEYS, chunk_id(KEYS, content), content, level)
    return builder.close()


@given(bodies, schemes, st.sampled_from([0, 1, 3]), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_any_k_shards_give_all_chunks_back(contents: list[bytes], scheme: Scheme, level: int, random: object) -> None:
    pack = build(contents, level)
    size, expected = pack.size_bytes, bytes(pack.data)
    files = [b"".join(shard.parts) for shard in encode_shards(KEY, pack, scheme)]
    name = pack.id
    pack.release()
    left = random.sample(range(scheme.total), scheme.data_shards)  # type: ignore[attr-defined]
    blocks = {n: verify_blocks(KEY, name, n, scheme, size, 0, files[n][HEADER_BYTES:]) for n in left}
    made = rebuild_blocks(scheme, blocks, range(scheme.total))
    assert b"".join(made[number] for number in range(scheme.data_shards))[:size] == expected
    assert all(
        bytes(made[n]) == b"".join(verify_blocks(KEY, name, n, scheme, size, 0, files[n][HEADER_BYTES:]))
        for n in range(scheme.total)
    )
    assert rebuild_blocks(scheme, blocks, range(scheme.total), using=PlainCoder()) == made
    entries = read_index(KEY, expected[-index_tail_size(expected[-16:]) :], size)
    for entry, content in zip(entries, contents, strict=True):
        assert open_sealed(KEYS, entry.chunk_id, expected[entry.offset :][: entry.size_bytes]) == content


@given(bodies, st.integers(0), st.integers(0, 7))
@settings(deadline=None)
def test_any_flipped_bit_of_a_pack_is_noticed(contents: list[bytes], position: int, bit: int) -> None:
    pack = build(contents, 3)
    changed = bytearray(pack.data)
    entries = pack.entries
    pack.release()
    position %= len(changed)
    changed[position] ^= 1 << bit
    noticed = False
    try:
        read_index(KEY, changed[-index_tail_size(changed[-16:]) :], len(changed))
    except CorruptPack:
        noticed = True
    for entry in entries:
        try:
            open_sealed(KEYS, entry.chunk_id, changed[entry.offset : entry.offset + entry.size_bytes])
        except CorruptChunk:
            noticed = True
    assert noticed


@given(bodies, schemes, st.integers(0), st.integers(0), st.integers(0, 7))
@settings(deadline=None)
def test_any_flipped_bit_of_a_shard_is_noticed(
    contents: list[bytes], scheme: Scheme, number: int, position: int, bit: int
) -> None:
    pack = build(contents, 3)
    number %= scheme.total
    changed = bytearray(b"".join(encode_shards(KEY, pack, scheme)[number].parts))
    name, size = pack.id, pack.size_bytes
    pack.release()
    changed[position % len(changed)] ^= 1 << bit
    try:
        verify_shard(KEY, name, number, scheme, size, changed)
    except CorruptShard:
        return
    raise AssertionError("a changed shard passed")


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_refused_and_nothing_worse(raw: bytes) -> None:
    for attempt, error in (
        (lambda: open_sealed(KEYS, bytes(32), raw), CorruptChunk),
        (lambda: read_index(KEY, raw, len(raw)), CorruptPack),
        (lambda: verify_shard(KEY, bytes(32), 0, Scheme.of(2, 1), 500, raw), CorruptShard),
    ):
        try:
            attempt()
        except error:
            continue
        raise AssertionError("arbitrary bytes passed")


@given(schemes, st.integers(1, 40 << 20), st.data())
def test_each_byte_of_a_pack_has_one_place(scheme: Scheme, pack_size: int, data: st.DataObject) -> None:
    layout = ShardLayout(scheme, pack_size)
    offset = data.draw(st.integers(0, pack_size - 1))
    length = data.draw(st.integers(1, pack_size - offset))
    expected = offset
    for number, start, here in layout.locate(offset, length):
        assert number * layout.shard_payload_bytes + start == expected
        assert 0 < here <= layout.shard_payload_bytes - start
        where = layout.file_range(start, here)
        assert where.offset >= HEADER_BYTES
        assert where.offset + where.length <= layout.shard_file_bytes
        assert where.skip + here <= where.length
        expected += here
    assert expected == offset + length


@given(st.lists(st.integers(1, 5000), max_size=20), st.integers(0, 120_000), st.integers(0, 120_000))
def test_slices_cut_the_content_like_python_does(sizes: list[int], offset: int, length: int) -> None:
    contents = [blake3(b"%d" % number).digest(size) for number, size in enumerate(sizes)]
    manifest = Manifest.of(ChunkRef(blake3(each).digest(), len(each)) for each in contents)
    by_id = {blake3(each).digest(): each for each in contents}
    found = b"".join(by_id[ref.id][start:stop] for ref, start, stop in manifest.slice(offset, length))
    assert found == b"".join(contents)[offset : offset + length]
    assert Manifest.decode(manifest.encode()) == manifest
