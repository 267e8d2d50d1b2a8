"""ID tokens of others (OpenID Connect Core 1.0, section 3.1.3.7): pure, keys and times come in.

Read strictly: signed with an asymmetric algorithm by a key that the provider publishes. The header's algorithm must
be one that the key is for, so neither ``none`` nor a public key taken for a shared secret gets through.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from skep.base.errors import InvalidToken

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "PS256", "ES384", "RS384", "RS512", "ES512")
LENGTH_MAX: Final = 16_384
LEEWAY_S: Final = 60
_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


def verified_claims(
    token: str, keys: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str, now_s: float
) -> dict[str, Any]:
    """The claims of a provider's ID token that was made for us just now. Raises InvalidToken."""
    if len(token) > LENGTH_MAX or not token.isascii():
        raise _bad("it is too long")
    try:
        key_set = KeySet.import_key_set(_signing(keys))
        decoded = jwt.decode(token, key_set, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _bad("its signature is not one of the provider's") from None
    header, claims = decoded.header, dict(decoded.claims)
    algorithm = str(header.get("alg"))
    used = [key for key in _signing(keys)["keys"] if header.get("kid") in (None, key.get("kid"))]
    if not any(key.get("alg") in (None, algorithm) and _TYPES.get(algorithm[:2]) == key["kty"] for key in used):
        raise _bad("its algorithm is not the key's")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != issuer or client_id not in audiences:
        raise _bad("it was made for another")
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != client_id:
        raise _bad("it was made for another")
    ends, issued, subject = claims.get("exp"), claims.get("iat"), claims.get("sub")
    if type(ends) not in (int, float) or type(issued) not in (int, float):
        raise _bad("it says no times")
    if now_s >= float(str(ends)) + LEEWAY_S or float(str(issued)) > now_s + LEEWAY_S:
        raise _bad("it is not of now: are the clocks right?")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise _bad("it names nobody")
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise _bad("it is not the answer to this login")
    return claims


def _signing(keys: Mapping[str, Any]) -> Any:
    """The published keys that sign, of kinds that we know. A shared secret among them is not taken."""
    found = keys.get("keys")
    if not isinstance(found, list):
        raise ValueError("no keys")
    known = [key for key in found if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP")]
    return {"keys": [key for key in known if key.get("use") in (None, "sig")]}


def _bad(why: str) -> InvalidToken:
    return InvalidToken(f"the identity provider's token is not good: {why}; log in again")
