"""Shares: what a holder sees and may, what stays hidden, what becomes of shares when things move and go."""

from __future__ import annotations

import pytest

from skep.auth.groups import insert_group
from skep.auth.records import Principal
from skep.base.errors import (
    AlreadyExists,
    BadInput,
    CursorTooOld,
    Forbidden,
    GroupNotFound,
    InvalidCursor,
    InvalidPath,
    LimitReached,
    NameClash,
    NodeNotFound,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    ShareNotFound,
    SkepError,
    SpaceNotFound,
    UserNotFound,
)
from skep.base.ids import new_id
from skep.filesystem import BatchItem, Conditions, Limits, repair
from skep.filesystem.names import numbered_name
from skep.testing.files import SCOPES, admin, open_files, person, pieces


async def club(bench, name: str = "club"):
    def work(tx):
        group = insert_group(tx, name)
        bench.hooks.group_created(tx, group.id, name)
        return group.id

    return await bench.db.write(work)


class Village:
    """Ada owns /attic/photos (a.jpg, sub/b.jpg) and /attic/secret.txt; ben and eve are neighbours."""

    def __init__(self, bench) -> None:
        self.bench = bench
        self.files = bench.filesystem

    async def open(self) -> Village:
        self.ada, self.ben, self.eve = [await person(self.bench, name) for name in ("ada", "ben", "eve")]
        await self.bench.put(self.ada, "/attic/secret.txt", b"secret")
        self.a = (await self.bench.put(self.ada, "/attic/photos/a.jpg", b"aaa")).node
        self.b = (await self.bench.put(self.ada, "/attic/photos/sub/b.jpg", b"bbbb")).node
        self.photos = await self.files.by_path(self.ada, None, "/attic/photos")
        self.attic = await self.files.by_path(self.ada, None, "/attic")
        return self

    async def give(self, rights: str = "read", who=None, node=None, *, by=None, accept: bool = True, **more):
        """Share a node (the photos) with a user (ben); the id of the share."""
        who, by = who or self.ben, by or self.ada
        share, _ = await self.files.give_share(by, (node or self.photos).id, "user", who.name, rights, **more)
        if accept:
            await self.files.answer_share(who, share.id, accept=True)
        return share.id


@pytest.fixture
async def village(bench):
    return await Village(bench).open()


async def names(village, who, space_id, path="/", depth=9):
    node = await village.files.by_path(who, space_id, path)
    return [found.path for found in await village.files.listing(who, node.id, depth)]


async def test_an_accepted_share_is_a_space_from_the_shared_node_down(village):
    share_id = await village.give("read")
    files, ben = village.files, village.ben
    assert await names(village, ben, share_id) == ["/a.jpg", "/sub", "/sub/b.jpg"]
    assert await village.bench.get(ben, "/sub/b.jpg", share_id) == b"bbbb"
    space = next(space for space in await files.spaces(ben) if space.kind == "share")
    assert (space.id, space.name, space.root_id, space.rights) == (share_id, "photos", village.photos.id, "read")
    assert (space.quota_bytes, space.used_bytes) == (None, 7)


async def test_nothing_above_the_root_is_told(village):
    share_id = await village.give("write")
    files, ben = village.files, village.ben
    own = (await files.home(village.ada)).id
    root = await files.by_path(ben, share_id, "/")
    assert (root.parent_id, root.space_id, root.path) == (None, share_id, "/")
    found = [
        root,
        await files.by_id(ben, village.photos.id),
        await files.by_id(ben, village.b.id),
        *await files.listing(ben, root.id, 9),
        (await files.open_file(ben, village.a.id)).node,
        (await village.bench.put(ben, "/new", b"1", share_id)).node,
        await files.make_directory(ben, share_id, "/made"),
        await files.update(ben, village.a.id, attributes={"x": 1}),
        await files.move(ben, village.a.id, share_id, "/sub/a.jpg"),
        await files.copy(ben, village.a.id, share_id, "/sub/c.jpg"),
    ]
    for node in found:
        assert node.space_id == share_id
        assert "attic" not in node.path
        assert node.parent_id not in (village.attic.id, own)
    for call in (
        files.by_path(ben, share_id, "/../secret.txt"),
        files.by_path(ben, share_id, "/nothing"),
        files.move(ben, village.b.id, share_id, "/no/where"),
        files.move(ben, village.b.id, share_id, "/sub/a.jpg"),
        files.move(ben, village.photos.id, share_id, "/sub/x"),
        files.delete(ben, village.photos.id),
        files.make_directory(ben, share_id, "/sub/a.jpg/x"),
        village.bench.put(ben, "/sub", b"", share_id),
        files.update(ben, village.photos.id, name="mine"),
    ):
        with pytest.raises(SkepError) as caught:
            await call
        assert "attic" not in str(caught.value)
        assert "attic" not in str(getattr(caught.value, "details", ""))
    for call in (files.by_id(ben, village.attic.id), files.by_path(ben, own, "/attic"), files.space(ben, own)):
        with pytest.raises(NotFound):
            await call
    changes = await files.changes(ben, share_id, None)
    assert changes.changes
    assert not [one for one in changes.changes if "attic" in one.path + (one.old_path or "")]
    assert {one.space_id for one in changes.changes} == {share_id}


