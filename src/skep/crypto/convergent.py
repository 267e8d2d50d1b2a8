"""Convergent encryption as MetaDisk does it: one content, one key, one ciphertext, whoever encrypts it.

The key is HMAC-SHA256 of the content's SHA-256 (in hexadecimal) under a passphrase; the cipher is AES-256 in counter
mode, the counter of 128 bits, big-endian, beginning with 1; so the ciphertext is as long as the content and any part
of it can be opened by itself. Who has a content, or guesses it, can tell that somebody else stored it: the price of
storing it once. Source: Storj's file-encryptor, ``convergence.py``.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from skep.crypto.hashing import Buffer, derive_key

KEY_BYTES = 32
FIRST_COUNT = 1
_BLOCK_BYTES = 16


def content_key(content_sha256: bytes, passphrase: str) -> bytes:
    """The key of a content: 32 bytes, from its SHA-256 (32 bytes)."""
    return hmac.digest(passphrase.encode(), content_sha256.hex().encode(), sha256)


def key_check(key: bytes) -> bytes:
    """What tells the right key from others without being of use in its place: 32 bytes."""
    return derive_key("skep 2026 convergent key check v1", key)


class Keystream:
    """Encrypts and decrypts, which is the same, from an offset on. Raises ValueError for a key that is not 32 bytes."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes, offset: int = 0) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes: it must have {KEY_BYTES}")
        first = FIRST_COUNT + offset // _BLOCK_BYTES
        self._cipher: CipherContext = Cipher(AES(key), CTR(first.to_bytes(_BLOCK_BYTES, "big"))).encryptor()
        self._cipher.update(bytes(offset % _BLOCK_BYTES))

    def apply(self, part: Buffer) -> bytes:
        """The next bytes, encrypted or decrypted."""
        return self._cipher.update(bytes(part))
