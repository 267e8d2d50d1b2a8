from __future__ import annotations

import pytest

from skep.chunks.layout import BLOCK_BYTES, HASH_BYTES, HEADER_BYTES, ShardLayout
from skep.chunks.scheme import Scheme

STRIDE = BLOCK_BYTES + HASH_BYTES


@pytest.mark.parametrize(
    ("scheme", "pack_size", "payload", "blocks"),
    [
        ("none", 1, 64, 1),
        ("none", 64, 64, 1),
        ("none", 65, 128, 1),
        ("none", BLOCK_BYTES, BLOCK_BYTES, 1),
        ("none", BLOCK_BYTES + 1, BLOCK_BYTES + 64, 2),
        ("ec(4,2)", 16 << 20, 4 << 20, 16),
        ("ec(4,2)", (16 << 20) + 1, (4 << 20) + 64, 17),
        ("raid0(3)", 1000, 384, 1),
    ],
)
def test_sizes(scheme: str, pack_size: int, payload: int, blocks: int) -> None:
    layout = ShardLayout(Scheme.parse(scheme), pack_size)
    assert layout.shard_payload_bytes == payload
    assert layout.block_count == blocks
    assert layout.shard_file_bytes == HEADER_BYTES + payload + blocks * HASH_BYTES
    assert sum(layout.block_bytes(block) for block in range(blocks)) == payload


def test_a_run_of_bytes_is_located_in_the_data_shards() -> None:
    layout = ShardLayout(Scheme.parse("raid5(4)"), 3 * 640)
    assert layout.locate(0, 0) == []
    assert layout.locate(0, 640) == [(0, 0, 640)]
    assert layout.locate(639, 2) == [(0, 639, 1), (1, 0, 1)]
    assert layout.locate(600, 1320) == [(0, 600, 40), (1, 0, 640), (2, 0, 640)]
    with pytest.raises(AssertionError):
        layout.locate(0, 3 * 640 + 1)


def test_a_payload_range_needs_whole_blocks_of_the_file() -> None:
    layout = ShardLayout(Scheme.parse("none"), 2 * BLOCK_BYTES + 100)
    assert layout.file_range(0, 1) == (HEADER_BYTES, STRIDE, 0, 0)
    assert layout.file_range(BLOCK_BYTES - 1, 2) == (HEADER_BYTES, 2 * STRIDE, 0, BLOCK_BYTES - 1)
    assert layout.file_range(BLOCK_BYTES, BLOCK_BYTES) == (HEADER_BYTES + STRIDE, STRIDE, 1, 0)
    last = layout.file_range(2 * BLOCK_BYTES + 50, 10)
    assert last == (HEADER_BYTES + 2 * STRIDE, 128 + HASH_BYTES, 2, 50)
    assert last.offset + last.length == layout.shard_file_bytes
    for offset, length in ((0, 0), (-1, 5), (0, 2 * BLOCK_BYTES + 129)):
        with pytest.raises(AssertionError):
            layout.file_range(offset, length)