READS = ("by_path", "by_id", "listing", "open", "versions", "changes", "copy_out", "tag")
WRITES = ("rename", "move", "copy_in", "mkdir", "delete", "overwrite", "restore_version", "restore_trash")
CREATES = ("put", "batch")
OWNERS = ("purge", "delete_for_good", "delete_version", "empty_trash", "share_on", "list_given")
STATES = ("stranger", "pending", "declined", "read", "write", "upload")


async def attempt(village, share_id, verb: str) -> None:
    """One verb of ben's on what ada shared, or did not."""
    files, ben, node_id = village.files, village.ben, village.a.id
    verbs = {
        "by_path": lambda: files.by_path(ben, share_id, "/a.jpg"),
        "by_id": lambda: files.by_id(ben, node_id),
        "listing": lambda: files.listing(ben, village.photos.id),
        "open": lambda: files.open_file(ben, node_id),
        "versions": lambda: files.versions(ben, node_id),
        "changes": lambda: files.changes(ben, share_id, None),
        "copy_out": lambda: files.copy(ben, node_id, None, "/mine.jpg"),
        "tag": lambda: files.set_tags(ben, node_id, ["t"]),
        "rename": lambda: files.update(ben, node_id, name="b.jpg"),
        "move": lambda: files.move(ben, node_id, None, "/moved.jpg"),
        "copy_in": lambda: files.copy(ben, village.own.id, share_id, "/own.txt"),
        "mkdir": lambda: files.make_directory(ben, share_id, "/dir"),
        "delete": lambda: files.delete(ben, node_id),
        "overwrite": lambda: village.bench.put(
            ben, "/a.jpg", b"2", share_id, conditions=Conditions(if_match=(village.a.etag,))
        ),
        "restore_version": lambda: files.restore_version(ben, node_id, 1),
        "restore_trash": lambda: files.restore_from_trash(ben, village.trashed.id),
        "put": lambda: village.bench.put(ben, "/new.jpg", b"new", share_id),
        "batch": lambda: files.write_batch(ben, share_id, [BatchItem("/sub/new.jpg", b"new")]),
        "purge": lambda: files.purge(ben, village.trashed.id),
        "delete_for_good": lambda: files.delete(ben, node_id, permanently=True),
        "delete_version": lambda: files.delete_version(ben, village.two.id, 1),
        "empty_trash": lambda: files.empty_trash(ben, share_id),
        "share_on": lambda: files.give_share(ben, node_id, "user", "eve", "read"),
        "list_given": lambda: files.shares_given(ben, (village.own_space).id),
    }
    await verbs[verb]()


@pytest.mark.parametrize("state", STATES)
async def test_who_may_what(village, state):
    village.own = (await village.bench.put(village.ben, "/own.txt", b"own")).node
    village.two = (await village.bench.put(village.ada, "/attic/photos/two", b"1")).node
    await village.bench.put(village.ada, "/attic/photos/two", b"2")
    village.own_space = await village.files.home(village.ada)
    share_id = new_id()
    if state != "stranger":
        rights = state if state in ("read", "write", "upload") else "write"
        share_id = await village.give(rights, accept=state in ("read", "write", "upload"))
    if state == "declined":
        await village.files.answer_share(village.ben, share_id, accept=False)
    allowed = {"read": READS, "write": (*READS, *WRITES, *CREATES), "upload": CREATES}.get(state, ())
    for verb in (*READS, *CREATES, *OWNERS, *(verb for verb in WRITES if verb != "move"), "move"):
        village.a = (await village.bench.put(village.ada, "/attic/photos/a.jpg", b"aaa")).node
        village.trashed = (await village.bench.put(village.ada, "/attic/photos/gone", b"g")).node
        await village.files.delete(village.ada, village.trashed.id)
        if verb in allowed:
            await attempt(village, share_id, verb)
            continue
        with pytest.raises((NotFound, Forbidden, PreconditionFailed)) as caught:
            await attempt(village, share_id, verb)
        if state in ("stranger", "pending", "declined"):
            assert isinstance(caught.value, NotFound), verb
    assert await village.bench.findings() == []


