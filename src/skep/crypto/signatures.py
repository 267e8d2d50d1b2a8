"""Ed25519 signatures (RFC 8032) and the names of their keys (RFC 7638, RFC 8037)."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from skep.base.chance import random_bytes

SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class VerifyKey:
    """A public key: checks signatures."""

    __slots__ = ("_key", "raw")

    def __init__(self, raw: bytes) -> None:
        """Of the 32 bytes of RFC 8032 section 5.1.5. Raises ValueError when they are not 32."""
        self._key = Ed25519PublicKey.from_public_bytes(raw)
        self.raw = raw

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` (64 bytes) was made over ``message`` by this key's owner."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """The public key as a JSON Web Key (RFC 8037 section 2)."""
        return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(self.raw)}

    def thumbprint(self) -> str:
        """The key's name: its JWK thumbprint with SHA-256 (RFC 7638), 43 characters."""
        canonical = '{"crv":"Ed25519","kty":"OKP","x":"' + _base64url(self.raw) + '"}'
        return _base64url(hashlib.sha256(canonical.encode()).digest())


class SigningKey:
    """A private key: makes signatures."""

    __slots__ = ("_key", "verify_key")

    def __init__(self, seed: bytes) -> None:
        """Of the 32-byte private key of RFC 8032 section 5.1.5. Raises ValueError when they are not 32."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verify_key = VerifyKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the system's randomness."""
        return cls(random_bytes(32))

    def seed(self) -> bytes:
        """The 32 bytes to seal and store. Secret."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """64 bytes over ``message``."""
        return self._key.sign(message)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
