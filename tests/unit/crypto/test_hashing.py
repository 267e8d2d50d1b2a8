from __future__ import annotations

from skep.crypto.hashing import derive_key, digest, keyed_digest

# From the official BLAKE3 test vectors: input of 0 and of 3 bytes (0, 1, 2), their key and their context.
EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
OFFICIAL_KEY = b"whats the Elvish word for friend"


def test_digest_is_blake3_of_the_concatenation() -> None:
    assert digest().hex() == EMPTY
    assert digest(b"ab", memoryview(b"c"), bytearray(b"d")) == digest(b"abcd")


def test_keyed_digest_depends_on_key_and_all_parts() -> None:
    assert keyed_digest(OFFICIAL_KEY).hex() == "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26"
    assert keyed_digest(OFFICIAL_KEY, b"a", b"b") == keyed_digest(OFFICIAL_KEY, b"ab")
    assert keyed_digest(OFFICIAL_KEY, b"ab") != keyed_digest(bytes(32), b"ab")


def test_derived_keys_differ_by_context_and_material() -> None:
    keys = {derive_key("one", b"x"), derive_key("two", b"x"), derive_key("one", b"y"), digest(b"x")}
    assert len(keys) == 4
    assert len(derive_key("one", b"x", 8)) == 8
    assert derive_key("one", b"x", 40)[:32] == derive_key("one", b"x")