async def test_uploads_never_meet_what_is_there(village):
    share_id = await village.give("upload")
    ben = village.ben
    first = await village.bench.put(ben, "/a.jpg", b"other", share_id)
    again = await village.bench.put(ben, "/a.jpg", b"third", share_id, length=5)
    assert (first.created, first.node.path, again.node.path) == (True, "/a (2).jpg", "/a (3).jpg")
    made = await village.files.write_batch(ben, share_id, [BatchItem("/a.jpg", b"4"), BatchItem("/sub/b.jpg", b"5")])
    assert [one.node.path for one in made] == ["/a (4).jpg", "/sub/b (2).jpg"]
    assert await village.bench.get(village.ada, "/attic/photos/a.jpg") == b"aaa"
    assert await village.bench.get(village.ada, "/attic/photos/a (3).jpg") == b"third"
    for call in (
        village.files.by_id(ben, first.node.id),
        village.files.open_file(ben, first.node.id),
        village.files.listing(ben, village.photos.id),
    ):
        with pytest.raises(NodeNotFound):
            await call
    space = await village.files.space(ben, share_id)
    assert (space.used_bytes, space.rights) == (0, "upload")


def test_numbered_names():
    assert [numbered_name("a.txt", n) for n in (1, 2)] == ["a (restored).txt", "a (restored 2).txt"]
    assert numbered_name("a.txt", 2, "") == "a (2).txt"


async def test_a_shared_file_is_a_root_that_is_a_file(village):
    share_id = await village.give("write", node=village.a)
    files, ben = village.files, village.ben
    root = await files.by_path(ben, share_id, "/")
    assert (root.id, root.kind, root.name, root.parent_id) == (village.a.id, "file", "a.jpg", None)
    result = await village.bench.put(ben, "/", b"new", share_id)
    assert (result.created, result.node.path, result.version.number) == (False, "/", 2)
    small = await files.write_file(ben, share_id, "/", pieces(b"newer"), length=5)
    assert (small.node.id, small.version.number) == (village.a.id, 3)
    assert await village.bench.get(village.ada, "/attic/photos/a.jpg") == b"newer"
    assert [change.path for change in (await files.changes(ben, share_id, None)).changes] == ["/", "/"]
    journal = (await files.changes(village.ada, None, None)).changes
    assert [one.path for one in journal if one.kind == "updated"] == ["/attic/photos/a.jpg"] * 2
    with pytest.raises(NameClash):
        await village.bench.put(ben, "/x", b"", share_id)
    with pytest.raises(NotFound):
        await files.by_path(ben, share_id, "/x")
    with pytest.raises(NotFound):
        await files.by_id(ben, village.b.id)
    with pytest.raises(BadInput):
        await village.give("upload", village.eve, village.a)
    assert await village.bench.findings() == []


async def test_the_owner_pays_and_hears_who_did_it(village):
    share_id = await village.give("write")
    before = (await village.files.home(village.ada)).used_bytes
    await village.bench.put(village.ben, "/deep/new", b"12345", share_id)
    assert (await village.files.home(village.ada)).used_bytes == before + 5
    assert (await village.files.home(village.ben)).used_bytes == 0
    last = (await village.files.changes(village.ada, None, None)).changes[-1]
    assert (last.path, last.actor_id, last.kind) == ("/attic/photos/deep/new", village.ben.user_id, "created")
    assert (await village.files.by_path(village.ada, None, "/attic")).size_bytes == 6 + 7 + 5
    await village.files.set_quota(admin(), (await village.files.home(village.ada)).id, before + 6)
    for body in (b"1234567", b"x" * 300_000):
        with pytest.raises(QuotaExceeded) as caught:
            await village.bench.put(village.ben, "/more", body, share_id, length=len(body))
        assert str(before) not in str(caught.value)
        assert not {"used_bytes", "quota_bytes", "free_bytes"} & set(caught.value.details)


