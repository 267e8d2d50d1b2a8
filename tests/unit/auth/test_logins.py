from __future__ import annotations

import asyncio
import time

import pytest

from skep.auth import ALL_SCOPES
from skep.auth.users import find_login
from skep.base.errors import (
    BadCredentials,
    BadInput,
    Forbidden,
    InvalidToken,
    NotFound,
    RateLimited,
    TokenExpired,
    UserNotFound,
)
from skep.testing.accounts import PASSWORD, open_auth


async def test_a_login_gives_a_token_that_stands_for_the_user(bench):
    ada = await bench.user("Ada", email="ada@example.org")
    group = await bench.auth.create_group(bench.root, "Engines")
    await bench.auth.add_member(bench.root, group.id, ada.id)
    pair = await bench.auth.login("aDA", PASSWORD, agent="test/1")
    principal = await bench.auth.authenticate_token(pair.access_token)
    assert (principal.user_id, principal.name, principal.kind) == (ada.id, "Ada", "token")
    assert principal.groups == {group.id}
    assert principal.scopes == ALL_SCOPES - {"admin"}
    assert pair.expires_in_s == 900
    assert (await bench.auth.me(principal)).email == "ada@example.org"


async def test_the_email_address_is_a_login_name(bench):
    await bench.user("ada", email="Ada@Example.org")
    assert (await bench.principal("ada@example.ORG")).name == "ada"


async def test_wrong_password_and_unknown_name_look_the_same(bench):
    await bench.user("ada")
    await bench.user("nopass", None)
    seen = set()
    for name, password in [
        ("ada", "wrong password"),
        ("nobody", "wrong password"),
        ("nopass", "wrong password"),
        ("", ""),
        ("x" * 10_000, PASSWORD),
        ("nul\0", PASSWORD),
        ("\ud800", "\ud800"),
        ("ada", "p" * 100_000),
    ]:
        with pytest.raises(BadCredentials) as failed:
            await bench.auth.login(name, password)
        seen.add((type(failed.value), failed.value.message, tuple(failed.value.details)))
    assert len(seen) == 1


async def test_a_known_token_costs_neither_database_nor_time(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    first = await bench.auth.authenticate_token(pair.access_token)
    await bench.db.close()
    assert await bench.auth.authenticate_token(pair.access_token) is first
    best_s = 1.0
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            await bench.auth.authenticate_token(pair.access_token)
        best_s = min(best_s, (time.perf_counter() - start) / 200)
    assert best_s < 100e-6, "a cached token must not be verified again"


async def test_a_verdict_is_asked_anew_after_a_while(bench):
    ada = await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.auth.authenticate_token(pair.access_token)
    other = await bench.second()
    await other.suspend_user(bench.root, ada.id)
    assert await bench.auth.authenticate_token(pair.access_token)
    await bench.clock.advance(61)
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pair.access_token)
    await other.close()


async def test_tokens_expire_also_when_cached(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.clock.advance(pair.expires_in_s + 29)
    await bench.auth.authenticate_token(pair.access_token)
    await bench.clock.advance(2)
    with pytest.raises(TokenExpired):
        await bench.auth.authenticate_token(pair.access_token)


async def test_logout_ends_the_session_at_once(bench):
    await bench.user("ada")
    pair, other = await bench.auth.login("ada", PASSWORD), await bench.auth.login("ada", PASSWORD)
    principal = await bench.auth.authenticate_token(pair.access_token)
    await bench.auth.logout(principal)
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pair.access_token)
    with pytest.raises(InvalidToken):
        await bench.auth.refresh(pair.refresh_token)
    assert await bench.auth.authenticate_token(other.access_token)
    await bench.auth.logout(principal)


