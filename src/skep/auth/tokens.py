"""Access tokens: JWTs (RFC 7519, RFC 9068) signed with Ed25519 (RFC 8037); ``docs/formats/tokens.md``.

Pure: keys, times and claims come in, text or claims go out. A token is read strictly: exactly the
header fields that we write, exactly one algorithm, whatever the header says; the key is found by
``kid`` among our own and never taken from the token.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from skep.auth.scopes import scopes_from_text, scopes_text
from skep.base.errors import InvalidId, InvalidToken, TokenExpired
from skep.base.ids import Id, id_text, parse_id

ALGORITHM: Final = "EdDSA"
TYPE: Final = "at+jwt"
TOKEN_LENGTH_MAX: Final = 2048


class _OnlyEd25519(JWSRegistry):
    """Knows one algorithm; asked for another it refuses, so that no header can choose."""

    max_payload_length = TOKEN_LENGTH_MAX

    def get_alg(self, name: str) -> JWSAlgModel:
        if name != ALGORITHM:
            raise UnsupportedAlgorithmError(f"algorithm {name!r} is not taken")
        return JWSRegistry.algorithms[ALGORITHM]


_REGISTRY: Final = _OnlyEd25519(algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says. Times in seconds since 1970."""

    user_id: Id
    session_id: Id
    scopes: frozenset[str]
    epoch: int
    issued_s: int
    expires_s: int


def sign_token(key: OKPKey, claims: Claims, *, issuer: str, audience: str) -> str:
    """The compact form of an access token. ``key`` is private and has its ``kid``."""
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
    body: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": id_text(claims.user_id),
        "sid": id_text(claims.session_id),
        "scope": scopes_text(claims.scopes),
        "epoch": claims.epoch,
        "iat": claims.issued_s,
        "exp": claims.expires_s,
    }
    return jwt.encode(header, body, key, registry=_REGISTRY, default_type=None)


def token_key_id(token: str) -> str:
    """The ``kid`` of a token that has our shape; nothing is verified yet. Raises InvalidToken."""
    if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        raise InvalidToken("the token is not one of this hive: log in again")
    try:
        header = jws.extract_compact(token.encode(), registry=_REGISTRY).headers()
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidToken("the token is malformed: log in again") from None
    kid = header.get("kid")
    if set(header) != {"alg", "kid", "typ"} or header["alg"] != ALGORITHM or header["typ"] != TYPE:
        raise InvalidToken("the token is not an access token of a hive: log in again")
    if not isinstance(kid, str):
        raise InvalidToken("the token does not say which key signed it: log in again")
    return kid


def verify_token(token: str, key: OKPKey, *, issuer: str, audience: str, now_s: float, leeway_s: float) -> Claims:
    """The claims of a token, after its signature, issuer, audience and times were checked.

    A token from the future (a clock was set back) is as unusable as one from the past, and a
    refresh mends both. Raises InvalidToken, TokenExpired.
    """
    try:
        body = jwt.decode(token, key, registry=_REGISTRY).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        raise InvalidToken("the token's signature is wrong: log in again") from None
    if body.get("iss") != issuer or body.get("aud") != audience:
        raise InvalidToken("the token was made for another service: log in here")
    claims = _claims(body)
    if now_s >= claims.expires_s + leeway_s:
        raise TokenExpired("the token has expired: refresh it")
    if now_s < claims.issued_s - leeway_s:
        raise TokenExpired("the token is from the future by this hive's clock: refresh it")
    return claims


def _claims(body: Mapping[str, Any]) -> Claims:
    texts = [body.get(name) for name in ("sub", "sid", "scope")]
    numbers = [body.get(name) for name in ("epoch", "iat", "exp")]
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise InvalidToken("the token lacks a claim: log in again")
    subject, session, scope = (str(text) for text in texts)
    try:
        user_id, session_id = parse_id(subject), parse_id(session)
    except InvalidId:
        raise InvalidToken("the token names no user: log in again") from None
    epoch, issued_s, expires_s = (int(str(number)) for number in numbers)
    return Claims(user_id, session_id, scopes_from_text(scope), epoch, issued_s, expires_s)


def token_end_s(token: str) -> int:
    """When a token ends, in seconds since 1970. Only for one that was verified: nothing is checked here."""
    end: int = json.loads(jws.extract_compact(token.encode(), registry=_REGISTRY).payload)["exp"]
    return end