async def test_the_share_moves_hides_and_comes_back_with_its_node(village):
    share_id = await village.give("write")
    files, ada, ben = village.files, village.ada, village.ben
    cursor = (await files.space(ben, share_id)).cursor
    await files.make_directory(ada, None, "/other")
    await files.move(ada, village.attic.id, None, "/other/place")
    assert await names(village, ben, share_id) == ["/a.jpg", "/sub", "/sub/b.jpg"]
    with pytest.raises(CursorTooOld):
        await files.changes(ben, share_id, cursor)
    cursor = (await files.space(ben, share_id)).cursor
    await village.bench.put(ben, "/new", b"1", share_id)
    assert [one.path for one in (await files.changes(ben, share_id, cursor)).changes] == ["/new"]
    assert await village.bench.get(ada, "/other/place/photos/new") == b"1"
    await files.delete(ada, village.attic.id)
    for call in (files.space(ben, share_id), files.by_id(ben, village.a.id), files.changes(ben, share_id, cursor)):
        with pytest.raises(NotFound):
            await call
    assert [space.kind for space in await files.spaces(ben)] == ["personal"]
    assert await files.shares_held(ben) == []
    given = (await files.shares_given(ada))[0]
    assert (given.id, given.path) == (share_id, None)
    await files.restore_from_trash(ada, village.attic.id)
    assert await village.bench.get(ben, "/a.jpg", share_id) == b"aaa"
    with pytest.raises(CursorTooOld):
        await files.changes(ben, share_id, cursor)
    assert (await files.shares_given(ada))[0].path == "/other/place/photos"


async def test_moves_out_and_in_are_told_as_going_and_coming(village):
    share_id = await village.give("read")
    files, ada, ben = village.files, village.ada, village.ben
    cursor = (await files.space(ben, share_id)).cursor
    await files.move(ada, village.a.id, None, "/attic/a.jpg")
    secret = await files.by_path(ada, None, "/attic/secret.txt")
    await files.move(ada, secret.id, None, "/attic/photos/known.txt")
    await files.move(ada, secret.id, None, "/attic/photos/sub/known.txt")
    await village.bench.put(ada, "/attic/photos2/like", b"not inside")
    page = await files.changes(ben, share_id, cursor)
    assert [(one.kind, one.path, one.old_path) for one in page.changes] == [
        ("deleted", "/a.jpg", None),
        ("moved", "/known.txt", None),
        ("moved", "/sub/known.txt", "/known.txt"),
    ]
    assert not page.more
    page = await files.changes(ben, share_id, cursor, limit=1)
    assert (len(page.changes), page.more) == (1, True)
    rest = await files.changes(ben, share_id, page.cursor)
    assert [one.path for one in rest.changes] == ["/known.txt", "/sub/known.txt"]
    with pytest.raises(InvalidCursor):
        await files.changes(ben, share_id, (await files.home(ada)).cursor)


async def test_waiting_for_changes_of_a_share_skips_those_outside(village):
    import asyncio

    share_id = await village.give("read")
    files, ben = village.files, village.ben
    cursor = (await files.space(ben, share_id)).cursor
    waiting = asyncio.create_task(files.changes(ben, share_id, cursor, timeout_s=60))
    await village.bench.put(village.ada, "/attic/outside", b"1")
    await village.bench.put(village.ada, "/attic/photos/inside", b"1")
    async with asyncio.timeout(30):
        page = await waiting
    assert [one.path for one in page.changes] == ["/inside"]
    waiting = asyncio.create_task(files.changes(ben, share_id, page.cursor, timeout_s=60))
    await asyncio.sleep(0.05)  # the waiter must be waiting when its share is taken back
    await files.revoke_share(village.ada, share_id)
    await village.bench.put(village.ada, "/attic/photos/late", b"1")
    with pytest.raises(SpaceNotFound):
        async with asyncio.timeout(30):
            await waiting


