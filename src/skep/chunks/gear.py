"""The cut in plain Python: the oracle of the fast library, and its stand-in.

FastCDC as of W. Xia et al., "The Design of Fast Content-Defined Chunking for Data
Deduplication Based Storage Systems", IEEE TPDS 31(9), 2020: a gear hash over the last 64
bytes, no cut before the minimum (section 3.4), a stricter mask before the average than after
it (section 3.5). The table and the masks are those that the fast library was measured to
use; docs/formats/chunk-id.md lists them, and the frozen vectors hold them in place.

A chunk that starts at 0 ends at the first position ``p`` with ``hash(p) & mask(p) == 0``, where
``hash(p)`` covers the bytes from the minimum to ``p``, byte ``p`` included although it belongs to
the next chunk. Positions are looked at in pairs: of an odd rest, the last is not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

from skep.crypto.hashing import Buffer

CHUNK_BYTES_MIN = 256 << 10
CHUNK_BYTES_AVERAGE = 1 << 20
CHUNK_BYTES_MAX = 4 << 20

_MASK_BEFORE_AVERAGE = 0x0000D91767537000
_MASK_AFTER_AVERAGE = 0x0000D91707537000
_BITS = (1 << 64) - 1


@lru_cache(maxsize=8)
def gear_table(cut_seed: int) -> tuple[int, ...]:
    """256 numbers of 64 bits: of MD5 over 64 times each byte the first 8, big-endian, XORed with the seed.

    MD5 is no secret here; it is how the paper's authors drew their table.
    """
    return tuple(
        int.from_bytes(hashlib.md5(bytes([byte]) * 64, usedforsecurity=False).digest()[:8], "big") ^ cut_seed
        for byte in range(256)
    )


def plain_cuts(data: Buffer, cut_seed: int) -> Iterator[int]:
    """The end offsets of all chunks of ``data``, which is taken to end there."""
    table = gear_table(cut_seed)
    view = memoryview(data)
    start = 0
    while start < len(view):
        start += _first_cut(view[start : start + CHUNK_BYTES_MAX], table)
        yield start


def _first_cut(view: memoryview, table: tuple[int, ...]) -> int:
    """The length of the first chunk of ``view``, which has at most the maximal length."""
    size = len(view)
    if size <= CHUNK_BYTES_MIN:
        return size
    gear = 0
    end = size - size % 2
    for first, last, mask in (
        (CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, _MASK_BEFORE_AVERAGE),
        (CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, _MASK_AFTER_AVERAGE),
    ):
        for position, byte in enumerate(view[first : min(last, end)], first):
            gear = ((gear << 1) + table[byte]) & _BITS
            if not gear & mask:
                return position
    return size
