"""Where the bytes of a pack lie in its shards, and where they lie in a shard's file. Pure arithmetic.

Data shard ``i`` of k holds the pack's bytes from ``i*L`` to ``(i+1)*L``, zeros after the pack's end;
``L`` is the pack's size divided by k, rounded up to 64. A shard's file is a header of 64 bytes and
the payload in blocks of 256 KiB (the last one shorter), each followed by its hash of 32 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from skep.chunks.scheme import Scheme

HEADER_BYTES = 64
BLOCK_BYTES = 256 << 10
HASH_BYTES = 32
ALIGNMENT_BYTES = 64
_STRIDE_BYTES = BLOCK_BYTES + HASH_BYTES


class FileRange(NamedTuple):
    """What to read of a shard's file: whole blocks with their hashes. Offset and length in bytes."""

    offset: int
    length: int
    first_block: int
    skip: int
    """How far into the first block the wanted payload starts."""


def payload_runs(payload_offset: int, length: int) -> list[int]:
    """The sizes of the payload's runs, with a hash between each two, in what ``ShardLayout.exact_range`` names."""
    runs = []
    rest_of_block = BLOCK_BYTES - payload_offset % BLOCK_BYTES
    while length > 0:
        runs.append(min(rest_of_block, length))
        length -= rest_of_block + HASH_BYTES
        rest_of_block = BLOCK_BYTES
    return runs


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """The layout of a pack of ``pack_size`` bytes under ``scheme``."""

    scheme: Scheme
    pack_size: int

    def __post_init__(self) -> None:
        assert self.pack_size > 0

    @property
    def shard_payload_bytes(self) -> int:
        """How many bytes of the code each shard carries: ``L``."""
        k = self.scheme.data_shards
        return -(-self.pack_size // (k * ALIGNMENT_BYTES)) * ALIGNMENT_BYTES

    @property
    def block_count(self) -> int:
        """How many blocks each shard has."""
        return -(-self.shard_payload_bytes // BLOCK_BYTES)

    @property
    def shard_file_bytes(self) -> int:
        """How many bytes each shard has with its header and hashes."""
        return HEADER_BYTES + self.shard_payload_bytes + self.block_count * HASH_BYTES

    def block_bytes(self, block: int) -> int:
        """The payload bytes of one block."""
        assert 0 <= block < self.block_count
        return min(BLOCK_BYTES, self.shard_payload_bytes - block * BLOCK_BYTES)

    def locate(self, offset: int, length: int) -> list[tuple[int, int, int]]:
        """Where ``length`` bytes of the pack from ``offset`` lie: (shard number, payload offset, length), in order."""
        assert offset >= 0
        assert offset + length <= self.pack_size
        payload = self.shard_payload_bytes
        places = []
        while length > 0:
            number, start = divmod(offset, payload)
            here = min(length, payload - start)
            places.append((number, start, here))
            offset += here
            length -= here
        return places

    def file_range(self, payload_offset: int, length: int) -> FileRange:
        """What to read of a shard's file for ``length`` bytes of its payload from ``payload_offset``."""
        assert payload_offset >= 0
        assert 0 < length <= self.shard_payload_bytes - payload_offset
        first = payload_offset // BLOCK_BYTES
        last = (payload_offset + length - 1) // BLOCK_BYTES
        start = HEADER_BYTES + first * _STRIDE_BYTES
        stop = HEADER_BYTES + last * _STRIDE_BYTES + self.block_bytes(last) + HASH_BYTES
        return FileRange(start, stop - start, first, payload_offset - first * BLOCK_BYTES)

    def exact_range(self, payload_offset: int, length: int) -> tuple[int, int]:
        """Offset and length in a shard's file of ``length`` bytes of its payload, and the hashes between them."""
        assert payload_offset >= 0
        assert 0 < length <= self.shard_payload_bytes - payload_offset
        first = payload_offset // BLOCK_BYTES
        last = (payload_offset + length - 1) // BLOCK_BYTES
        return HEADER_BYTES + payload_offset + first * HASH_BYTES, length + (last - first) * HASH_BYTES