async def test_rights_add_up_and_the_strongest_counts_by_id(village):
    outer = await village.give("read")
    sub = await village.files.by_path(village.ada, None, "/attic/photos/sub")
    inner = await village.give("write", node=sub)
    files, ben = village.files, village.ben
    assert (await files.by_id(ben, village.b.id)).space_id == inner
    assert (await files.by_id(ben, village.a.id)).space_id == outer
    assert (await files.update(ben, village.b.id, name="c.jpg")).path == "/c.jpg"
    with pytest.raises(Forbidden):
        await files.update(ben, village.a.id, name="c.jpg")
    with pytest.raises(Forbidden):
        await village.bench.put(ben, "/sub/new", b"", outer)
    moved = await files.move(ben, village.b.id, inner, "/d.jpg")
    assert moved.path == "/d.jpg"


async def test_the_trash_of_a_share_is_what_went_from_inside_it(village):
    share_id = await village.give("write")
    files, ada, ben = village.files, village.ada, village.ben
    await files.delete(ben, village.b.id)
    await files.delete(ada, (await files.by_path(ada, None, "/attic/secret.txt")).id)
    entries = await files.trash(ben, share_id)
    assert [(one.node_id, one.path, one.space_id) for one in entries] == [(village.b.id, "/sub/b.jpg", share_id)]
    assert {one.path for one in await files.trash(ada)} == {"/attic/photos/sub/b.jpg", "/attic/secret.txt"}
    back = await files.restore_from_trash(ben, village.b.id)
    assert (back.path, back.space_id) == ("/sub/b.jpg", share_id)
    secret = (await files.trash(ada))[0].node_id
    with pytest.raises(NodeNotFound):
        await files.restore_from_trash(ben, secret)
    with pytest.raises(NodeNotFound):
        await files.restore_from_trash(ben, secret, "/stolen")
    await files.delete(ben, village.b.id)
    elsewhere = await files.restore_from_trash(ben, village.b.id, "/here.jpg")
    assert (await files.by_id(ada, village.b.id)).path == "/attic/photos/here.jpg" != elsewhere.path == "/here.jpg"


async def test_moving_to_another_space_needs_rights_at_both_ends_and_ends_shares(village):
    share_id = await village.give("write")
    await village.give("read", village.eve, village.b)
    files, ada, ben, eve = village.files, village.ada, village.ben, village.eve
    with pytest.raises(NotFound):
        await files.move(ben, village.a.id, (await files.home(ada)).id, "/a.jpg")
    mine = await files.move(ben, village.b.id, None, "/taken.jpg")
    assert mine.space_id == (await files.home(ben)).id
    assert await files.shares_held(eve) == []
    with pytest.raises(NotFound):
        await files.by_id(eve, village.b.id)
    back = await files.move(ben, village.b.id, share_id, "/sub/back.jpg")
    assert (back.path, back.space_id) == ("/sub/back.jpg", share_id)
    assert await village.bench.findings() == []


async def test_passing_on_only_when_allowed_and_never_more_than_one_has(village):
    files, ben, eve = village.files, village.ben, village.eve
    dan = await person(village.bench, "dan")
    share_id = await village.give("read")
    with pytest.raises(Forbidden, match="not to pass on"):
        await village.give("read", eve, by=ben)
    await files.change_share(village.ada, share_id, may_share=True)
    with pytest.raises(Forbidden, match="only pass on what you may"):
        await village.give("write", eve, by=ben)
    passed = await village.give("read", eve, village.b, by=ben, may_share=True)
    third = await village.give("read", dan, village.b, by=eve)
    assert [one.id for one in await files.shares_given(ben, share_id)] == [passed, third]
    assert [one.path for one in await files.shares_given(ben, share_id)] == ["/sub/b.jpg"] * 2
    assert {one.id for one in await files.shares_given(village.ada)} == {share_id, passed, third}
    with pytest.raises(ShareNotFound):
        await files.revoke_share(eve, passed)
    with pytest.raises(ShareNotFound):
        await files.change_share(eve, share_id, rights="write")
    with pytest.raises(AlreadyExists):
        await village.give("read", dan, village.b, by=ben)
    await files.revoke_share(village.ada, share_id)
    for who in (ben, eve, dan):
        assert await files.shares_held(who) == []
        with pytest.raises(NotFound):
            await files.by_id(who, village.b.id)


