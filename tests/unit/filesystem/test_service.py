from __future__ import annotations

import hashlib

import pytest

from skep.base.errors import (
    BodyTooLarge,
    ChecksumMismatch,
    Forbidden,
    InUse,
    InvalidPath,
    LengthMismatch,
    MalformedRequest,
    NameClash,
    NodeNotFound,
    PreconditionFailed,
    QuotaExceeded,
    SkepError,
    SpaceNotFound,
    VersionNotFound,
)
from skep.base.ids import new_id
from skep.filesystem import BatchItem, Conditions, Limits
from skep.testing.files import admin, open_files, pieces


async def names(bench, who, path="/", **more):
    node = await bench.filesystem.by_path(who, None, path)
    return [entry.path for entry in await bench.filesystem.listing(who, node.id, **more)]


async def test_what_was_written_is_read_back(bench, ada):
    body = bytes(range(256)) * 20_000
    result = await bench.put(ada, "/a/b/c.bin", body)
    assert result.created
    assert await bench.get(ada, "/a/b/c.bin") == body
    assert result.node.size_bytes == len(body)
    opened = await bench.filesystem.open_file(ada, result.node.id)
    assert b"".join([part async for part in opened.read(100_000, 9)]) == body[100_000:100_009]
    assert await bench.findings() == []


async def test_an_empty_file_is_a_file(bench, ada):
    result = await bench.put(ada, "/empty", b"")
    assert await bench.get(ada, "/empty") == b""
    assert result.version.sha256 == hashlib.sha256().digest()


async def test_a_new_content_is_a_new_version(bench, ada):
    first = await bench.put(ada, "/a.txt", b"one")
    second = await bench.put(ada, "/a.txt", b"two")
    assert not second.created
    assert second.node.id == first.node.id
    assert second.node.etag != first.node.etag
    listed = await bench.filesystem.versions(ada, first.node.id)
    assert [(one.number, one.is_current) for one in listed] == [(2, True), (1, False)]
    assert await bench.get(ada, "/a.txt", version=1) == b"one"
    with pytest.raises(VersionNotFound):
        await bench.filesystem.open_file(ada, first.node.id, 3)


async def test_equal_content_has_an_equal_etag(bench, ada):
    one = await bench.put(ada, "/a", b"same")
    two = await bench.put(ada, "/b", b"same")
    assert one.node.etag == two.node.etag


async def test_the_etags_of_all_directories_above_change_and_of_no_other(bench, ada):
    await bench.put(ada, "/a/b/f", b"1")
    await bench.put(ada, "/z/f", b"1")
    before = {path: (await bench.filesystem.by_path(ada, None, path)).etag for path in ("/", "/a", "/a/b", "/z")}
    await bench.put(ada, "/a/b/f", b"2")
    after = {path: (await bench.filesystem.by_path(ada, None, path)).etag for path in ("/", "/a", "/a/b", "/z")}
    assert [path for path in before if before[path] != after[path]] == ["/", "/a", "/a/b"]


async def test_directories_have_the_size_of_all_that_is_below(bench, ada):
    await bench.put(ada, "/a/b/f", b"12345")
    await bench.put(ada, "/a/g", b"123")
    assert (await bench.filesystem.by_path(ada, None, "/a")).size_bytes == 8
    assert (await bench.filesystem.by_path(ada, None, "/")).size_bytes == 8
    await bench.put(ada, "/a/b/f", b"1")
    assert (await bench.filesystem.by_path(ada, None, "/")).size_bytes == 4
    assert (await bench.filesystem.home(ada)).used_bytes == 9


