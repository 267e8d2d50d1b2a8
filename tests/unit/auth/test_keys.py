from __future__ import annotations

import pytest
import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import KeySet

from skep.base.errors import CorruptRecord, InvalidToken
from skep.base.ids import id_text
from skep.db import prepared
from skep.db.schema import signing_keys
from skep.testing.accounts import PASSWORD


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_the_published_keys_verify_tokens_with_a_standard_library(bench):
    ada = await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    published = await bench.auth.jwks()
    assert all(set(key) == {"kty", "crv", "x", "kid", "use", "alg"} for key in published["keys"])
    token = jwt.decode(pair.access_token, KeySet.import_key_set(published), algorithms=["EdDSA"])
    assert token.header["typ"] == "at+jwt"
    assert token.claims["sub"] == id_text(ada.id)
    assert token.claims["iss"] == token.claims["aud"] == "skep"
    assert set(token.claims) == {"iss", "aud", "sub", "sid", "scope", "epoch", "iat", "exp"}


async def test_rotation_overlaps(bench):
    await bench.user("ada")
    before = await bench.auth.login("ada", PASSWORD)
    new_id = await bench.auth.rotate_keys(bench.root)
    after = await bench.auth.login("ada", PASSWORD)
    assert [key["kid"] for key in (await bench.auth.jwks())["keys"]][-1] == new_id
    assert len((await bench.auth.jwks())["keys"]) == 2
    assert await bench.auth.authenticate_token(before.access_token)
    assert await bench.auth.authenticate_token(after.access_token)
    await bench.clock.advance(900 + 30 + 60 + 1)
    assert [key["kid"] for key in (await bench.auth.jwks())["keys"]] == [new_id]
    assert (await bench.auth.maintain()).signing_keys == 1
    assert [key["kid"] for key in (await bench.auth.jwks())["keys"]] == [new_id]
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(before.access_token)


async def test_upkeep_rotates_an_old_key(bench):
    assert not (await bench.auth.maintain()).rotated
    await bench.clock.advance(90 * 86_400)
    assert (await bench.auth.maintain()).rotated
    assert not (await bench.auth.maintain()).rotated


async def test_another_process_learns_of_a_new_key_from_its_first_token(bench):
    await bench.user("ada")
    other = await bench.second()
    await bench.clock.advance(2)
    await bench.auth.rotate_keys(bench.root)
    pair = await bench.auth.login("ada", PASSWORD)
    assert await other.authenticate_token(pair.access_token)
    await other.close()


async def test_a_second_start_keeps_the_key(bench):
    first = await bench.auth.jwks()
    other = await bench.second()
    assert await other.jwks() == first
    await other.close()


async def test_a_damaged_key_row_is_told(bench):
    damage = prepared(sa.update(signing_keys).values(sealed_private=sa.bindparam("new")))
    await bench.db.write(lambda tx: tx.run(damage, {"new": b"not a sealed key at all" * 4}))
    with pytest.raises(CorruptRecord):
        await bench.second()


async def test_private_keys_are_sealed_at_rest(bench):
    kept = await bench.db.read(lambda tx: tx.one(prepared(sa.select(signing_keys.c.sealed_private))))
    seed = bench.auth._keyring.signer.key.as_dict(private=True)["d"]
    assert seed.encode() not in bytes(kept[0])
    assert len(kept[0]) > 32
