"""The audit log: what is in it, who may read it, and that tampering shows."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from skep.auth import AuditHead
from skep.auth.audit import prune
from skep.base.errors import BadCredentials, BadInput, Forbidden
from skep.db import prepared
from skep.db.schema_signin import audit_ends, audit_entries
from skep.events.records import AuditNoted
from skep.testing.accounts import PASSWORD, open_auth


async def actions(bench, **asked) -> list[str]:
    return [entry.action for entry in reversed(await bench.auth.list_audit(bench.root, **asked))]


async def busy(bench) -> None:
    """Some history: eight entries."""
    ada = await bench.user("ada")
    principal = await bench.principal("ada")
    await bench.auth.create_group(bench.root, "Engines")
    await bench.auth.add_member(bench.root, "Engines", ada.id)
    with pytest.raises(BadCredentials):
        await bench.auth.login("ada", "wrong password", address="192.0.2.7")
    await bench.auth.create_app_password(principal, "phone")
    await bench.auth.update_user(bench.root, "ada", is_admin=True)
    await bench.auth.logout(principal)


HISTORY = [
    "user-created",
    "login",
    "group-created",
    "member-added",
    "login-failed",
    "app-password-made",
    "user-changed",
    "logout",
]


async def test_it_says_who_did_what_to_whom(bench):
    told = []
    bench.auth.tell = lambda kind, **fields: told.append((kind, fields["number"], fields["action"]))
    await busy(bench)
    assert await actions(bench) == HISTORY
    assert told == [(AuditNoted, number + 1, action) for number, action in enumerate(HISTORY)]
    entries = {entry.action: entry for entry in await bench.auth.list_audit(bench.root)}
    added = entries["member-added"]
    assert (added.actor.name, added.subject.name, added.facts["group"]) == ("hive", "ada", "Engines")
    failed = entries["login-failed"]
    assert (failed.actor.name, failed.subject.name, failed.address) == ("", "ada", "192.0.2.7")
    assert entries["user-changed"].facts == {"is_admin": True, "password": False}
    assert await actions(bench, action="login") == ["login"]
    assert await actions(bench, user="ada") == [name for name in HISTORY if name != "group-created"]


async def test_what_is_undone_leaves_no_entry(bench):
    await busy(bench)
    with pytest.raises(BadInput):
        await bench.auth.add_member(bench.root, "Engines", "ada", role="emperor")
    assert await actions(bench) == HISTORY
    assert (await bench.auth.verify_audit(bench.root)).broken_at is None


async def test_no_secret_and_no_mistyped_name_gets_in(bench):
    await busy(bench)
    with pytest.raises(BadCredentials):
        await bench.auth.login("my secret password 1", "oops")
    newest = (await bench.auth.list_audit(bench.root, limit=1))[0]
    assert (newest.action, newest.subject.name, newest.facts) == ("login-failed", "", {})
    text = repr(await bench.auth.list_audit(bench.root))
    assert PASSWORD not in text
    assert "my secret" not in text


async def test_failures_cannot_fill_the_disk(bench):
    for number in range(100):
        with pytest.raises(BadCredentials):
            await bench.auth.login(f"nobody{number}", "wrong password", address=f"2001:db8:{number:x}::1")
    assert len(await bench.auth.list_audit(bench.root)) == 60
    await bench.clock.advance(5)
    with pytest.raises(BadCredentials):
        await bench.auth.login("nobody", "wrong password", address="192.0.2.1")
    assert len(await bench.auth.list_audit(bench.root)) == 61


async def test_people_see_what_concerns_them(bench):
    await busy(bench)
    await bench.user("bob")
    bob = await bench.principal("bob")
    assert [entry.action for entry in await bench.auth.list_audit(bob)] == ["login", "user-created"]
    for asked in ({"user": "ada"}, {"user": "nobody"}):
        with pytest.raises(Forbidden):
            await bench.auth.list_audit(bob, **asked)
    with pytest.raises(Forbidden):
        await bench.auth.verify_audit(bob)
    with pytest.raises(BadInput):
        await bench.auth.list_audit(bob, action="login")


async def test_pages_follow_each_other(bench):
    await busy(bench)
    seen, before = [], None
    while page := await bench.auth.list_audit(bench.root, before=before, limit=3):
        seen += [entry.number for entry in page]
        before = seen[-1]
    assert seen == list(range(8, 0, -1))


def change(number: int, **values):
    return prepared(sa.update(audit_entries).where(audit_entries.c.number == number).values(**values))


@pytest.mark.parametrize(
    ("damage", "at"),
    [
        (change(3, actor="somebody"), 3),
        (change(5, at_us=1), 5),
        (change(4, facts='{"group": "Others"}'), 4),
        (change(6, subject_id=None), 6),
        (change(2, address="192.0.2.99"), 2),
        (change(7, hash=bytes(32)), 7),
        (prepared(sa.delete(audit_entries).where(audit_entries.c.number == 4)), 4),
        (prepared(sa.delete(audit_entries).where(audit_entries.c.number == 8)), 8),
        (prepared(sa.delete(audit_entries).where(audit_entries.c.number <= 2)), 1),
        (prepared(sa.update(audit_ends).where(audit_ends.c.name == "head").values(number=7)), 8),
    ],
)
async def test_every_change_behind_its_back_shows(bench, damage, at):
    await busy(bench)
    whole = await bench.auth.verify_audit(bench.root)
    assert (whole.entries, whole.broken_at) == (8, None)
    await bench.db.write(lambda tx: tx.run(damage))
    assert (await bench.auth.verify_audit(bench.root)).broken_at == at


async def test_a_noted_head_shows_that_the_end_was_cut_off(bench):
    await busy(bench)
    head = (await bench.auth.verify_audit(bench.root)).head
    seventh = next(entry for entry in await bench.auth.list_audit(bench.root) if entry.number == 7)
    assert (await bench.auth.verify_audit(bench.root, head)).broken_at is None

    def cut(tx) -> None:
        tx.run(prepared(sa.delete(audit_entries).where(audit_entries.c.number > 7)))
        ends = sa.update(audit_ends).where(audit_ends.c.name == "head")
        tx.run(prepared(ends.values(number=7, hash=sa.bindparam("link"))), {"link": seventh.hash})

    await bench.db.write(cut)
    assert (await bench.auth.verify_audit(bench.root)).broken_at is None  # by itself it cannot know
    assert (await bench.auth.verify_audit(bench.root, head)).broken_at == 8
    await bench.user("zoe")
    rewritten = await bench.auth.verify_audit(bench.root, head)
    assert rewritten.broken_at == 8
    assert "anew" in rewritten.reason
    assert (await bench.auth.verify_audit(bench.root, AuditHead(7, seventh.hash))).broken_at is None


async def test_old_entries_go_from_the_old_end_and_the_rest_still_holds(tmp_path):
    async with open_auth(tmp_path, audit_s=100.0) as bench:
        await busy(bench)
        bench.clock.jump(200)
        await bench.user("zoe")
        assert (await bench.auth.maintain()).audit_entries == 8
        left = await bench.auth.verify_audit(bench.root)
        assert (left.entries, left.head.number, left.broken_at) == (1, 9, None)
        assert await bench.db.write(lambda tx: prune(tx, before_us=tx.now_us - 100_000_000)) == 0
        await bench.db.write(lambda tx: tx.run(change(9, actor="somebody")))
        assert (await bench.auth.verify_audit(bench.root)).broken_at == 9
