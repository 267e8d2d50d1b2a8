from __future__ import annotations

import pytest

from skep.crypto.signatures import SigningKey, VerifyKey

# RFC 8032 section 7.1, test 2; the thumbprint of RFC 8037 appendix A.3 is of the key in A.1.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
RFC8037_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


def test_signatures_are_those_of_the_rfc() -> None:
    key = SigningKey(SEED)
    assert key.verify_key.raw == PUBLIC
    assert key.sign(b"\x72") == SIGNATURE
    assert VerifyKey(PUBLIC).verify(b"\x72", SIGNATURE)
    assert key.seed() == SEED


def test_thumbprint_is_that_of_the_rfc() -> None:
    key = SigningKey(RFC8037_SEED).verify_key
    assert key.thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert key.jwk() == {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def test_changed_messages_and_signatures_do_not_verify() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"message")
    assert key.verify_key.verify(b"message", signature)
    assert not key.verify_key.verify(b"messagE", signature)
    assert not key.verify_key.verify(b"message", signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not key.verify_key.verify(b"message", signature[:-1])
    assert not SigningKey.generate().verify_key.verify(b"message", signature)


def test_keys_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        VerifyKey(b"short")
    with pytest.raises(ValueError, match="32"):
        SigningKey(b"short")
