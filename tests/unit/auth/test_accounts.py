from __future__ import annotations

import pytest

from skep.auth import internal_principal
from skep.base.errors import (
    AlreadyExists,
    BadCredentials,
    BadInput,
    Forbidden,
    GroupNotFound,
    InUse,
    InvalidName,
    InvalidToken,
    NotFound,
    UserNotFound,
)
from skep.base.ids import new_id
from skep.testing.accounts import PASSWORD, open_auth


class Spaces:
    """Hooks that note what they were told, in the transaction, and refuse on demand."""

    def __init__(self):
        self.told = []
        self.refuse = False

    def _note(self, *what):
        if self.refuse:
            raise InUse("not now")
        self.told.append(what)

    def user_created(self, tx, user_id, name):
        self._note("user+", name, tx.now_us)

    def group_created(self, tx, group_id, name):
        self._note("group+", name, tx.now_us)

    def user_renamed(self, tx, user_id, name):
        self._note("user=", name, tx.now_us)

    def group_renamed(self, tx, group_id, name):
        self._note("group=", name, tx.now_us)

    def user_deleting(self, tx, user_id, name):
        self._note("user-", name, tx.now_us)

    def group_deleting(self, tx, group_id, name):
        self._note("group-", name, tx.now_us)


async def test_registration_when_open(bench):
    made = await bench.auth.register("Ada", PASSWORD, "ada@example.org", "ada lovelace")
    assert (made.name, made.email, made.full_name) == ("Ada", "ada@example.org", "Ada Lovelace")
    assert (made.first_name, made.last_name, made.is_admin, made.state) == ("Ada", "Lovelace", False, "active")
    for name, email in [("ADA", ""), ("grace", "ADA@example.org")]:
        with pytest.raises(AlreadyExists):
            await bench.auth.register(name, PASSWORD, email)
    with pytest.raises(BadInput):
        await bench.auth.register("grace", "12345678901")
    with pytest.raises(InvalidName):
        await bench.auth.register("grace@hopper", PASSWORD)


@pytest.mark.parametrize("registration", ["closed", "invite"])
async def test_registration_when_not_open(tmp_path, registration):
    async with open_auth(tmp_path, registration=registration) as bench:
        with pytest.raises(Forbidden):
            await bench.auth.register("ada", PASSWORD)
        with pytest.raises(Forbidden):
            await bench.auth.register("ada", PASSWORD, invite="ski_wrong")


async def test_an_invite_lets_in_as_often_as_it_says_and_into_its_group(tmp_path):
    async with open_auth(tmp_path, registration="invite") as bench:
        group = await bench.auth.create_group(bench.root, "club")
        made = await bench.auth.create_invite(bench.root, uses=2, group_id=group.id)
        assert made.token not in repr(made)
        ada = await bench.auth.register("ada", PASSWORD, invite=made.token)
        assert (await bench.auth.list_invites(bench.root))[0].uses_left == 1
        with pytest.raises(AlreadyExists):
            await bench.auth.register("ada", PASSWORD, invite=made.token)
        assert (await bench.auth.list_invites(bench.root))[0].uses_left == 1, "a failed registration spends nothing"
        await bench.auth.register("bob", PASSWORD, invite=made.token)
        with pytest.raises(Forbidden):
            await bench.auth.register("eve", PASSWORD, invite=made.token)
        detail = await bench.auth.get_group(bench.root, "club")
        assert [(member.user_name, member.role) for member in detail.members] == [("ada", "member"), ("bob", "member")]
        assert not ada.is_admin
        assert (await bench.auth.maintain()).invites == 1