class TestBodies:
    async def test_shorter_or_longer_than_declared(self, bench, ada):
        for length in (4, 6):
            with pytest.raises(LengthMismatch):
                await bench.put(ada, "/f", b"12345", length=length)
        assert await names(bench, ada) == []

    async def test_another_digest_than_declared(self, bench, ada):
        good = hashlib.sha1(b"12345").digest()
        await bench.put(ada, "/f", b"12345", expected_digests={"sha1": good})
        with pytest.raises(ChecksumMismatch):
            await bench.put(ada, "/f", b"12346", expected_digests={"sha1": good})
        with pytest.raises(MalformedRequest):
            await bench.put(ada, "/f", b"12345", expected_digests={"crc32": b"1234"})
        assert await bench.get(ada, "/f") == b"12345"

    async def test_larger_than_any_file_may_be(self, tmp_path):
        async with open_files(tmp_path, Limits(file_bytes_max=10)) as bench:
            ada = await bench.user("ada")
            with pytest.raises(BodyTooLarge):
                await bench.put(ada, "/f", b"12345678901")
            with pytest.raises(BodyTooLarge):
                await bench.put(ada, "/f", b"1", length=11)

    async def test_a_stream_that_breaks_off_leaves_the_file_as_it_was(self, bench, ada):
        await bench.put(ada, "/f", b"old")

        async def broken():
            yield b"new"
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await bench.filesystem.write_file(ada, None, "/f", broken())
        assert await bench.get(ada, "/f") == b"old"
        assert len(await bench.filesystem.versions(ada, (await bench.filesystem.by_path(ada, None, "/f")).id)) == 1

    async def test_digests_of_small_bodies_are_known_at_once(self, bench, ada):
        small = await bench.put(ada, "/small", b"12345")
        assert small.node.md5 == hashlib.md5(b"12345").digest()
        large = await bench.put(ada, "/large", bytes(3 << 20))
        assert large.node.md5 is None


class TestConditions:
    async def test_if_none_match_star_creates_only(self, bench, ada):
        fresh = Conditions(if_none_match=("*",))
        await bench.put(ada, "/f", b"1", conditions=fresh)
        with pytest.raises(PreconditionFailed):
            await bench.put(ada, "/f", b"2", conditions=fresh)

    async def test_if_match_replaces_only_what_was_seen(self, bench, ada):
        seen = (await bench.put(ada, "/f", b"1")).node.etag
        await bench.put(ada, "/f", b"2", conditions=Conditions(if_match=(f'"{seen}"',)))
        with pytest.raises(PreconditionFailed):
            await bench.put(ada, "/f", b"3", conditions=Conditions(if_match=(seen,)))
        with pytest.raises(PreconditionFailed):
            await bench.put(ada, "/none", b"3", conditions=Conditions(if_match=("*",)))
        assert await bench.get(ada, "/f") == b"2"

    async def test_a_condition_is_checked_before_the_body_is_taken(self, bench, ada):
        await bench.put(ada, "/f", b"1")
        taken = []

        async def body():
            taken.append(1)
            yield b"2"

        with pytest.raises(PreconditionFailed):
            await bench.filesystem.write_file(ada, None, "/f", body(), conditions=Conditions(if_match=("other",)))
        assert taken == []

    async def test_they_hold_for_delete_and_move_too(self, bench, ada):
        node = (await bench.put(ada, "/f", b"1")).node
        wrong = Conditions(if_match=("other",))
        with pytest.raises(PreconditionFailed):
            await bench.filesystem.delete(ada, node.id, conditions=wrong)
        with pytest.raises(PreconditionFailed):
            await bench.filesystem.move(ada, node.id, None, "/g", conditions=wrong)
        root = await bench.filesystem.by_path(ada, None, "/")
        directory = await bench.filesystem.make_directory(ada, None, "/d")
        assert (await bench.filesystem.by_path(ada, None, "/")).etag != root.etag
        await bench.filesystem.delete(ada, directory.id, conditions=Conditions(if_match=(directory.etag,)))


