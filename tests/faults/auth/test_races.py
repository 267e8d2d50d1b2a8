"""Two at once, overload, guessing: what must hold however requests meet."""

from __future__ import annotations

import asyncio

import pytest

from skep.auth.users import find_login
from skep.base.errors import (
    AlreadyExists,
    BadCredentials,
    DatabaseBusy,
    Forbidden,
    InUse,
    InvalidToken,
    RateLimited,
)
from skep.testing.accounts import PASSWORD, open_auth


def _kinds(outcomes):
    return sorted(type(outcome).__name__ for outcome in outcomes)


async def _together(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_one_refresh_token_shown_many_times_at_once_has_one_successor(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    other = await bench.second()
    askers = [bench.auth, other] * 8
    found = await asyncio.gather(*(asker.refresh(pair.refresh_token) for asker in askers))
    assert len({answer.refresh_token for answer in found}) == 1
    assert await bench.auth.refresh(found[0].refresh_token)
    await other.close()


async def test_the_last_use_of_an_invite_goes_to_one(tmp_path):
    async with open_auth(tmp_path, registration="invite") as bench:
        invite = (await bench.auth.create_invite(bench.root)).token
        calls = [bench.auth.register(f"user{number}", PASSWORD, invite=invite) for number in range(8)]
        outcomes = await _together(*calls)
        assert _kinds(outcomes) == ["Forbidden"] * 7 + ["UserInfo"]
        assert len(await bench.auth.list_users(bench.root)) == 1
        assert all(isinstance(outcome, Forbidden) or outcome.name for outcome in outcomes)


async def test_one_name_goes_to_one(bench):
    calls = [bench.auth.register(name, PASSWORD) for name in ("ada", "ADA", "Ada")]
    outcomes = await _together(*calls)
    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == 2


async def test_two_admins_cannot_both_go(bench):
    await bench.user("one", is_admin=True)
    await bench.user("two", is_admin=True)
    outcomes = await _together(*(bench.auth.delete_user(bench.root, name) for name in ("one", "two")))
    assert sum(isinstance(outcome, InUse) for outcome in outcomes) == 1


async def test_a_suspension_while_a_token_is_checked_leaves_nothing_cached(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    read = bench.db.read

    async def slow_read(work):
        found = await read(work)
        if not slow_read.done:
            slow_read.done = True
            await bench.auth.suspend_user(bench.root, "ada")
        return found

    slow_read.done = False
    bench.db.read = slow_read
    await bench.auth.authenticate_token(pair.access_token)
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pair.access_token)


async def test_a_password_changed_while_it_is_checked_is_no_longer_taken(bench):
    await bench.user("ada")
    verify = bench.auth._hasher.verify

    async def slow_verify(stored, password):
        answer = await verify(stored, password)
        await bench.auth.update_user(bench.root, "ada", password="another meadow 7")
        return answer

    bench.auth._hasher.verify = slow_verify
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", PASSWORD)
    assert await bench.auth.list_sessions(bench.root, (await bench.auth.get_user(bench.root, "ada")).id) == []


async def test_unknown_and_known_names_take_the_same_path(bench, monkeypatch):
    await bench.user("ada")
    await bench.user("gone")
    await bench.auth.suspend_user(bench.root, "gone")
    steps = []
    verify, read = bench.auth._hasher.verify, bench.db.read

    async def noted_verify(stored, password):
        steps.append("verify")
        return await verify(stored, password)

    async def noted_read(work):
        steps.append("read")
        return await read(work)

    bench.auth._hasher.verify, bench.db.read = noted_verify, noted_read
    for ask in (bench.auth.login, bench.auth.authenticate_password):
        paths = []
        for name in ("ada", "gone", "nobody"):
            steps.clear()
            with pytest.raises(BadCredentials) as failed:
                await ask(name, "wrong password")
            paths.append((tuple(steps), failed.value.message))
        assert len(set(paths)) == 1, paths
        assert "verify" in paths[0][0]


async def test_guessing_one_name_is_slowed_down_whether_it_exists_or_not(bench):
    await bench.user("ada")
    for name in ("ada", "nobody"):
        for turn in range(10):
            with pytest.raises(BadCredentials):
                await bench.auth.login(name, f"guess {turn}")
        with pytest.raises(RateLimited) as failed:
            await bench.auth.login(name, PASSWORD)
        assert failed.value.details["retry_after_s"] == 30
    await bench.clock.advance(30)
    assert await bench.auth.login("ada", PASSWORD)


async def test_guessing_many_names_from_one_address_is_slowed_down(bench):
    await bench.user("ada")
    outcomes = [
        await _together(bench.auth.login(f"name{number}", "guess", address=f"2001:db8::{number:x}"))
        for number in range(61)
    ]
    assert _kinds(outcome[0] for outcome in outcomes) == ["BadCredentials"] * 60 + ["RateLimited"]
    assert await bench.auth.login("ada", PASSWORD, address="192.0.2.1")


async def test_registering_from_one_address_is_slowed_down(tmp_path):
    async with open_auth(tmp_path, registration="invite") as bench:
        outcomes = [
            (await _together(bench.auth.register("ada", PASSWORD, invite="ski_guess", address="192.0.2.1")))[0]
            for _ in range(61)
        ]
        assert _kinds(outcomes) == ["Forbidden"] * 60 + ["RateLimited"]


async def test_guesses_at_once_count_as_much_as_one_after_the_other(bench):
    await bench.user("ada")
    outcomes = await _together(*(bench.auth.login("ada", f"guess {number}") for number in range(30)))
    assert _kinds(outcomes) == ["BadCredentials"] * 10 + ["RateLimited"] * 20


async def test_right_passwords_are_not_slowed_down(bench):
    await bench.user("ada")
    for _ in range(30):
        assert await bench.auth.login("ada", PASSWORD, address="192.0.2.1")


async def test_overload_costs_nobody_an_attempt(tmp_path):
    async with open_auth(tmp_path, argon2_at_once=1, argon2_queue_max=0) as bench:
        await bench.user("ada")
        outcomes = await _together(*(bench.auth.login("ada", PASSWORD) for _ in range(9)))
        assert all(getattr(outcome, "details", {}).get("reason") in (None, "overload") for outcome in outcomes)
        for _ in range(9):
            with pytest.raises(BadCredentials):
                await bench.auth.login("ada", "wrong password")
        assert await bench.auth.login("ada", PASSWORD)


async def test_a_busy_database_refuses_nobody_for_the_sake_of_last_used(bench):
    await bench.user("ada")
    ada = await bench.principal("ada")
    app = await bench.auth.create_app_password(ada, "phone")

    async def busy(work):
        raise DatabaseBusy("locked")

    bench.db.write = busy
    assert (await bench.auth.authenticate_password("ada", app.secret)).kind == "app"


async def test_a_request_that_went_away_leaves_the_check_to_the_others(bench):
    await bench.user("ada")
    first = asyncio.create_task(bench.auth.authenticate_password("ada", PASSWORD))
    second = asyncio.create_task(bench.auth.authenticate_password("ada", PASSWORD))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).name == "ada"
    assert first.cancelled() or first.done()


async def test_an_unknown_refresh_token_changes_nothing(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    for token in ("", "skr_" + "A" * 43, pair.refresh_token + "x", pair.access_token, "\ud800"):
        with pytest.raises(InvalidToken):
            await bench.auth.refresh(token)
    assert await bench.auth.refresh(pair.refresh_token)
    assert await bench.db.read(lambda tx: find_login(tx, "ada"))