async def test_what_was_passed_on_ends_with_what_it_came_from(village):
    files, ada, ben, eve = village.files, village.ada, village.ben, village.eve
    share_id = await village.give("write", may_share=True)
    passed = await village.give("write", eve, village.b, by=ben)
    # Its node leaves what ben holds: what ben passed on is worth nothing there.
    await files.move(ada, village.b.id, None, "/attic/b.jpg")
    with pytest.raises(NotFound):
        await files.by_id(eve, village.b.id)
    assert await files.shares_held(eve) == []
    await files.move(ada, village.b.id, None, "/attic/photos/b.jpg")
    assert (await files.by_id(eve, village.b.id)).space_id == passed
    await files.change_share(ada, share_id, rights="read")
    assert await files.shares_held(eve) == []
    passed = await village.give("read", eve, village.b, by=ben)
    await files.change_share(ada, share_id, may_share=False)
    assert await files.shares_held(eve) == []
    await files.change_share(ada, share_id, may_share=True)
    await village.give("read", eve, village.b, by=ben)
    await files.answer_share(ben, share_id, accept=False)
    assert await files.shares_held(eve) == []


async def test_names_are_the_holders_own(village):
    files, ben = village.files, village.ben
    first = await village.give("read")
    other = await village.bench.put(village.eve, "/photos/x", b"x")
    eves, _ = await files.give_share(village.eve, other.node.parent_id, "user", "ben", "read")
    held = {one.id: one for one in await files.shares_held(ben)}
    assert (held[eves.id].state, held[eves.id].name, held[eves.id].owner) == ("pending", "photos", "eve")
    assert (await files.answer_share(ben, eves.id, accept=True)).name == "photos (eve)"
    with pytest.raises(NameClash):
        await files.answer_share(ben, eves.id, name="PHOTOS")
    assert (await files.answer_share(ben, eves.id, name="Eve's")).name == "Eve's"
    assert [space.name for space in await files.spaces(ben)] == ["ben", "Eve's", "photos"]
    assert (await files.answer_share(ben, first, accept=True)).name == "photos"
    third, _ = await files.give_share(village.ada, village.b.id, "user", "ben", "read")
    with pytest.raises(BadInput):
        await files.answer_share(ben, third.id, name="before accepting")


async def test_groups_hold_shares_and_each_member_answers(village):
    files = village.files
    group = await club(village.bench)
    cleo = await person(village.bench, "cleo", (group, "member"))
    dora = await person(village.bench, "dora", (group, "manager"))
    with pytest.raises(GroupNotFound):
        await files.give_share(village.ada, village.photos.id, "group", "club", "read")
    mine = (await village.bench.put(cleo, "/notes/n", b"n")).node
    with pytest.raises(BadInput):
        await files.give_share(cleo, mine.parent_id, "group", "club", "read", may_share=True)
    share, _ = await files.give_share(cleo, mine.parent_id, "group", "club", "read")
    assert share.state is None
    with pytest.raises(SpaceNotFound):
        await files.space(dora, share.id)
    await files.answer_share(dora, share.id, accept=True, name="Cleo's notes")
    assert await village.bench.get(dora, "/n", share.id) == b"n"
    assert [one.state for one in await files.shares_held(dora)] == ["accepted"]
    outsider = Principal(dora.user_id, "dora", False, frozenset(), SCOPES, "token")
    with pytest.raises(NotFound):
        await files.by_id(outsider, mine.id)
    # In a group's space only its managers share.
    space = next(space for space in await files.spaces(cleo) if space.kind == "group")
    theirs = (await village.bench.put(cleo, "/plan", b"p", space.id)).node
    with pytest.raises(Forbidden):
        await files.give_share(cleo, theirs.id, "user", "ben", "read")
    with pytest.raises(BadInput):
        await files.give_share(dora, theirs.id, "user", "cleo", "read")
    given, _ = await files.give_share(dora, theirs.id, "user", "ben", "read")
    assert (await files.shares_on(dora, theirs.id))[0].id == given.id
    assert await files.shares_on(cleo, theirs.id) == []
    with pytest.raises(Forbidden):
        await files.shares_given(cleo, space.id)


async def test_giving_again_changes_the_rights_and_nonsense_is_refused(village):
    files, ada = village.files, village.ada
    share_id = await village.give("read")
    again, is_new = await files.give_share(ada, village.photos.id, "user", "BEN", "write")
    assert (again.id, is_new, again.rights, again.state) == (share_id, False, "write", "accepted")
    with pytest.raises(BadInput):
        await files.give_share(ada, village.photos.id, "user", "ada", "read")
    with pytest.raises(UserNotFound):
        await files.give_share(ada, village.photos.id, "user", "nobody", "read")
    with pytest.raises(NotFound):
        await files.give_share(village.eve, village.photos.id, "user", "ben", "read")
    with pytest.raises(BadInput):
        await files.give_share(ada, village.photos.id, "user", "ben", "everything")
    with pytest.raises(InvalidPath):
        await files.delete(village.ben, village.photos.id)
    assert [one.principal_name for one in await files.shares_on(ada, village.b.id)] == ["ben"]
    assert await files.shares_on(village.ben, village.b.id) == []


