"""One-time codes, recovery codes, and what a password alone still opens."""

from __future__ import annotations

import asyncio
import base64

import pytest

from skep.auth.factors import FACTORS_MAX, codes_left, factors_of
from skep.auth.totp import STEP_S, code_of, key_uri, matching_step, step_at
from skep.base.errors import (
    BadCredentials,
    BadInput,
    Conflict,
    Forbidden,
    InvalidToken,
    LimitReached,
    NotFound,
    RateLimited,
    SecondFactorNeeded,
)
from skep.testing.accounts import PASSWORD

RFC_SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_rfc_6238_appendix_b(seconds: int, code: str) -> None:
    now_us = seconds * 1_000_000
    assert code_of(RFC_SECRET, step_at(now_us)) == code
    assert matching_step(RFC_SECRET, code, now_us=now_us, used_step=-1) == seconds // STEP_S
    assert matching_step(RFC_SECRET, code, now_us=now_us, used_step=seconds // STEP_S) is None
    for drift_s, good in ((-60, False), (-30, True), (30, True), (60, False)):
        found = matching_step(RFC_SECRET, code, now_us=now_us + drift_s * 1_000_000, used_step=-1)
        assert (found is not None) is good, drift_s


def test_the_uri_is_what_apps_read() -> None:
    uri = key_uri(RFC_SECRET, issuer="my hive", account="ada@example.org")
    assert uri == (
        "otpauth://totp/my%20hive:ada%40example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=my%20hive"
        "&algorithm=SHA1&digits=6&period=30"
    )


class App:
    """An authenticator app on the bench's clock."""

    def __init__(self, bench, secret: str) -> None:
        self._clock, self._secret = bench.clock, base64.b32decode(secret)

    def code(self, ahead: int = 0) -> str:
        return code_of(self._secret, step_at(self._clock.now_us()) + ahead)


async def with_app(bench, name: str = "ada"):
    """A user with an authenticator app: principal, app, recovery codes."""
    await bench.user(name)
    principal = await bench.principal(name)
    made = await bench.auth.begin_totp(principal, PASSWORD, "phone")
    app = App(bench, made.secret)
    codes = await bench.auth.confirm_totp(principal, made.factor.id, app.code())
    bench.clock.jump(STEP_S)
    return principal, app, codes


async def question(bench, name: str = "ada") -> str:
    with pytest.raises(SecondFactorNeeded) as asked:
        await bench.auth.login(name, PASSWORD)
    return asked.value.details["question"]


async def test_a_login_asks_for_the_code_and_takes_it_once(bench):
    _, app, codes = await with_app(bench)
    assert len(set(codes)) == 10
    asked = await question(bench)
    code = app.code()
    pair = await bench.auth.answer(asked, code)
    assert (await bench.auth.authenticate_token(pair.access_token)).name == "ada"
    with pytest.raises(InvalidToken):
        await bench.auth.answer(asked, app.code())  # a question is answered once
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", PASSWORD, code=code)  # replayed
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", PASSWORD, code=app.code(-1))  # older than what was used
    bench.clock.jump(STEP_S)
    await bench.auth.login("ada", PASSWORD, code=app.code())


async def test_two_who_race_with_one_code_do_not_both_get_in(bench):
    _, app, _ = await with_app(bench)
    code = app.code()
    tries = [bench.auth.login("ada", PASSWORD, code=code) for _ in range(4)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["BadCredentials"] * 3 + ["TokenPair"]


async def test_a_code_without_the_password_is_worth_nothing(bench):
    _, app, codes = await with_app(bench)
    for code in (app.code(), codes[0]):
        with pytest.raises(BadCredentials):
            await bench.auth.login("ada", "wrong password", code=code)
    await bench.auth.login("ada", PASSWORD, code=codes[0])


async def test_a_recovery_code_gets_in_once_and_for_its_owner_alone(bench):
    principal, _, codes = await with_app(bench)
    await with_app(bench, "bob")
    await bench.auth.answer(await question(bench), codes[3].upper().replace("-", " "))
    with pytest.raises(BadCredentials):
        await bench.auth.answer(await question(bench), codes[3])
    with pytest.raises(BadCredentials):
        await bench.auth.answer(await question(bench, "bob"), codes[4])
    assert (await bench.auth.list_factors(principal)).recovery_codes_left == 9
    fresh = await bench.auth.renew_recovery_codes(principal, PASSWORD)
    with pytest.raises(BadCredentials):
        await bench.auth.answer(await question(bench), codes[5])
    await bench.auth.answer(await question(bench), fresh[0])


async def test_recovery_codes_are_not_in_the_database(bench, tmp_path):
    _, _, codes = await with_app(bench)
    await bench.db.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("hive.db*"))
    assert b"phone" in raw
    for code in codes:
        assert code.encode() not in raw
        assert code.replace("-", "").encode() not in raw


async def test_five_wrong_codes_end_the_question_and_ten_make_the_account_wait(bench):
    _, app, _ = await with_app(bench)
    asked = await question(bench)
    for _ in range(5):
        with pytest.raises(BadCredentials):
            await bench.auth.answer(asked, "000000")
    with pytest.raises(InvalidToken):
        await bench.auth.answer(asked, app.code())
    again = await question(bench)
    for _ in range(4):
        with pytest.raises(BadCredentials):
            await bench.auth.answer(again, "not a code")
    last = await question(bench)
    with pytest.raises(BadCredentials):
        await bench.auth.answer(last, "000000")
    with pytest.raises(RateLimited) as limited:
        await bench.auth.answer(last, app.code())
    await bench.clock.advance(limited.value.details["retry_after_s"])
    await bench.auth.answer(await question(bench), app.code())


async def test_a_question_ends_after_five_minutes(bench):
    _, app, _ = await with_app(bench)
    asked = await question(bench)
    await bench.clock.advance(301)
    with pytest.raises(InvalidToken):
        await bench.auth.answer(asked, app.code())


async def test_a_question_does_not_outlive_password_or_account(bench):
    principal, app, _ = await with_app(bench)
    asked = await question(bench)
    await bench.auth.update_user(bench.root, principal.user_id, password="a new quiet meadow 7")
    with pytest.raises(BadCredentials):
        await bench.auth.answer(asked, app.code())


async def test_the_password_alone_opens_no_door_and_app_passwords_go_on(bench):
    await bench.user("ada")
    principal = await bench.principal("ada")
    assert (await bench.auth.authenticate_password("ada", PASSWORD)).kind == "password"
    app_password = await bench.auth.create_app_password(principal, "phone")
    made = await bench.auth.begin_totp(principal, PASSWORD)
    await bench.auth.authenticate_password("ada", PASSWORD)  # not confirmed: does not count
    await bench.auth.confirm_totp(principal, made.factor.id, App(bench, made.secret).code())
    with pytest.raises(SecondFactorNeeded) as refused:
        await bench.auth.authenticate_password("ada", PASSWORD)
    assert "question" not in refused.value.details
    with pytest.raises(BadCredentials):
        await bench.auth.authenticate_password("ada", "wrong password")
    assert (await bench.auth.authenticate_password("ada", app_password.secret)).kind == "app"


async def test_a_stolen_token_neither_adds_nor_removes_a_factor(bench):
    principal, _, _ = await with_app(bench)
    factor = (await bench.auth.list_factors(principal)).factors[0]
    for password in (None, "", "wrong password"):
        with pytest.raises(BadCredentials):
            await bench.auth.begin_totp(principal, password)
        with pytest.raises(BadCredentials):
            await bench.auth.remove_factor(principal, factor.id, password)
        with pytest.raises(BadCredentials):
            await bench.auth.renew_recovery_codes(principal, password)


async def test_a_factor_counts_after_a_right_first_code(bench):
    await bench.user("ada")
    principal = await bench.principal("ada")
    made = await bench.auth.begin_totp(principal, PASSWORD)
    with pytest.raises(BadCredentials):
        await bench.auth.confirm_totp(principal, made.factor.id, "000000")
    assert (await bench.auth.list_factors(principal)).factors == ()
    await bench.auth.login("ada", PASSWORD)
    again = await bench.auth.begin_totp(principal, PASSWORD)
    with pytest.raises(NotFound):
        await bench.auth.confirm_totp(principal, made.factor.id, App(bench, made.secret).code())
    app = App(bench, again.secret)
    await bench.auth.confirm_totp(principal, again.factor.id, app.code())
    bench.clock.jump(STEP_S)
    with pytest.raises(Conflict):
        await bench.auth.confirm_totp(principal, again.factor.id, app.code())
    with pytest.raises(BadInput):
        await bench.auth.begin_totp(principal, PASSWORD, "a\nb" * 100)


async def test_nobody_touches_the_factors_of_another(bench):
    ada, _, _ = await with_app(bench)
    bob, _, _ = await with_app(bench, "bob")
    factor = (await bench.auth.list_factors(ada)).factors[0]
    with pytest.raises(NotFound):
        await bench.auth.remove_factor(bob, factor.id, PASSWORD)
    with pytest.raises(Forbidden):
        await bench.auth.list_factors(bob, "ada")
    with pytest.raises(Forbidden):
        await bench.auth.clear_factors(bob, "ada")


async def test_the_last_factor_takes_the_recovery_codes_with_it(bench):
    principal, _, _ = await with_app(bench)
    factor = (await bench.auth.list_factors(principal)).factors[0]
    await bench.auth.remove_factor(principal, factor.id, PASSWORD)
    assert (await bench.auth.list_factors(principal)).recovery_codes_left == 0
    await bench.auth.login("ada", PASSWORD)
    with pytest.raises(Conflict):
        await bench.auth.renew_recovery_codes(principal, PASSWORD)


async def test_an_administrator_helps_who_has_lost_everything(bench):
    principal, _, _ = await with_app(bench)
    await bench.auth.clear_factors(bench.root, "ada")
    assert (await bench.auth.list_sessions(bench.root, principal.user_id)) == []
    await bench.auth.login("ada", PASSWORD)


async def test_there_is_a_limit(bench):
    await bench.user("ada")
    principal = await bench.principal("ada")
    for number in range(FACTORS_MAX):
        made = await bench.auth.begin_totp(principal, PASSWORD, f"app {number}")
        await bench.auth.confirm_totp(principal, made.factor.id, App(bench, made.secret).code())
    with pytest.raises(LimitReached):
        await bench.auth.begin_totp(principal, PASSWORD)


async def test_factors_go_with_their_user(bench):
    principal, _, _ = await with_app(bench)
    await bench.auth.delete_user(bench.root, "ada")
    left = await bench.db.read(lambda tx: (factors_of(tx, principal.user_id), codes_left(tx, principal.user_id)))
    assert left == ([], 0)


async def test_guessing_elsewhere_does_not_lock_out_who_signed_in_from_here(bench):
    await bench.user("ada")
    await bench.auth.login("ada", PASSWORD, address="192.0.2.1")
    for number in range(10):
        with pytest.raises(BadCredentials):
            await bench.auth.login("ada", "wrong password", address=f"198.51.100.{number}")
    with pytest.raises(RateLimited):
        await bench.auth.login("ada", PASSWORD, address="198.51.100.77")
    await bench.auth.login("ada", PASSWORD, address="192.0.2.1")
    for _ in range(10):
        with pytest.raises(BadCredentials):
            await bench.auth.login("ada", "wrong password", address="192.0.2.1")
    with pytest.raises(RateLimited):  # a known address has its own attempts, not endless ones
        await bench.auth.login("ada", PASSWORD, address="192.0.2.1")


async def test_other_sessions_end_together(bench):
    await bench.user("ada")
    here, there = await bench.auth.login("ada", PASSWORD), await bench.auth.login("ada", PASSWORD)
    principal = await bench.auth.authenticate_token(here.access_token)
    assert await bench.auth.revoke_other_sessions(principal) == 1
    await bench.auth.authenticate_token(here.access_token)
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(there.access_token)
    assert await bench.auth.revoke_other_sessions(bench.root, principal.user_id) == 1
    with pytest.raises(InvalidToken):
        await bench.auth.refresh(here.refresh_token)