class TestPaths:
    async def test_a_missing_parent(self, bench, ada):
        with pytest.raises(NodeNotFound, match='directory "/a/b" does not exist'):
            await bench.put(ada, "/a/b/f", b"", parents=False)
        with pytest.raises(NodeNotFound):
            await bench.filesystem.make_directory(ada, None, "/a/b", parents=False)

    async def test_a_file_in_the_way(self, bench, ada):
        await bench.put(ada, "/f", b"")
        for attempt in ("/f/g", "/f/g/h"):
            with pytest.raises(NameClash, match='path "/f" exists as file'):
                await bench.put(ada, attempt, b"")
        with pytest.raises(NameClash):
            await bench.filesystem.make_directory(ada, None, "/f")
        with pytest.raises(NodeNotFound):
            await bench.filesystem.by_path(ada, None, "/f/g")

    async def test_a_directory_in_the_way(self, bench, ada):
        await bench.filesystem.make_directory(ada, None, "/d")
        with pytest.raises(NameClash, match='path "/d" exists as directory'):
            await bench.put(ada, "/d", b"")
        with pytest.raises(NameClash):
            await bench.filesystem.make_directory(ada, None, "/d", exist_ok=False)
        with pytest.raises(InvalidPath):
            await bench.put(ada, "/", b"")

    async def test_deep_paths(self, bench, ada):
        path = "".join(f"/{number}" for number in range(100))
        await bench.put(ada, path + "/f", b"x")
        assert (await bench.filesystem.by_path(ada, None, path)).size_bytes == 1
        node = await bench.filesystem.by_path(ada, None, path + "/f")
        assert (await bench.filesystem.by_id(ada, node.id)).path == path + "/f"
        with pytest.raises(InvalidPath):
            await bench.put(ada, "/d" * 129, b"")

    async def test_a_move_cannot_nest_deeper_than_paths_may_be(self, bench, ada):
        await bench.filesystem.make_directory(ada, None, "/a" * 70)
        await bench.filesystem.make_directory(ada, None, "/b" * 70)
        top = await bench.filesystem.by_path(ada, None, "/b")
        with pytest.raises(InvalidPath):
            await bench.filesystem.move(ada, top.id, None, "/a" * 70 + "/b")


class TestListing:
    async def test_pages_go_on_where_the_last_one_ended(self, bench, ada):
        items = [BatchItem(f"/d/{number:03}/{leaf}", b"x") for number in range(40) for leaf in "ab"]
        await bench.filesystem.write_batch(ada, None, items)
        node = await bench.filesystem.by_path(ada, None, "/d")
        whole = [entry.path for entry in await bench.filesystem.listing(ada, node.id, depth=9)]
        assert len(whole) == 120
        assert whole == sorted(whole, key=lambda path: path.encode())
        for limit in (1, 7, 119):
            seen, after = [], None
            while page := await bench.filesystem.listing(ada, node.id, 9, limit, after):
                seen += [entry.path for entry in page]
                after = seen[-1].removeprefix("/d/")
            assert seen == whole

    async def test_depth(self, bench, ada):
        await bench.put(ada, "/a/b/c", b"")
        assert await names(bench, ada) == ["/a"]
        assert await names(bench, ada, depth=2) == ["/a", "/a/b"]

    async def test_tags_and_digests_are_in_it(self, bench, ada):
        node = (await bench.put(ada, "/a", b"x")).node
        await bench.filesystem.set_tags(ada, node.id, ["red", "blue"])
        root = await bench.filesystem.by_path(ada, None, "/")
        (entry,) = await bench.filesystem.listing(ada, root.id)
        assert entry.tags == ("blue", "red")
        assert entry.sha256 == hashlib.sha256(b"x").digest()


class TestPrivacy:
    async def test_what_is_not_yours_does_not_exist(self, bench, ada):
        node = (await bench.put(ada, "/secret", b"x")).node
        eve = await bench.user("eve")
        files = bench.filesystem
        for attempt in (
            files.by_id(eve, node.id),
            files.open_file(eve, node.id),
            files.listing(eve, node.parent_id),
            files.move(eve, node.id, None, "/mine"),
            files.copy(eve, node.id, None, "/mine"),
            files.delete(eve, node.id),
            files.update(eve, node.id, name="x"),
            files.versions(eve, node.id),
            files.restore_version(eve, node.id, 1),
            files.delete_version(eve, node.id, 1),
            files.set_tags(eve, node.id, ["x"]),
            files.restore_from_trash(eve, node.id),
            files.purge(eve, node.id),
        ):
            with pytest.raises(NodeNotFound):
                await attempt
        for attempt in (
            files.by_path(eve, node.space_id, "/secret"),
            files.changes(eve, node.space_id, None),
            files.trash(eve, node.space_id),
            files.make_directory(eve, node.space_id, "/d"),
            files.write_file(eve, node.space_id, "/f", pieces(b"x")),
            files.write_batch(eve, node.space_id, [BatchItem("/f", b"x")]),
            files.space(admin(), node.space_id),
        ):
            with pytest.raises(SpaceNotFound):
                await attempt
        mine = (await bench.put(eve, "/mine", b"x")).node
        with pytest.raises(SpaceNotFound):
            await files.move(eve, mine.id, node.space_id, "/planted")

    async def test_a_credential_that_may_only_read(self, bench, ada):
        node = (await bench.put(ada, "/f", b"x")).node
        reader = type(ada)(ada.user_id, ada.name, False, ada.groups, frozenset({"files:read"}), "app")
        assert await bench.get(reader, "/f") == b"x"
        for attempt in (
            bench.put(reader, "/f", b"y"),
            bench.filesystem.delete(reader, node.id),
            bench.filesystem.move(reader, node.id, None, "/g"),
            bench.filesystem.update(reader, node.id, name="g"),
            bench.filesystem.make_directory(reader, None, "/d"),
            bench.filesystem.set_tags(reader, node.id, ["x"]),
        ):
            with pytest.raises(Forbidden):
                await attempt

    async def test_members_share_the_space_of_their_group(self, bench):
        club = await bench.group("club")
        ann, bob, eve = await bench.user("ann", [club]), await bench.user("bob", [club]), await bench.user("eve")
        personal, shared = await bench.filesystem.spaces(ann)
        assert (personal.kind, shared.kind, shared.name) == ("personal", "group", "club")
        await bench.put(ann, "/plan", b"1", space_id=shared.id)
        assert await bench.get(bob, "/plan", shared.id) == b"1"
        with pytest.raises(SpaceNotFound):
            await bench.filesystem.by_path(eve, shared.id, "/plan")


