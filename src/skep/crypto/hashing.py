"""BLAKE3 in its three modes: plain, keyed and key derivation (the BLAKE3 paper, section 2).

Parts are hashed as their concatenation. A caller that hashes more than one part of variable
length puts the lengths in, or else two different lists of parts have one hash.
"""

from __future__ import annotations

from typing import TypeAlias

from blake3 import blake3

Buffer: TypeAlias = bytes | bytearray | memoryview

DIGEST_BYTES = 32
KEY_BYTES = 32


def digest(*parts: Buffer) -> bytes:
    """BLAKE3 of the concatenated ``parts``: 32 bytes."""
    hasher = blake3()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def keyed_digest(key: bytes, *parts: Buffer) -> bytes:
    """Keyed BLAKE3 of the concatenated ``parts``, under a key of 32 bytes: 32 bytes."""
    hasher = blake3(key=key)
    for part in parts:
        hasher.update(part)
    return hasher.digest()


def derive_key(context: str, key_material: bytes, length: int = KEY_BYTES) -> bytes:
    """A key of ``length`` bytes from ``key_material``, in BLAKE3's derive-key mode.

    ``context`` is a constant of the program, one for each purpose, never user input.
    """
    return blake3(key_material, derive_key_context=context).digest(length)