async def test_shares_end_with_users_groups_nodes_and_spaces(village):
    files, bench = village.files, village.bench
    group = await club(bench)
    cleo = await person(bench, "cleo", (group, "manager"))
    share_id = await village.give("write", may_share=True)
    await village.give("read", village.eve, by=village.ben)
    note = (await bench.put(cleo, "/n", b"n")).node
    await files.give_share(cleo, note.id, "group", "club", "read")

    def left(tx):
        from sqlalchemy import func, select

        from skep.db import prepared
        from skep.db import schema as s

        return [tx.value(prepared(select(func.count()).select_from(table))) for table in (s.shares, s.share_holders)]

    assert await bench.read(left) == [3, 2]
    await bench.db.write(lambda tx: bench.hooks.user_deleting(tx, village.ben.user_id, "ben"))
    assert await bench.read(left) == [1, 0]
    await bench.db.write(lambda tx: bench.hooks.group_deleting(tx, group, "club"))
    assert await bench.read(left) == [0, 0]
    share_id = await village.give("read", village.eve)
    await files.delete(village.ada, village.attic.id, permanently=True)
    assert await bench.read(left) == [0, 0]
    with pytest.raises(SpaceNotFound):
        await files.space(village.eve, share_id)
    root = (await files.home(village.ada)).root_id
    await files.give_share(village.ada, root, "user", "eve", "read")
    await bench.db.write(lambda tx: bench.hooks.user_deleting(tx, village.ada.user_id, "ada"))
    assert await bench.read(left) == [0, 0]


async def test_a_whole_space_can_be_shared(village):
    root = await village.files.by_path(village.ada, None, "/")
    share_id = await village.give("write", node=root)
    assert (await village.files.space(village.ben, share_id)).name == "ada"
    assert await village.bench.get(village.ben, "/attic/secret.txt", share_id) == b"secret"
    await village.bench.put(village.ben, "/top", b"t", share_id)
    assert (await village.files.changes(village.ben, share_id, None)).changes[-1].path == "/top"
    with pytest.raises(InvalidPath):
        await village.files.delete(village.ben, root.id)


async def test_limits_of_shares(tmp_path):
    limits = Limits(shares_of_node_max=1, shares_of_space_max=2, shares_of_one_max=1, depth_max=6)
    async with open_files(tmp_path, limits) as bench:
        village = await Village(bench).open()
        share_id = await village.give("write")
        with pytest.raises(LimitReached, match="one file or directory"):
            await village.give("read", village.eve)
        with pytest.raises(LimitReached, match="given to one user"):
            await village.give("read", village.ben, village.a)
        await village.give("read", village.eve, village.a)
        with pytest.raises(LimitReached, match="in one space"):
            await village.give("read", village.eve, village.b)
        await bench.put(village.ben, "/1/2/3/4", b"", share_id)
        with pytest.raises(InvalidPath, match="too deep"):
            await bench.put(village.ben, "/1/2/3/x/5", b"", share_id)


async def test_the_check_finds_shares_of_nothing(village):
    share_id = await village.give("read")

    def break_it(tx):
        import sqlalchemy as sa

        from skep.db import prepared
        from skep.db import schema as s

        tx.run(prepared(sa.update(s.shares).values(node_id=sa.bindparam("other"))), {"other": new_id()})

    await village.bench.db.write(break_it)
    found = await village.bench.findings()
    assert [one.check for one in found] == ["share"]
    assert await repair(village.bench.db) == 1
    assert await village.bench.findings() == []
    with pytest.raises(ShareNotFound):
        await village.files.share_held(village.ben, share_id)


async def test_shares_tell_operators(village):
    with village.files.books.log.hub.subscribe_events() as news:
        share_id = await village.give("read")
        await village.files.revoke_share(village.ada, share_id)
        kinds = [(await news.get()).kind() for _ in range(3)]
    assert kinds == ["share-given", "share-answered", "share-ended"]