async def test_invites_expire_and_are_revoked(tmp_path):
    async with open_auth(tmp_path, registration="invite") as bench:
        made = await bench.auth.create_invite(bench.root, expires_in_s=60, is_admin=True)
        other = await bench.auth.create_invite(bench.root)
        await bench.auth.revoke_invite(bench.root, other.info.id)
        with pytest.raises(NotFound):
            await bench.auth.revoke_invite(bench.root, other.info.id)
        with pytest.raises(Forbidden):
            await bench.auth.register("ada", PASSWORD, invite=other.token)
        assert (await bench.auth.register("ada", PASSWORD, invite=made.token)).is_admin
        late = await bench.auth.create_invite(bench.root, expires_in_s=60)
        await bench.clock.advance(60)
        with pytest.raises(Forbidden):
            await bench.auth.register("bob", PASSWORD, invite=late.token)
        for wrong in ({"uses": 0}, {"uses": 10**6}, {"expires_in_s": 0}, {"expires_in_s": 1e12}):
            with pytest.raises(BadInput):
                await bench.auth.create_invite(bench.root, **wrong)
        with pytest.raises(GroupNotFound):
            await bench.auth.create_invite(bench.root, group_id=new_id())


async def test_users_are_kept_by_admins_only(bench):
    await bench.user("ada")
    await bench.user("bob")
    ada = await bench.principal("ada")
    for refused in [
        bench.auth.create_user(ada, "eve"),
        bench.auth.list_users(ada),
        bench.auth.suspend_user(ada, "bob"),
        bench.auth.resume_user(ada, "bob"),
        bench.auth.delete_user(ada, "bob"),
        bench.auth.update_user(ada, "ada", is_admin=True),
        bench.auth.update_user(ada, "ada", name="root"),
        bench.auth.update_user(ada, "ada", password=PASSWORD),
        bench.auth.create_group(ada, "mine"),
        bench.auth.create_invite(ada),
        bench.auth.list_invites(ada),
        bench.auth.revoke_invite(ada, new_id()),
        bench.auth.rotate_keys(ada),
    ]:
        with pytest.raises(Forbidden):
            await refused


async def test_others_are_not_to_be_seen(bench):
    bob = await bench.user("bob")
    await bench.user("ada")
    ada = await bench.principal("ada")
    answers = set()
    for asked in ("bob", bob.id, "nobody", new_id()):
        with pytest.raises(UserNotFound) as failed:
            await bench.auth.get_user(ada, asked)
        answers.add(failed.value.message)
        with pytest.raises(UserNotFound):
            await bench.auth.update_user(ada, asked, full_name="x")
    assert len(answers) == 1
    assert (await bench.auth.get_user(ada, "ADA")).name == "ada"
    assert (await bench.auth.get_user(bench.root, bob.id)).name == "bob"


async def test_listing_pages_by_name(bench):
    for name in ("dora", "Ada", "carl", "Bob"):
        await bench.user(name)
    page = await bench.auth.list_users(bench.root, limit=3)
    assert [user.name for user in page] == ["Ada", "Bob", "carl"]
    assert [user.name for user in await bench.auth.list_users(bench.root, after=page[-1].name)] == ["dora"]


async def test_updating_a_profile(bench):
    await bench.user("ada", email="a@example.org")
    await bench.user("bob", email="b@example.org")
    ada = await bench.principal("ada")
    changed = await bench.auth.update_user(ada, ada.user_id, email="new@example.org", full_name="ada king")
    assert (changed.email, changed.full_name) == ("new@example.org", "Ada King")
    with pytest.raises(AlreadyExists):
        await bench.auth.update_user(ada, ada.user_id, email="B@example.org")
    assert (await bench.auth.update_user(ada, ada.user_id, email="")).email == ""
    assert (await bench.auth.update_user(bench.root, "ada", name="countess")).name == "countess"
    with pytest.raises(AlreadyExists):
        await bench.auth.update_user(bench.root, "countess", name="BOB")
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", PASSWORD)


async def test_a_password_set_by_an_admin_ends_the_sessions(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.auth.authenticate_token(pair.access_token)
    await bench.auth.update_user(bench.root, "ada", password="another meadow 7")
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pair.access_token)
    assert await bench.auth.login("ada", "another meadow 7")