class TestQuota:
    async def test_it_is_checked_before_while_and_after(self, bench, ada):
        home = await bench.filesystem.home(ada)
        await bench.filesystem.set_quota(admin(), home.id, 10)
        await bench.put(ada, "/a", b"123456")
        with pytest.raises(QuotaExceeded):  # a large body: before a byte is taken
            await bench.filesystem.write_file(ada, None, "/b", pieces(b""), length=1 << 20)
        with pytest.raises(QuotaExceeded):  # of unknown length: while it streams
            await bench.filesystem.write_file(ada, None, "/b", pieces(b"12345"))
        with pytest.raises(QuotaExceeded):  # a small one: at its commit
            await bench.put(ada, "/b", b"12345")
        with pytest.raises(QuotaExceeded):  # all versions count
            await bench.put(ada, "/a", b"12345")
        await bench.put(ada, "/b", b"1234")
        assert (await bench.filesystem.home(ada)).free_bytes == 0
        await bench.put(ada, "/c", b"")

    async def test_trash_counts_until_it_is_purged(self, bench, ada):
        home = await bench.filesystem.home(ada)
        await bench.filesystem.set_quota(admin(), home.id, 10)
        node = (await bench.put(ada, "/a", b"1234567890")).node
        await bench.filesystem.delete(ada, node.id)
        with pytest.raises(QuotaExceeded):
            await bench.put(ada, "/b", b"1")
        assert await bench.filesystem.empty_trash(ada) == 1
        await bench.put(ada, "/b", b"1")

    async def test_copies_and_restored_versions_count(self, bench, ada):
        home = await bench.filesystem.home(ada)
        await bench.filesystem.set_quota(admin(), home.id, 10)
        node = (await bench.put(ada, "/a", b"123456")).node
        with pytest.raises(QuotaExceeded):
            await bench.filesystem.copy(ada, node.id, None, "/b")
        with pytest.raises(QuotaExceeded):
            await bench.filesystem.restore_version(ada, node.id, 1)
        assert (await bench.filesystem.home(ada)).used_bytes == 6
        assert await bench.findings() == []

    async def test_only_administrators_set_it(self, bench, ada):
        with pytest.raises(Forbidden):
            await bench.filesystem.set_quota(ada, (await bench.filesystem.home(ada)).id, None)


