"""The same life of accounts on every database, with the races that only a server's isolation decides."""

from __future__ import annotations

import asyncio

import pytest

from skep.auth import AccountsWorker
from skep.base.errors import AlreadyExists, BadCredentials, Forbidden, InUse, InvalidToken, SkepError
from skep.base.workers import Progress
from skep.testing.accounts import PASSWORD, open_auth


@pytest.fixture
async def each(database_url):
    async with open_auth(database_url, registration="open") as opened:
        yield opened


async def test_a_life_of_accounts(each):
    auth, root = each.auth, each.root
    ada = await each.user("Ädä", email="ada@example.org", is_admin=True)
    club = await auth.create_group(root, "Chess Club")
    await auth.add_member(root, club.id, ada.id)
    await auth.add_member(root, club.id, ada.id, "manager")
    pair = await auth.login("äDä", PASSWORD)
    principal = await auth.authenticate_token(pair.access_token)
    assert principal.groups == {club.id}
    assert [item.name for item in await auth.list_groups(principal, after="a")] == ["Chess Club"]
    app = await auth.create_app_password(principal, "phone", expires_in_s=60)
    assert (await auth.authenticate_password("ada@example.org", app.secret)).kind == "app"
    second = await auth.refresh(pair.refresh_token)
    assert (await auth.refresh(pair.refresh_token)).refresh_token == second.refresh_token
    with pytest.raises(AlreadyExists):
        await auth.create_user(root, "ÄDÄ")
    with pytest.raises(InUse):
        await auth.suspend_user(root, "Ädä")
    changed = await auth.update_user(principal, "Ädä", email="", full_name="ada")
    assert (changed.email, changed.full_name) == ("", "Ada")
    await auth.update_user(principal, "Ädä", full_name="ada")
    await auth.change_password(principal, PASSWORD, "another meadow 7")
    with pytest.raises(InvalidToken):
        await auth.refresh(second.refresh_token)
    await auth.rotate_keys(root)
    await each.clock.advance(40 * 86_400)
    done = await AccountsWorker(auth).run_once(Progress())
    assert (done.more_work, done.done_units) == (False, 3), "a session, an app password, a signing key"
    await each.user("root", is_admin=True)
    await auth.delete_user(root, "ädä")
    assert (await auth.get_group(root, club.id)).members == ()
    for text in ("nul\0", "\ud800", "x" * 300):
        with pytest.raises(BadCredentials):
            await auth.login(text, text)


async def test_an_invite_and_a_name_go_to_one(each):
    invite = (await each.auth.create_invite(each.root)).token
    calls = [each.auth.register(f"user{number % 3}", PASSWORD, invite=invite) for number in range(6)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert len(await each.auth.list_users(each.root)) == 1
    assert all(isinstance(outcome, Forbidden | AlreadyExists) or outcome.name for outcome in outcomes), outcomes


async def test_two_admins_cannot_both_go(each):
    await each.user("one", is_admin=True)
    await each.user("two", is_admin=True)
    calls = [each.auth.suspend_user(each.root, "one"), each.auth.delete_user(each.root, "two")]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, InUse) for outcome in outcomes) == 1, outcomes


async def test_one_refresh_token_shown_at_once_by_two_processes_has_one_successor(each):
    await each.user("ada")
    pair = await each.auth.login("ada", PASSWORD)
    other = await each.second()
    calls = [asker.refresh(pair.refresh_token) for asker in (each.auth, other) * 3]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert not [outcome for outcome in outcomes if isinstance(outcome, SkepError)], outcomes
    assert len({outcome.refresh_token for outcome in outcomes}) == 1
    await other.close()