async def test_suspension_shuts_out_every_credential_and_resuming_lets_in(bench):
    await bench.user("ada")
    ada = await bench.principal("ada")
    app = await bench.auth.create_app_password(ada, "phone")
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.auth.authenticate_token(pair.access_token)
    await bench.auth.authenticate_password("ada", PASSWORD)
    await bench.auth.authenticate_password("ada", app.secret)
    assert (await bench.auth.suspend_user(bench.root, "ada")).state == "suspended"
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pair.access_token)
    with pytest.raises(InvalidToken):
        await bench.auth.refresh(pair.refresh_token)
    for secret in (PASSWORD, app.secret):
        with pytest.raises(Forbidden):
            await bench.auth.authenticate_password("ada", secret)
    with pytest.raises(Forbidden):
        await bench.auth.login("ada", PASSWORD)
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", "wrong password")
    await bench.auth.resume_user(bench.root, "ada")
    assert await bench.auth.authenticate_password("ada", app.secret)
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pair.access_token)


async def test_the_last_admin_stays(bench):
    await bench.user("root", is_admin=True)
    await bench.user("second", is_admin=True)
    await bench.auth.suspend_user(bench.root, "second")
    for refused in (
        bench.auth.delete_user(bench.root, "root"),
        bench.auth.suspend_user(bench.root, "root"),
        bench.auth.update_user(bench.root, "root", is_admin=False),
    ):
        with pytest.raises(InUse):
            await refused
    await bench.auth.resume_user(bench.root, "second")
    await bench.auth.delete_user(bench.root, "root")
    await bench.auth.update_user(bench.root, "second", full_name="Still Here")


async def test_hooks_run_in_the_transaction_and_decide_on_deletion(tmp_path):
    spaces = Spaces()
    async with open_auth(tmp_path, hooks=spaces, deletion=spaces) as bench:
        await bench.user("ada")
        await bench.auth.create_group(bench.root, "club")
        spaces.refuse = True
        for refused in (
            bench.user("bob"),
            bench.auth.create_group(bench.root, "other"),
            bench.auth.delete_user(bench.root, "ada"),
            bench.auth.delete_group(bench.root, "club"),
        ):
            with pytest.raises(InUse):
                await refused
        assert [user.name for user in await bench.auth.list_users(bench.root)] == ["ada"]
        assert [group.name for group in await bench.auth.list_groups(bench.root)] == ["club"]
        spaces.refuse = False
        await bench.auth.delete_user(bench.root, "ada")
        await bench.auth.delete_group(bench.root, "club")
        now_us = bench.clock.now_us()
        assert spaces.told == [
            ("user+", "ada", now_us),
            ("group+", "club", now_us),
            ("user-", "ada", now_us),
            ("group-", "club", now_us),
        ]


async def test_a_group_gets_another_name(tmp_path):
    spaces = Spaces()
    async with open_auth(tmp_path, hooks=spaces, deletion=spaces) as bench:
        await bench.user("ada")
        club = await bench.auth.create_group(bench.root, "club")
        await bench.auth.create_group(bench.root, "other")
        renamed = await bench.auth.rename_group(bench.root, "CLUB", "The Club")
        assert (renamed.id, renamed.name) == (club.id, "The Club")
        assert (await bench.auth.rename_group(bench.root, "the club", "the Club")).name == "the Club"
        with pytest.raises(AlreadyExists):
            await bench.auth.rename_group(bench.root, "the club", "OTHER")
        with pytest.raises(InvalidName):
            await bench.auth.rename_group(bench.root, "other", " ")
        assert ("group=", "The Club", bench.clock.now_us()) in spaces.told
        await bench.auth.update_user(bench.root, "ada", name="grace")
        await bench.auth.update_user(bench.root, "grace", full_name="Grace")
        assert [what[:2] for what in spaces.told if what[0] == "user="] == [("user=", "grace")]


