"""From a chunk's plaintext to its id and its sealed form, and back.

Format pages: docs/formats/chunk-id.md, docs/formats/sealed-chunk.md. In short::

    magic "SC" | version 1 | codec | cipher | 3 zero bytes | key generation u32 | nonce 12
    ciphertext of the encoded payload | tag 16

What always holds: a key seals one plaintext only, for it is drawn from the chunk's id. Its
nonce differs for each encoding of that plaintext: for the plaintext itself it is drawn with
the key (the id is the keyed hash of exactly those bytes), for a compressed payload it is the
keyed hash of the payload. Integers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skep.base.errors import CorruptChunk
from skep.chunks.codec import LEVEL_DEFAULT, RAW, ZSTD, compress, decompress
from skep.chunks.gear import CHUNK_BYTES_MAX
from skep.crypto.hashing import Buffer
from skep.crypto.keys import DomainKeys

MAGIC = b"SC"
VERSION = 1
CIPHER_AES256_GCM = 1
CHUNK_ID_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
_KEY_BYTES = 32
_HEADER = struct.Struct("<2sBBB3xI")
_PAYLOAD_OFFSET = _HEADER.size + NONCE_BYTES
SEAL_OVERHEAD_BYTES = _PAYLOAD_OFFSET + TAG_BYTES
"""How much longer a sealed chunk is than its encoded payload: 40."""


@dataclass(frozen=True, slots=True)
class SealedHeader:
    """What a sealed chunk says of itself. It is authenticated only once the chunk opens."""

    codec: int
    generation: int


def chunk_id(keys: DomainKeys, plain: Buffer) -> bytes:
    """The name of a chunk in its domain: 32 bytes, keyed BLAKE3 of its plaintext."""
    return blake3(plain, key=keys.id_key).digest()


def sealed_bound(plain_bytes: int) -> int:
    """The most bytes that a chunk of ``plain_bytes`` can have when sealed."""
    return plain_bytes + SEAL_OVERHEAD_BYTES


def seal_into(keys: DomainKeys, id: bytes, plain: Buffer, out: memoryview, level: int = LEVEL_DEFAULT) -> int:
    """Seal ``plain``, whose id is ``id``, into the start of ``out``; give the sealed size in bytes.

    ``out`` needs room for ``sealed_bound(len(plain))``; ``level`` is zstd's, 0 for none. The same
    plaintext, keys, level and zstd give the same bytes.
    """
    assert len(plain) <= CHUNK_BYTES_MAX
    drawn = blake3(id, key=keys.seal_key).digest(_KEY_BYTES + NONCE_BYTES)
    encoded = compress(plain, level)
    payload: Buffer
    if encoded is None:
        codec, payload, nonce = RAW, plain, drawn[_KEY_BYTES:]
    else:
        codec, payload = ZSTD, encoded
        nonce = blake3(encoded, key=keys.nonce_key).digest(NONCE_BYTES)
    header = _HEADER.pack(MAGIC, VERSION, codec, CIPHER_AES256_GCM, keys.generation)
    end = _PAYLOAD_OFFSET + len(payload) + TAG_BYTES
    out[:_PAYLOAD_OFFSET] = header + nonce
    AESGCM(drawn[:_KEY_BYTES]).encrypt_into(nonce, payload, header + id, out[_PAYLOAD_OFFSET:end])
    return end


def read_sealed_header(sealed: Buffer) -> SealedHeader:
    """The header of a sealed chunk; tells which key generation opens it. Raises CorruptChunk."""
    if len(sealed) < SEAL_OVERHEAD_BYTES:
        raise CorruptChunk(f"a sealed chunk has {len(sealed)} bytes and needs at least {SEAL_OVERHEAD_BYTES}")
    header = bytes(sealed[: _HEADER.size])
    magic, version, codec, cipher, generation = _HEADER.unpack(header)
    known = (MAGIC, VERSION, CIPHER_AES256_GCM)
    if (magic, version, cipher) != known or codec not in (RAW, ZSTD) or any(header[5:8]):
        raise CorruptChunk(f"a sealed chunk starts with {header[:8].hex()}: it is damaged, or a newer Skep wrote it")
    if len(sealed) > sealed_bound(CHUNK_BYTES_MAX):
        raise CorruptChunk(f"a sealed chunk has {len(sealed)} bytes, more than any chunk can have")
    return SealedHeader(codec, generation)


def open_sealed(keys: DomainKeys, id: bytes, sealed: Buffer) -> bytes:
    """The plaintext of the sealed chunk ``id``.

    Raises CorruptChunk when any bit of it changed, it is another chunk, or of another key.
    """
    view = memoryview(sealed)
    header = bytes(view[: _HEADER.size])
    codec = _codecs(keys.generation).get(header)
    if codec is None or not SEAL_OVERHEAD_BYTES <= len(view) <= sealed_bound(CHUNK_BYTES_MAX):
        found = read_sealed_header(sealed)
        assert found.generation != keys.generation, "a good header of this generation is a known one"
        raise CorruptChunk(
            f"chunk {id.hex()} is sealed under key generation {found.generation}, not {keys.generation}",
            chunk_id=id.hex(),
        )
    drawn = blake3(id, key=keys.seal_key).digest(_KEY_BYTES)
    nonce = view[_HEADER.size : _PAYLOAD_OFFSET]
    try:
        payload = AESGCM(drawn).decrypt(nonce, view[_PAYLOAD_OFFSET:], header + id)
    except InvalidTag:
        raise CorruptChunk(
            f"chunk {id.hex()} does not open: its bytes changed, or it belongs to another domain", chunk_id=id.hex()
        ) from None
    return payload if codec == RAW else decompress(payload, CHUNK_BYTES_MAX)


@lru_cache(maxsize=64)
def _codecs(generation: int) -> Mapping[bytes, int]:
    """The headers that chunks of a key generation can have, and the codec that each means."""
    return {_HEADER.pack(MAGIC, VERSION, codec, CIPHER_AES256_GCM, generation): codec for codec in (RAW, ZSTD)}