class TestBatch:
    async def test_each_file_has_its_result(self, bench, ada):
        await bench.put(ada, "/there", b"old")
        await bench.filesystem.make_directory(ada, None, "/dir")
        outcomes = await bench.filesystem.write_batch(
            ada,
            None,
            [
                BatchItem("/new/a", b"1"),
                BatchItem("/there", b"new"),
                BatchItem("/dir", b"no"),
                BatchItem("no", b"no"),
                BatchItem("/there/x", b"no"),
                BatchItem("/there", b"no", conditions=Conditions(if_none_match=("*",))),
                BatchItem("/sum", b"no", expected_digests={"md5": b"wrong"}),
                BatchItem("/new/a/b", b"no"),
                BatchItem("/new/a", b"twice"),
            ],
        )
        told = [type(one).__name__ if isinstance(one, SkepError) else one.version.number for one in outcomes]
        assert told == [
            1,
            2,
            "NameClash",
            "InvalidPath",
            "NameClash",
            "PreconditionFailed",
            "ChecksumMismatch",
            "NameClash",
            2,
        ]
        assert await names(bench, ada, depth=9) == ["/dir", "/new", "/new/a", "/there"]
        assert await bench.get(ada, "/new/a") == b"twice"
        assert await bench.get(ada, "/new/a", version=1) == b"1"
        assert await bench.findings() == []

    async def test_what_fits_the_quota_is_kept(self, bench, ada):
        await bench.filesystem.set_quota(admin(), (await bench.filesystem.home(ada)).id, 5)
        items = [BatchItem("/a", b"123"), BatchItem("/b", b"123"), BatchItem("/c", b"12")]
        outcomes = await bench.filesystem.write_batch(ada, None, items)
        assert [type(one).__name__ for one in outcomes] == ["WriteResult", "QuotaExceeded", "WriteResult"]
        assert (await bench.filesystem.home(ada)).used_bytes == 5

    async def test_thousands(self, bench, ada):
        items = [BatchItem(f"/{number % 7}/{number % 11}/{number}", b"%d" % number) for number in range(3000)]
        outcomes = await bench.filesystem.write_batch(ada, None, items)
        assert all(one.created for one in outcomes)
        assert await bench.get(ada, "/3/6/1942") == b"1942"
        assert await bench.findings() == []

    async def test_limits(self, tmp_path):
        async with open_files(tmp_path, Limits(batch_items_max=2, batch_bytes_max=4)) as bench:
            ada = await bench.user("ada")
            for items in ([BatchItem("/a", b"")] * 3, [BatchItem("/a", b"12345")]):
                with pytest.raises(BodyTooLarge):
                    await bench.filesystem.write_batch(ada, None, items)


class TestVersions:
    async def test_an_old_one_becomes_the_newest(self, bench, ada):
        node = (await bench.put(ada, "/f", b"one")).node
        await bench.put(ada, "/f", b"two!")
        result = await bench.filesystem.restore_version(ada, node.id, 1)
        assert result.version.number == 3
        assert result.node.etag == node.etag
        assert await bench.get(ada, "/f") == b"one"
        assert (await bench.filesystem.home(ada)).used_bytes == 10
        assert await bench.findings() == []

    async def test_old_ones_can_go_but_not_the_current(self, bench, ada):
        node = (await bench.put(ada, "/f", b"one")).node
        await bench.put(ada, "/f", b"two!")
        await bench.filesystem.delete_version(ada, node.id, 1)
        assert (await bench.filesystem.home(ada)).used_bytes == 4
        with pytest.raises(InUse):
            await bench.filesystem.delete_version(ada, node.id, 2)
        with pytest.raises(VersionNotFound):
            await bench.filesystem.delete_version(ada, node.id, 1)
        assert await bench.findings() == []

    async def test_a_file_keeps_so_many(self, tmp_path):
        async with open_files(tmp_path, Limits(versions_max=3)) as bench:
            ada = await bench.user("ada")
            for number in range(6):
                result = await bench.put(ada, "/f", b"%d" % number)
            kept = await bench.filesystem.versions(ada, result.node.id)
            assert [one.number for one in kept] == [6, 5, 4]
            assert (await bench.filesystem.home(ada)).used_bytes == 3
            assert await bench.findings() == []

    async def test_pages(self, bench, ada):
        for number in range(5):
            result = await bench.put(ada, "/f", b"%d" % number)
        first = await bench.filesystem.versions(ada, result.node.id, 2)
        rest = await bench.filesystem.versions(ada, result.node.id, 9, before=first[-1].number)
        assert [one.number for one in first + rest] == [5, 4, 3, 2, 1]


async def test_a_directory_is_not_a_file(bench, ada):
    node = await bench.filesystem.make_directory(ada, None, "/d")
    for attempt in (bench.filesystem.open_file(ada, node.id), bench.filesystem.versions(ada, node.id)):
        with pytest.raises(NodeNotFound):
            await attempt
    with pytest.raises(NodeNotFound):
        await bench.filesystem.by_id(ada, new_id())
