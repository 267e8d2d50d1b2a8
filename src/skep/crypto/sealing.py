"""Sealed records: short secrets and metadata under a long-lived key.

Format page: docs/formats/sealed-record.md. In short::

    magic "SR" | version 1 | cipher 1 | salt, 24 random bytes | ciphertext | tag, 16 bytes

The AES-256-GCM key and nonce are drawn from keyed BLAKE3 over the salt, so each record has its
own key and the number of records under one long-lived key needs no limit (the idea of C2SP's
XAES-256-GCM). Header and the caller's associated data are authenticated.
"""

from __future__ import annotations

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skep.base.chance import random_bytes
from skep.base.errors import CorruptRecord
from skep.crypto.hashing import KEY_BYTES, Buffer

MAGIC = b"SR"
VERSION = 1
CIPHER_AES256_GCM = 1
SALT_BYTES = 24
TAG_BYTES = 16
NONCE_BYTES = 12
_PREFIX = MAGIC + bytes([VERSION, CIPHER_AES256_GCM])
_HEADER_BYTES = len(_PREFIX) + SALT_BYTES
RECORD_OVERHEAD_BYTES = _HEADER_BYTES + TAG_BYTES
"""How much longer a sealed record is than its plaintext."""


def seal_record(key: bytes, plain: Buffer, aad: bytes, *, salt: bytes | None = None) -> bytes:
    """Seal ``plain`` under a key of 32 bytes, bound to ``aad``.

    ``salt`` is 24 fresh random bytes unless a test vector gives it.
    """
    header = _PREFIX + (random_bytes(SALT_BYTES) if salt is None else salt)
    assert len(header) == _HEADER_BYTES
    cipher, nonce = _cipher(key, header)
    return header + cipher.encrypt(nonce, plain, header + aad)


def open_record(key: bytes, sealed: Buffer, aad: bytes) -> bytes:
    """The plaintext of a sealed record.

    Raises CorruptRecord when it is cut short, of an unknown version, changed, sealed under
    another key, or bound to other associated data.
    """
    if len(sealed) < RECORD_OVERHEAD_BYTES:
        raise CorruptRecord(f"a sealed record has {len(sealed)} bytes and needs at least {RECORD_OVERHEAD_BYTES}")
    header = bytes(sealed[:_HEADER_BYTES])
    if header[: len(_PREFIX)] != _PREFIX:
        raise CorruptRecord(
            f"a sealed record starts with {header[: len(_PREFIX)].hex()}: it is damaged, or a newer Skep wrote it"
        )
    cipher, nonce = _cipher(key, header)
    try:
        return cipher.decrypt(nonce, sealed[_HEADER_BYTES:], header + aad)
    except InvalidTag:
        raise CorruptRecord(
            "a sealed record does not open: its bytes changed, or it belongs to another key or place"
        ) from None


def _cipher(key: bytes, header: bytes) -> tuple[AESGCM, bytes]:
    drawn = blake3(header, key=key).digest(KEY_BYTES + NONCE_BYTES)
    return AESGCM(drawn[:KEY_BYTES]), drawn[KEY_BYTES:]
