"""Letters that lead to a new password or prove an address, over a mail server that somebody else wrote."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP

from skep.auth import Auth
from skep.auth.facts import is_verified
from skep.auth.outbox import RETRY_S, TRIES_MAX, Letter, post
from skep.auth.post import CatchAll, NeverTaken, message_of, postman_of
from skep.auth.postroom import Postroom
from skep.base.errors import BadCredentials, BadInput, InvalidSetting, InvalidToken, NotFound, RateLimited
from skep.base.workers import Progress
from skep.testing.accounts import PASSWORD, AuthBench, open_auth

NEW = "another quiet meadow 77"
SENDER = "Skep <hive@example.org>"


class Server:
    """What the mail server's handler sees; ``answer`` is what it says to a letter."""

    def __init__(self) -> None:
        self.letters: list[tuple[list[str], email.message.EmailMessage]] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        if not self.answer.startswith("5") and not self.answer.startswith("4"):
            self.letters.append((envelope.rcpt_tos, parsed))
        return self.answer

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:
        if address.startswith("gone@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@asynccontextmanager
async def smtp() -> AsyncIterator[tuple[Server, str]]:
    server, loop = Server(), asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(server, enable_SMTPUTF8=True), "127.0.0.1", 0)
    try:
        yield server, f"smtp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[AuthBench]:
    async with open_auth(tmp_path, sends_mail=True, public_url="https://hive.example") as opened:
        yield opened


async def settled(auth: Auth) -> None:
    await asyncio.gather(*auth._errands)


def postroom(bench: AuthBench, url: str) -> Postroom:
    postman = postman_of(url, SENDER, "", Path("/nonexistent"), lambda: bench.clock.now_us() / 1e6)
    return Postroom(bench.db, bench.keys.secrets_key, postman)


def token_in(text: str) -> str:
    found = re.search(r"#token=(\S+)", text)
    assert found
    return found[1]


async def letter_for(bench: AuthBench, name: str) -> str:
    """The token of a reset that was asked for."""
    async with smtp() as (server, url):
        await bench.auth.ask_reset(name)
        await settled(bench.auth)
        await postroom(bench, url).run_once(Progress())
        return token_in(server.letters[-1][1].get_content())


async def test_a_letter_leads_to_a_new_password(bench):
    ada = await bench.user("ada", email="ada@example.org")
    old = await bench.auth.login("ada", PASSWORD)
    async with smtp() as (server, url):
        await bench.auth.ask_reset("ADA@example.org", "192.0.2.1")
        await settled(bench.auth)
        await postroom(bench, url).run_once(Progress())
        ((to, letter),) = server.letters
    assert (to, letter["To"], letter["From"]) == (["ada@example.org"], "ada@example.org", SENDER)
    assert letter["Auto-Submitted"] == "auto-generated"
    assert "https://hive.example/oauth/password#token=" in letter.get_content()
    token = token_in(letter.get_content())
    with pytest.raises(BadInput):
        await bench.auth.reset_password(token, "short")
    await bench.auth.reset_password(token, NEW)
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", PASSWORD)
    await bench.auth.login("ada", NEW)
    with pytest.raises(InvalidToken):
        await bench.auth.refresh(old.refresh_token)
    with pytest.raises(InvalidToken):
        await bench.auth.reset_password(token, NEW)  # twice
    assert await bench.db.read(lambda tx: is_verified(tx, ada.id, "ada@example.org"))


async def test_links_are_for_one_user_purpose_address_and_time(bench):
    await bench.user("ada", email="ada@example.org")
    await bench.user("bob", email="bob@example.org")
    first, second = await letter_for(bench, "ada"), await letter_for(bench, "ada")
    for token in (first, "", "skm_" + "A" * 27, second[:-1], second + "A"):  # a newer link voids the older one
        with pytest.raises(InvalidToken):
            await bench.auth.reset_password(token, NEW)
    with pytest.raises(InvalidToken):
        await bench.auth.verify_email(second)
    await bench.auth.update_user(bench.root, "ada", email="other@example.org")
    with pytest.raises(InvalidToken):
        await bench.auth.reset_password(second, NEW)
    late = await letter_for(bench, "bob")
    bench.clock.jump(3601)
    with pytest.raises(InvalidToken):
        await bench.auth.reset_password(late, NEW)
    await bench.clock.advance(1800)
    gone = await letter_for(bench, "bob")
    await bench.auth.delete_user(bench.root, "bob")
    with pytest.raises(InvalidToken):
        await bench.auth.reset_password(gone, NEW)
    await bench.auth.login("ada", PASSWORD)


