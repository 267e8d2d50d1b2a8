"""ID tokens that should not be believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from skep.auth.id_tokens import verified_claims
from skep.base.errors import InvalidToken

NOW_S = 1_700_000_000
CLAIMS = {"iss": "https://idp", "aud": "skep", "sub": "b-1", "exp": NOW_S + 300, "iat": NOW_S, "nonce": "n"}


@cache
def keys() -> tuple[RSAKey, ECKey, OKPKey]:
    return (
        RSAKey.generate_key(2048, {"kid": "r", "use": "sig", "alg": "RS256"}),
        ECKey.generate_key("P-256", {"kid": "e"}),
        OKPKey.generate_key("Ed25519", {"kid": "o"}),
    )


def published() -> dict:
    return KeySet(list(keys())).as_dict(private=False)


def believed(token: str, known: dict | None = None) -> dict:
    return verified_claims(
        token,
        published() if known is None else known,
        issuer="https://idp",
        client_id="skep",
        nonce="n",
        now_s=float(NOW_S),
    )


def signed(algorithm: str = "RS256", key=None, header: dict | None = None, **claims) -> str:
    used = key or {"RS": keys()[0], "PS": keys()[0], "ES": keys()[1], "Ed": keys()[2]}[algorithm[:2]]
    kept = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    head = {"alg": algorithm, "kid": used.kid, **(header or {})}
    return jwt.encode(head, kept, used, algorithms=[algorithm])


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_good_ones_are_believed(algorithm: str) -> None:
    assert believed(signed(algorithm))["sub"] == "b-1"
    assert believed(signed(algorithm, aud=["skep", "other"], azp="skep"))["sub"] == "b-1"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil"},
        {"iss": "https://idp/"},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": None},
        {"aud": ["skep", "other"]},
        {"azp": "other"},
        {"exp": NOW_S - 61},
        {"exp": "9999999999"},
        {"exp": None},
        {"exp": True},
        {"iat": NOW_S + 61},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"nonce": "m"},
        {"nonce": None},
    ],
    ids=str,
)
def test_what_was_made_for_another_person_place_or_time_is_not(claims: dict) -> None:
    with pytest.raises(InvalidToken):
        believed(signed(**claims))


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_none_and_algorithm_confusion() -> None:
    body = b64(json.dumps(CLAIMS).encode())
    for name in ("none", "None", "NONE", ""):
        with pytest.raises(InvalidToken):
            believed(f"{b64(json.dumps({'alg': name}).encode())}.{body}.")
    public = keys()[0].as_pem(private=False)
    for kid in ("r", "e", None):  # a public key taken for a shared secret
        head = b64(json.dumps({"alg": "HS256", **({"kid": kid} if kid else {})}).encode())
        mac = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
        with pytest.raises(InvalidToken):
            believed(f"{head}.{body}.{b64(mac)}")
    shared = OctKey.import_key("a shared secret that somebody published", {"kid": "s"})
    known = {"keys": [*published()["keys"], shared.as_dict()]}
    with pytest.raises(InvalidToken):
        believed(jwt.encode({"alg": "HS256", "kid": "s"}, CLAIMS, shared, algorithms=["HS256"]), known)


def _without_algorithm(key: RSAKey) -> dict:
    return {name: value for name, value in key.as_dict(private=True).items() if name != "alg"}


def test_a_key_is_used_for_its_own_algorithm_and_purpose() -> None:
    with pytest.raises(InvalidToken):
        believed(signed("PS256", key=RSAKey.import_key(_without_algorithm(keys()[0]))))  # the published key says RS256
    encrypting = {"keys": [{**key, "use": "enc"} for key in published()["keys"]]}
    with pytest.raises(InvalidToken):
        believed(signed(), encrypting)


def test_other_keys_and_rubbish() -> None:
    other = RSAKey.generate_key(2048, {"kid": "r"})
    with pytest.raises(InvalidToken):
        believed(signed(key=other))
    with pytest.raises(InvalidToken):
        believed(signed(key=other, header={"jwk": other.as_dict(private=False)}))
    good = signed()
    for token in ("", "a.b.c", good[:-3], good + "x", good.replace(".", ".."), "é" + good, "x" * 20_000, "." * 100):
        with pytest.raises(InvalidToken):
            believed(token)
    for known in ({}, {"keys": []}, {"keys": "x"}, {"keys": [7, {"kty": "RSA"}]}):
        with pytest.raises(InvalidToken):
            believed(good, known)
