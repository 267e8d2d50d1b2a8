"""QuickXorHash, by which OneDrive names what it holds.

Source: https://learn.microsoft.com/onedrive/developer/code-snippets/quickxorhash. Byte ``i`` is XORed into a ring of
160 bits at bit ``11 * i``; at the end the length, as 64 bits, is XORed into the last eight bytes. It finds damage, not
forgery.

The position repeats after 160 bytes, so all rows of 160 bytes are XORed into one first, by halves, as large integers.
"""

from __future__ import annotations

import base64

_RING_BITS = 160
_SHIFT_BITS = 11
_ROW_BYTES = 160
_MASK = (1 << _RING_BITS) - 1


def quick_xor_hash(value: bytes) -> str:
    """The hash as Base64, as ``file.hashes.quickXorHash`` has it."""
    ring = 0
    for number, byte in enumerate(_one_row(value)):
        shifted = byte << (number * _SHIFT_BITS % _RING_BITS)
        ring ^= (shifted & _MASK) ^ (shifted >> _RING_BITS)
    ring ^= len(value) << (_RING_BITS - 64)
    return base64.b64encode(ring.to_bytes(_RING_BITS // 8, "little")).decode()


def _one_row(value: bytes) -> bytes:
    """All rows XORed together; what the last one lacks is zeros."""
    rows = max(1, -(-len(value) // _ROW_BYTES))
    folded, size_bytes = int.from_bytes(value, "little"), rows * _ROW_BYTES
    while rows > 1:
        rows = -(-rows // 2)
        kept_bytes = rows * _ROW_BYTES
        raw = folded.to_bytes(size_bytes, "little")
        folded = int.from_bytes(raw[:kept_bytes], "little") ^ int.from_bytes(raw[kept_bytes:], "little")
        size_bytes = kept_bytes
    return folded.to_bytes(_ROW_BYTES, "little")