async def test_two_who_race_with_one_link_do_not_both_set_a_password(bench):
    await bench.user("ada", email="ada@example.org")
    token = await letter_for(bench, "ada")
    tries = [bench.auth.reset_password(token, f"quiet meadow number {n}") for n in range(4)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert [type(one) for one in outcomes].count(InvalidToken) == 3


async def test_nobody_learns_who_is_there(bench):
    await bench.user("ada", email="ada@example.org")
    await bench.user("noaddress")
    await bench.user("shut", email="shut@example.org")
    await bench.auth.suspend_user(bench.root, "shut")
    async with smtp() as (server, url):
        for name in ("ada", "nobody", "noaddress", "shut", "", "x" * 5000, "a\r\nBcc: eve@evil.example"):
            assert await bench.auth.ask_reset(name) is None
        await settled(bench.auth)
        await postroom(bench, url).run_once(Progress())
        assert [to for to, _ in server.letters] == [["ada@example.org"]]
    for _ in range(2):
        await bench.auth.ask_reset("ada")
    with pytest.raises(RateLimited):
        await bench.auth.ask_reset("ada")
    for _ in range(2):
        await bench.auth.ask_reset("nobody")
    with pytest.raises(RateLimited):  # the same for who is not there
        await bench.auth.ask_reset("nobody")


async def test_an_address_is_proven_by_its_letter(bench):
    ada = await bench.user("ada", email="ada@example.org")
    principal = await bench.principal("ada")
    async with smtp() as (server, url):
        await bench.auth.ask_verification(principal)
        await postroom(bench, url).run_once(Progress())
        token = token_in(server.letters[0][1].get_content())
    with pytest.raises(InvalidToken):
        await bench.auth.reset_password(token, NEW)
    await bench.auth.verify_email(token)
    with pytest.raises(InvalidToken):
        await bench.auth.verify_email(token)
    await bench.auth.update_user(principal, ada.id, email="new@example.org")
    assert not await bench.db.read(lambda tx: is_verified(tx, ada.id, "new@example.org"))


@pytest.mark.parametrize("bad", ["ada@example.org\r\nBcc: eve@evil.example", "ada@example.org\nX: y", "a\x00b@c"])
async def test_no_header_can_be_added(bench, bad):
    for letter in (Letter(bad, "subject", "text"), Letter("ada@example.org", bad, "text")):
        with pytest.raises(BadInput):
            await bench.db.write(lambda tx, letter=letter: post(tx, bytes(32), letter))
    if "\n" in bad:
        with pytest.raises(NeverTaken):
            message_of(Letter(bad, "subject", "text"), SENDER, "id", 0.0)
        with pytest.raises(NeverTaken):
            message_of(Letter("ada@example.org", bad, "text"), SENDER, "id", 0.0)


async def test_what_is_not_taken_is_tried_again_and_given_up_after_a_day(bench):
    await bench.user("ada", email="ada@example.org")
    await bench.auth.ask_reset("ada")
    await settled(bench.auth)
    async with smtp() as (server, url):
        room = postroom(bench, url)
        server.answer = "451 later"
        for tries in range(TRIES_MAX):
            assert (await room.run_once(Progress())).done_units == 1
            assert (await room.run_once(Progress())).done_units == 0  # not before its time
            bench.clock.jump(RETRY_S * 2**tries + 1)
        server.answer = "250 OK"
        assert (await room.run_once(Progress())).done_units == 0
        await bench.auth.ask_reset("ada")
        await settled(bench.auth)
        server.answer = "451 later"
        await room.run_once(Progress())
        server.answer = "250 OK"
        bench.clock.jump(RETRY_S + 1)
        await room.run_once(Progress())
        assert len(server.letters) == 1
        await bench.user("gone", email="gone@example.org")
        await bench.auth.ask_reset("gone")
        await settled(bench.auth)
        await room.run_once(Progress())
        bench.clock.jump(86_400)
        assert (await room.run_once(Progress())).done_units == 0  # refused for good
    await bench.auth.ask_reset("gone2")
    unreachable = postroom(bench, "smtp://127.0.0.1:9")
    await bench.clock.advance(7200)
    await bench.auth.ask_reset("ada")
    await settled(bench.auth)
    assert (await unreachable.run_once(Progress())).done_units == 1


async def test_links_are_sealed_while_they_wait(bench, tmp_path):
    await bench.user("ada", email="ada@example.org")
    await bench.auth.ask_reset("ada")
    await settled(bench.auth)
    await bench.db.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("hive.db*"))
    assert b"#token=" not in raw
    assert b"skm_" not in raw


async def test_the_catch_all_keeps_the_newest(tmp_path):
    kept = tmp_path / "mail"
    catch = CatchAll(kept, "hive@localhost", lambda: 0.0)
    for number in range(205):
        catch(Letter("ada@example.org", f"number {number}", "text"), f"{number:04}")
    assert len(list(kept.iterdir())) == 200
    newest = kept / "0204.eml"
    assert "number 204" in newest.read_text()
    assert (newest.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o600, 0o700)


def test_settings_that_make_no_sense_are_refused():
    def made(url: str, sender: str = SENDER):
        return postman_of(url, sender, "", Path("/nonexistent"), lambda: 0.0)

    assert made("") is None
    for url, sender in (("http://x", SENDER), ("smtp://", SENDER), ("smtp://x:y", SENDER), ("smtp://x", "")):
        with pytest.raises(InvalidSetting):
            made(url, sender)


async def test_a_hive_without_mail_says_so(tmp_path):
    async with open_auth(tmp_path) as bench:
        with pytest.raises(NotFound):
            await bench.auth.ask_reset("ada")
