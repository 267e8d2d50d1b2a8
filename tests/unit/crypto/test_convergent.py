"""Keys, ciphertexts and hashes as file-encryptor makes them."""

from __future__ import annotations

from hashlib import sha256

import pytest

from skep.crypto.convergent import Keystream, content_key, key_check

PASSPHRASE = "Something old, something new."


@pytest.mark.parametrize(
    ("content", "key", "ciphertext", "filehash"),
    [
        (
            b"Superstar!\n",
            "0372c3a52ffa439556db30e6a2a6cd7bae4fb498bd58996919a61bdac831fe3f",
            "e5d264b13e3ad6eac183f2",
            "c508708d7a8a0db90e92f15510ee3ef488bd67a8e6982489e0d27bd0bcaf7741",
        ),
        (
            b"i" * 256,
            "fd1ae052097265a901d4d148bcb2204a97240748faf49dbdfc3358db89b19f3e",
            None,
            "c1df564c96df2cc589c94540aa80efd8ce03d6c2abe2e69a83a7d0cbb1d68a19",
        ),
        (b"", None, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_vectors(content: bytes, key: str | None, ciphertext: str | None, filehash: str) -> None:
    made = content_key(sha256(content).digest(), PASSPHRASE)
    sealed = Keystream(made).apply(content)
    assert key is None or made.hex() == key
    assert ciphertext is None or sealed.hex() == ciphertext
    assert sha256(sealed).hexdigest() == filehash


@pytest.mark.parametrize("offset", [0, 1, 15, 16, 17, 1000, 4095])
def test_any_part_is_opened_by_itself(offset: int) -> None:
    content = bytes(range(256)) * 17
    key = content_key(sha256(content).digest(), PASSPHRASE)
    sealed = Keystream(key).apply(content)
    assert Keystream(key, offset).apply(sealed[offset:]) == content[offset:]


def test_another_passphrase_or_content_gives_another_key() -> None:
    one, other = sha256(b"a").digest(), sha256(b"b").digest()
    keys = {content_key(one, PASSPHRASE), content_key(one, "x"), content_key(other, PASSPHRASE)}
    assert len(keys) == 3
    assert len({key_check(key) for key in keys}) == 3
    assert not keys & {key_check(key) for key in keys}


def test_a_key_has_its_length() -> None:
    with pytest.raises(ValueError, match="32"):
        Keystream(b"short")