async def test_refresh_rotates(bench):
    await bench.user("ada")
    first = await bench.auth.login("ada", PASSWORD)
    second = await bench.auth.refresh(first.refresh_token)
    third = await bench.auth.refresh(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    one = await bench.auth.authenticate_token(first.access_token)
    assert one.session_id == (await bench.auth.authenticate_token(third.access_token)).session_id


async def test_a_lost_answer_is_given_again_within_the_grace(bench):
    await bench.user("ada")
    first = await bench.auth.login("ada", PASSWORD)
    second = await bench.auth.refresh(first.refresh_token)
    await bench.clock.advance(29)
    again = await bench.auth.refresh(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    assert await bench.auth.refresh(again.refresh_token)


async def test_reuse_after_the_grace_ends_the_session(bench):
    await bench.user("ada")
    first = await bench.auth.login("ada", PASSWORD)
    second = await bench.auth.refresh(first.refresh_token)
    await bench.auth.authenticate_token(second.access_token)
    await bench.clock.advance(31)
    for token in (first.refresh_token, second.refresh_token):
        with pytest.raises(InvalidToken):
            await bench.auth.refresh(token)
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(second.access_token)


async def test_a_session_ends_when_unused_for_long(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.clock.advance(29 * 86_400)
    pair = await bench.auth.refresh(pair.refresh_token)
    await bench.clock.advance(29 * 86_400)
    pair = await bench.auth.refresh(pair.refresh_token)
    await bench.clock.advance(31 * 86_400)
    with pytest.raises(InvalidToken):
        await bench.auth.refresh(pair.refresh_token)
    assert (await bench.auth.maintain()).sessions == 1


async def test_changing_the_password_ends_every_session_but_the_new_one(bench):
    await bench.user("ada")
    old, other = await bench.auth.login("ada", PASSWORD), await bench.auth.login("ada", PASSWORD)
    principal = await bench.auth.authenticate_token(old.access_token)
    with pytest.raises(BadCredentials):
        await bench.auth.change_password(principal, "not it", "another meadow 7")
    with pytest.raises(BadInput):
        await bench.auth.change_password(principal, PASSWORD, "short")
    new = await bench.auth.change_password(principal, PASSWORD, "another meadow 7")
    for pair in (old, other):
        with pytest.raises(InvalidToken):
            await bench.auth.authenticate_token(pair.access_token)
        with pytest.raises(InvalidToken):
            await bench.auth.refresh(pair.refresh_token)
    assert await bench.auth.authenticate_token(new.access_token)
    assert len(await bench.auth.list_sessions(principal)) == 1
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", PASSWORD)


async def test_sessions_are_listed_and_revoked_by_their_owner_and_by_admins(bench):
    await bench.user("ada")
    await bench.user("bob")
    ada = await bench.principal("ada")
    await bench.auth.login("ada", PASSWORD, agent="phone\n1")
    bob = await bench.principal("bob")
    listed = await bench.auth.list_sessions(ada)
    assert [(item.agent, item.is_current) for item in listed] == [("phone1", False), ("", True)]
    with pytest.raises(NotFound):
        await bench.auth.revoke_session(bob, listed[0].id)
    with pytest.raises(Forbidden):
        await bench.auth.list_sessions(bob, ada.user_id)
    await bench.auth.revoke_session(ada, listed[0].id)
    assert len(await bench.auth.list_sessions(bench.root, ada.user_id)) == 1


async def test_one_user_has_a_bounded_number_of_sessions(bench, monkeypatch):
    monkeypatch.setattr("skep.auth.sessions.SESSIONS_MAX", 3)
    await bench.user("ada")
    pairs = []
    for _ in range(4):
        pairs.append(await bench.auth.login("ada", PASSWORD))
        await bench.clock.advance(1)
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pairs[0].access_token)
    assert await bench.auth.authenticate_token(pairs[1].access_token)


async def test_scopes_narrow_a_session_and_its_refreshes(bench):
    await bench.user("ada", is_admin=True)
    pair = await bench.auth.login("ada", PASSWORD, scopes=["files:read"])
    pair = await bench.auth.refresh(pair.refresh_token)
    principal = await bench.auth.authenticate_token(pair.access_token)
    assert principal.scopes == {"files:read"}
    principal.require("files:read")
    with pytest.raises(Forbidden):
        principal.require("files:write")
    with pytest.raises(Forbidden):
        await bench.auth.list_users(principal)
    with pytest.raises(BadInput):
        await bench.auth.login("ada", PASSWORD, scopes=["everything"])


async def test_a_new_admin_has_the_scope_at_once_and_a_former_one_has_not(bench):
    ada = await bench.user("ada")
    await bench.user("root", is_admin=True)
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.auth.update_user(bench.root, ada.id, is_admin=True)
    pair = await bench.auth.refresh(pair.refresh_token)
    principal = await bench.auth.authenticate_token(pair.access_token)
    assert await bench.auth.list_users(principal)
    await bench.auth.update_user(bench.root, ada.id, is_admin=False)
    principal = await bench.auth.authenticate_token(pair.access_token)
    with pytest.raises(Forbidden):
        await bench.auth.list_users(principal)


async def test_basic_takes_the_login_password_and_remembers_the_verdict(bench):
    await bench.user("ada", email="ada@example.org")
    principal = await bench.auth.authenticate_password("ada@example.org", PASSWORD)
    assert (principal.kind, principal.name) == ("password", "ada")
    await bench.db.close()
    assert await bench.auth.authenticate_password("ADA@example.org", PASSWORD) is principal


async def test_equal_basic_requests_share_one_check(bench):
    await bench.user("ada")
    found = await asyncio.gather(*(bench.auth.authenticate_password("ada", PASSWORD) for _ in range(40)))
    assert len({id(principal) for principal in found}) == 1


async def test_basic_with_a_wrong_password_is_limited_and_the_right_cached_one_is_not(bench):
    await bench.user("ada")
    await bench.auth.authenticate_password("ada", PASSWORD)
    for turn in range(10):
        with pytest.raises(BadCredentials):
            await bench.auth.authenticate_password("ada", f"wrong {turn}")
    with pytest.raises(RateLimited):
        await bench.auth.authenticate_password("ada", "wrong again")
    assert await bench.auth.authenticate_password("ada", PASSWORD)


async def test_an_app_password_works_for_its_user_only_and_within_its_scopes(bench):
    await bench.user("ada")
    await bench.user("bob")
    ada = await bench.principal("ada")
    made = await bench.auth.create_app_password(ada, "  my   phone ", scopes=["files:read"])
    assert made.info.name == "my phone"
    assert made.secret not in repr(made)
    principal = await bench.auth.authenticate_password("ada", made.secret)
    assert (principal.kind, principal.scopes) == ("app", {"files:read"})
    assert await bench.auth.authenticate_password("ada", made.secret.upper().replace("-", " "))
    with pytest.raises(BadCredentials):
        await bench.auth.authenticate_password("bob", made.secret)
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", made.secret)
    with pytest.raises(Forbidden):
        await bench.auth.create_app_password(principal, "more")
    await bench.auth.revoke_app_password(ada, made.info.id)
    with pytest.raises(BadCredentials):
        await bench.auth.authenticate_password("ada", made.secret)
    with pytest.raises(NotFound):
        await bench.auth.revoke_app_password(ada, made.info.id)


async def test_app_passwords_expire_and_their_use_is_written_once_an_hour(bench):
    await bench.user("ada")
    ada = await bench.principal("ada")
    made = await bench.auth.create_app_password(ada, "phone", expires_in_s=7200 + 30)

    async def used_us():
        await bench.auth.authenticate_password("ada", made.secret)
        return (await bench.auth.list_app_passwords(ada))[0].last_used_us

    first = await used_us()
    assert first == bench.clock.now_us()
    await bench.clock.advance(1800)
    assert await used_us() == first
    await bench.clock.advance(1800)
    assert await used_us() == first + 3_600_000_000
    await bench.clock.advance(3600)
    assert await used_us()
    await bench.clock.advance(31)
    with pytest.raises(BadCredentials):
        await used_us()
    assert (await bench.auth.maintain()).app_passwords == 1


async def test_an_app_password_has_no_more_scopes_than_its_maker(bench):
    await bench.user("ada")
    ada = await bench.principal("ada")
    with pytest.raises(Forbidden):
        await bench.auth.create_app_password(ada, "robot", scopes=["admin"])
    with pytest.raises(BadInput):
        await bench.auth.create_app_password(ada, " ", scopes=["files:read"])
    with pytest.raises(BadInput):
        await bench.auth.create_app_password(ada, "robot", scopes=[])


async def test_old_hashes_are_made_anew_at_login(tmp_path):
    async with open_auth(tmp_path) as bench:
        await bench.user("ada")
        stronger = await bench.second(argon2_passes=2)
        await stronger.login("ada", PASSWORD)
        kept = await bench.db.read(lambda tx: find_login(tx, "ada"))
        assert "t=2," in kept.password_hash
        assert await bench.auth.login("ada", PASSWORD)
        await stronger.close()


async def test_a_user_deleted_meanwhile_is_nobody(bench):
    await bench.user("ada")
    ada = await bench.principal("ada")
    await bench.auth.delete_user(bench.root, "ada")
    with pytest.raises(InvalidToken):
        await bench.auth.me(ada)
    with pytest.raises(UserNotFound):
        await bench.auth.get_user(ada, "ada")
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", PASSWORD)
