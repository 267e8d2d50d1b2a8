"""Tokens that nobody should take: each row is one attack, and the answer never says more than it must."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from skep.auth.tokens import Claims, sign_token
from skep.base.errors import InvalidToken, TokenExpired
from skep.base.ids import new_id
from skep.testing.accounts import PASSWORD


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Forge:
    """One good token and the means to make bad ones of it."""

    def __init__(self, token, key):
        self.token = token
        self.head, self.body, self.signature = token.split(".")
        self.header, self.claims = json.loads(unb64(self.head)), json.loads(unb64(self.body))
        self.key = key
        self.private = Ed25519PrivateKey.from_private_bytes(unb64(key.as_dict(private=True)["d"]))
        self.public = self.private.public_key().public_bytes_raw()

    def signed(self, header=None, claims=None, sign=None):
        head, body = b64(json.dumps(header or self.header).encode()), b64(json.dumps(claims or self.claims).encode())
        made = (sign or self.private.sign)(f"{head}.{body}".encode())
        return f"{head}.{body}.{b64(made)}"


@pytest.fixture
async def forge(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    return Forge(pair.access_token, bench.auth._keyring.signer.key)


async def test_the_forge_can_make_a_good_token(bench, forge):
    assert (await bench.auth.authenticate_token(forge.signed())).name == "ada"


def _forgeries(forge):
    other = Ed25519PrivateKey.generate()
    header, claims = forge.header, forge.claims
    own_jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(other.public_key().public_bytes_raw())}
    hs256 = {**header, "alg": "HS256"}
    yield "empty", ""
    yield "words", "not a token"
    yield "two parts", f"{forge.head}.{forge.body}"
    yield "four parts", forge.token + ".x"
    yield "no signature", f"{forge.head}.{forge.body}."
    yield "not ascii", forge.token + "é"
    yield "surrogate", "\ud800"
    yield "huge", forge.token + "A" * 1_000_000
    yield "deep header", b64(b"[" * 1000) + "." + forge.body + "." + forge.signature
    yield "header is a list", b64(b"[]") + "." + forge.body + "." + forge.signature
    yield "header is no json", b64(b"{") + "." + forge.body + "." + forge.signature
    yield "alg none", f"{b64(json.dumps({**header, 'alg': 'none'}).encode())}.{forge.body}."
    yield "alg None signed", forge.signed({**header, "alg": "None"})
    yield "alg missing", forge.signed({"kid": header["kid"], "typ": header["typ"]})
    yield "alg a list", forge.signed({**header, "alg": ["EdDSA"]})
    yield "another kind of token", forge.signed({**header, "typ": "JWT"})
    yield "typ missing", forge.signed({"alg": "EdDSA", "kid": header["kid"]})
    yield "kid missing", forge.signed({"alg": "EdDSA", "typ": header["typ"]})
    yield "kid unknown", forge.signed({**header, "kid": "unknown"})
    yield "kid a path", forge.signed({**header, "kid": "../../dev/null"})
    yield "kid no text", forge.signed({**header, "kid": 7})
    yield "kid null", forge.signed({**header, "kid": None})
    yield "signed by another", forge.signed(sign=other.sign)
    yield "key in the token", forge.signed({**header, "jwk": own_jwk}, sign=other.sign)
    yield "key at a URL", forge.signed({**header, "jku": "https://example.org/k"}, sign=other.sign)
    yield "critical extension", forge.signed({**header, "crit": ["b64"], "b64": False})
    for name, secret in [
        ("raw public key", forge.public),
        ("JWK text", json.dumps(forge.key.as_dict(private=False)).encode()),
        ("x", b64(forge.public).encode()),
        ("empty", b""),
    ]:
        yield (
            f"HS256 with {name}",
            forge.signed(hs256, sign=lambda text, secret=secret: hmac.new(secret, text, hashlib.sha256).digest()),
        )
    yield "wrong issuer", forge.signed(claims={**claims, "iss": "other"})
    yield "wrong audience", forge.signed(claims={**claims, "aud": "other"})
    yield "audience list", forge.signed(claims={**claims, "aud": ["skep", "other"]})
    for name in claims:
        yield f"without {name}", forge.signed(claims={key: value for key, value in claims.items() if key != name})
        yield f"null {name}", forge.signed(claims={**claims, name: None})
        yield f"odd {name}", forge.signed(claims={**claims, name: {"a": [1.5]}})
    yield "exp as text", forge.signed(claims={**claims, "exp": "9999999999"})
    yield "exp a float", forge.signed(claims={**claims, "exp": 1e300})
    yield "epoch true", forge.signed(claims={**claims, "epoch": False})
    yield "epoch of tomorrow", forge.signed(claims={**claims, "epoch": claims["epoch"] + 1})
    yield "sub no id", forge.signed(claims={**claims, "sub": "ada"})
    yield "sub unknown", forge.signed(claims={**claims, "sub": str(new_id().hex())})
    yield "session unknown", forge.signed(claims={**claims, "sid": str(new_id().hex())})
    yield "claims a list", forge.signed(claims=[1])


async def test_no_forgery_is_taken(bench, forge):
    forgeries = list(_forgeries(forge))
    assert len(forgeries) > 50
    for name, token in forgeries:
        with pytest.raises(InvalidToken) as refused:
            await bench.auth.authenticate_token(token)
        assert "ada" not in refused.value.message, name
    assert (await bench.auth.authenticate_token(forge.token)).name == "ada"


async def test_every_changed_character_is_noticed(bench, forge):
    text = forge.token
    for place in range(0, len(text) - 1, 3):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(InvalidToken):
            await bench.auth.authenticate_token(changed)


async def test_a_session_of_another_user_does_not_help(bench, forge):
    await bench.user("bob")
    bob = await bench.principal("bob")
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(forge.signed(claims={**forge.claims, "sub": bob.user_id.hex()}))


async def test_a_scope_claimed_is_no_more_than_the_user_may_have(bench, forge):
    claims = {**forge.claims, "scope": "admin files:read everything"}
    principal = await bench.auth.authenticate_token(forge.signed(claims=claims))
    assert principal.scopes == {"files:read"}


async def test_another_hive_with_the_same_names_is_another_issuer(bench, forge):
    now_s = bench.clock.now_us() // 10**6
    claims = Claims(new_id(), new_id(), frozenset({"files:read"}), 0, now_s, now_s + 60)
    foreign = OKPKey.generate_key("Ed25519", {"kid": forge.header["kid"]})
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(sign_token(foreign, claims, issuer="skep", audience="skep"))


async def test_a_clock_that_jumps_forward_asks_for_a_refresh_and_gets_one(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    bench.clock.jump(3600)
    with pytest.raises(TokenExpired):
        await bench.auth.authenticate_token(pair.access_token)
    pair = await bench.auth.refresh(pair.refresh_token)
    assert await bench.auth.authenticate_token(pair.access_token)


async def test_a_clock_that_is_set_back_asks_for_a_refresh_and_gets_one(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    bench.clock.jump(-3600)
    with pytest.raises(TokenExpired):
        await bench.auth.authenticate_token(pair.access_token)
    pair = await bench.auth.refresh(pair.refresh_token)
    assert await bench.auth.authenticate_token(pair.access_token)


async def test_small_differences_between_clocks_do_not_matter(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    bench.clock.jump(-29)
    assert await bench.auth.authenticate_token(pair.access_token)


async def test_a_cached_token_outlives_no_jump_by_more_than_the_verdict(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.auth.authenticate_token(pair.access_token)
    bench.clock.jump(3600)
    await bench.clock.advance(60)
    with pytest.raises(TokenExpired):
        await bench.auth.authenticate_token(pair.access_token)
