"""The way of a byte through the whole package, in and out again."""

from __future__ import annotations

import itertools
import random

import pytest

from skep.chunks import (
    HEADER_BYTES,
    ChunkRef,
    Manifest,
    PackBuilder,
    Scheme,
    ShardLayout,
    Splitter,
    chunk_id,
    encode_shards,
    index_tail_size,
    open_sealed,
    pack_id,
    read_header,
    read_index,
    rebuild_blocks,
    verify_blocks,
    verify_shard,
)
from skep.crypto import DomainKeys

KEYS = DomainKeys.derive(bytes(range(16)), 1, bytes(32))
INDEX_KEY = bytes([1]) * 32
SHARD_KEY = bytes([2]) * 32


@pytest.mark.parametrize("text", ["none", "raid0(3)", "raid1(2)", "raid5(3)", "ec(4,2)"])
def test_bytes_come_back(text: str) -> None:
    scheme = Scheme.parse(text)
    content = random.Random(1).randbytes(9_000_001) + b"text " * 700_000
    splitter = Splitter(KEYS.cut_seed)
    builder = PackBuilder(INDEX_KEY)
    refs = []

    def take(chunks: list[memoryview]) -> None:
        for chunk in chunks:
            name = chunk_id(KEYS, chunk)
            builder.append(KEYS, name, chunk)
            refs.append(ChunkRef(name, len(chunk)))

    for start in range(0, len(content), 262_144):
        take(splitter.push(content[start : start + 262_144]))
    take(splitter.finish())
    manifest = Manifest.decode(Manifest.of(refs).encode())
    assert manifest.size_bytes == len(content)

    pack = builder.close()
    size = pack.size_bytes
    files = {shard.number: b"".join(shard.parts) for shard in encode_shards(SHARD_KEY, pack, scheme)}
    layout = ShardLayout(scheme, size)
    for number, raw in files.items():
        assert len(raw) == layout.shard_file_bytes
        verify_shard(SHARD_KEY, pack.id, number, scheme, size, raw)
        assert read_header(raw, SHARD_KEY).scheme == scheme

    survivors = dict(itertools.islice(reversed(files.items()), scheme.data_shards))
    blocks = {
        n: verify_blocks(SHARD_KEY, pack.id, n, scheme, size, 0, raw[HEADER_BYTES:]) for n, raw in survivors.items()
    }
    data = rebuild_blocks(scheme, blocks, range(scheme.data_shards))
    whole = b"".join(data[n] for n in range(scheme.data_shards))[:size]
    tail = whole[-index_tail_size(whole[-16:]) :]
    assert pack_id(tail) == pack.id
    entries = {entry.chunk_id: entry for entry in read_index(INDEX_KEY, tail, size)}
    assert tuple(entries.values()) == pack.entries

    def plain(ref: ChunkRef) -> bytes:
        entry = entries[ref.id]
        return open_sealed(KEYS, ref.id, whole[entry.offset : entry.offset + entry.size_bytes])

    assert b"".join(plain(ref)[a:b] for ref, a, b in manifest.slice(0)) == content