async def test_nothing_with_a_space_is_deleted_when_nobody_decides_on_the_space(tmp_path):
    async with open_auth(tmp_path, hooks=Spaces()) as bench:
        await bench.user("ada")
        await bench.auth.create_group(bench.root, "club")
        with pytest.raises(InUse):
            await bench.auth.delete_user(bench.root, "ada")
        with pytest.raises(InUse):
            await bench.auth.delete_group(bench.root, "club")


async def test_groups_are_seen_by_members_and_changed_by_managers(bench):
    for name in ("ada", "bob", "eve"):
        await bench.user(name)
    ada, bob, eve = [await bench.principal(name) for name in ("ada", "bob", "eve")]
    club = await bench.auth.create_group(bench.root, "Chess Club")
    with pytest.raises(AlreadyExists):
        await bench.auth.create_group(bench.root, "chess club")
    await bench.auth.add_member(bench.root, "chess club", "ada", "manager")
    with pytest.raises(BadInput):
        await bench.auth.add_member(ada, club.id, "bob", "king")
    detail = await bench.auth.add_member(ada, club.id, bob.user_id)
    assert [(member.user_name, member.role) for member in detail.members] == [("ada", "manager"), ("bob", "member")]
    assert [group.name for group in await bench.auth.list_groups(bob)] == ["Chess Club"]
    assert await bench.auth.list_groups(eve) == []
    with pytest.raises(GroupNotFound):
        await bench.auth.get_group(eve, club.id)
    with pytest.raises(GroupNotFound):
        await bench.auth.add_member(eve, club.id, "eve")
    with pytest.raises(Forbidden):
        await bench.auth.add_member(bob, club.id, "eve")
    with pytest.raises(Forbidden):
        await bench.auth.remove_member(bob, club.id, "ada")
    with pytest.raises(UserNotFound):
        await bench.auth.remove_member(ada, club.id, "eve")
    with pytest.raises(UserNotFound):
        await bench.auth.add_member(ada, club.id, "nobody")
    await bench.auth.remove_member(bob, club.id, "bob")
    assert await bench.auth.list_groups(bob) == []
    await bench.auth.delete_group(bench.root, club.id)
    with pytest.raises(GroupNotFound):
        await bench.auth.get_group(bench.root, club.id)


async def test_a_change_of_groups_shows_in_the_next_request(bench):
    await bench.user("ada")
    pair = await bench.auth.login("ada", PASSWORD)
    club = await bench.auth.create_group(bench.root, "club")

    async def groups():
        return (await bench.auth.authenticate_token(pair.access_token)).groups

    assert await groups() == frozenset()
    await bench.auth.add_member(bench.root, club.id, "ada")
    assert await groups() == {club.id}
    await bench.auth.remove_member(bench.root, club.id, "ada")
    assert await groups() == frozenset()
    await bench.auth.add_member(bench.root, club.id, "ada")
    await groups()
    await bench.auth.delete_group(bench.root, club.id)
    assert await groups() == frozenset()


async def test_deleting_a_user_takes_every_credential(bench):
    await bench.user("ada")
    ada = await bench.principal("ada")
    app = await bench.auth.create_app_password(ada, "phone")
    pair = await bench.auth.login("ada", PASSWORD)
    await bench.auth.authenticate_token(pair.access_token)
    await bench.auth.authenticate_password("ada", app.secret)
    await bench.auth.delete_user(bench.root, ada.user_id)
    await bench.user("ada", "another meadow 7")
    with pytest.raises(InvalidToken):
        await bench.auth.authenticate_token(pair.access_token)
    with pytest.raises(InvalidToken):
        await bench.auth.refresh(pair.refresh_token)
    with pytest.raises(BadCredentials):
        await bench.auth.authenticate_password("ada", app.secret)


def test_the_hive_itself_is_an_administrator():
    internal_principal().require_admin()
