from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from skep.base.errors import CorruptChunk
from skep.chunks.codec import RAW, ZSTD
from skep.chunks.gear import CHUNK_BYTES_MAX
from skep.chunks.seal import SEAL_OVERHEAD_BYTES, chunk_id, open_sealed, read_sealed_header, seal_into, sealed_bound
from skep.crypto import DomainKeys, keyed_digest

KEYS = DomainKeys.derive(bytes(16), 1, bytes(32))
OTHER_GENERATION = DomainKeys.derive(bytes(16), 2, bytes(32))
OTHER_DOMAIN = DomainKeys.derive(bytes(15) + b"1", 1, bytes(32))
TEXT = b"a line of text\n" * 30


def seal(plain: bytes, level: int = 3, keys: DomainKeys = KEYS) -> tuple[bytes, bytes]:
    name = chunk_id(keys, plain)
    out = bytearray(sealed_bound(len(plain)))
    size = seal_into(keys, name, plain, memoryview(out), level)
    return name, bytes(out[:size])


@pytest.mark.parametrize("plain", [b"", b"x", TEXT, os.urandom(5000), bytes(1 << 20)], ids=len)
@pytest.mark.parametrize("level", [0, 1, 3])
def test_what_is_sealed_opens(plain: bytes, level: int) -> None:
    name, sealed = seal(plain, level)
    assert len(sealed) <= sealed_bound(len(plain)) == len(plain) + SEAL_OVERHEAD_BYTES
    assert open_sealed(KEYS, name, sealed) == plain
    assert open_sealed(KEYS, name, memoryview(bytearray(sealed))) == plain


def test_the_largest_chunk_goes_through() -> None:
    plain = os.urandom(CHUNK_BYTES_MAX)
    name, sealed = seal(plain)
    assert open_sealed(KEYS, name, sealed) == plain


def test_text_is_compressed_and_noise_is_not() -> None:
    assert read_sealed_header(seal(TEXT)[1]).codec == ZSTD
    assert read_sealed_header(seal(TEXT, level=0)[1]).codec == RAW
    assert read_sealed_header(seal(os.urandom(5000))[1]).codec == RAW


def test_sealing_is_repeatable_and_ids_are_keyed() -> None:
    assert seal(TEXT) == seal(TEXT)
    assert len({seal(TEXT, keys=keys)[0] for keys in (KEYS, OTHER_GENERATION, OTHER_DOMAIN)}) == 3
    assert seal(TEXT)[0] == keyed_digest(KEYS.id_key, TEXT)


def test_each_encoding_of_a_plaintext_has_a_nonce_of_its_own() -> None:
    """One key seals all encodings of one plaintext, so they must never meet under one nonce."""
    plain = b"".join(b"%d %x, " % (n, n * n) for n in range(9000))
    sealed = {seal(plain, level)[1] for level in (0, 1, 3, 9, 19)}
    assert len({each[12:24] for each in sealed}) == len(sealed) >= 4


def test_payload_is_sealed_under_a_key_of_the_chunk_alone() -> None:
    """The stranger's way: open by the format page, without the code under test."""
    from blake3 import blake3

    name, sealed = seal(TEXT, level=0)
    key = blake3(name, key=KEYS.seal_key).digest(32)
    assert sealed[:12] == b"SC\x01\x00\x01\x00\x00\x00\x01\x00\x00\x00"
    assert AESGCM(key).decrypt(sealed[12:24], sealed[24:], sealed[:12] + name) == TEXT


@pytest.mark.parametrize("level", [0, 3], ids=["raw", "zstd"])
def test_each_flipped_bit_is_noticed(level: int) -> None:
    name, sealed = seal(TEXT, level)
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptChunk):
            open_sealed(KEYS, name, changed)


def test_cut_and_lengthened_chunks_are_noticed() -> None:
    name, sealed = seal(TEXT)
    for damaged in (*(sealed[:size] for size in range(len(sealed))), sealed + b"\0"):
        with pytest.raises(CorruptChunk):
            open_sealed(KEYS, name, damaged)
    with pytest.raises(CorruptChunk, match="more than any chunk"):
        open_sealed(KEYS, name, sealed + bytes(CHUNK_BYTES_MAX))


def test_a_chunk_opens_under_its_own_name_and_keys_only() -> None:
    name, sealed = seal(TEXT)
    other, _ = seal(b"other")
    with pytest.raises(CorruptChunk, match="does not open"):
        open_sealed(KEYS, other, sealed)
    with pytest.raises(CorruptChunk, match="does not open"):
        open_sealed(OTHER_DOMAIN, name, sealed)
    with pytest.raises(CorruptChunk, match="key generation 1, not 2"):
        open_sealed(OTHER_GENERATION, name, sealed)


def test_header_tells_which_generation_to_open_with() -> None:
    assert read_sealed_header(seal(TEXT, keys=OTHER_GENERATION)[1]).generation == 2
    newer = b"SC\x02" + seal(TEXT)[1][3:]
    with pytest.raises(CorruptChunk, match="newer Skep"):
        read_sealed_header(newer)
