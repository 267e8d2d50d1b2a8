from __future__ import annotations

import pytest

from skep.base.errors import InvalidName, InvalidPath, LimitReached, NameClash, NodeNotFound, QuotaExceeded
from skep.filesystem import BatchItem, Limits
from skep.testing.files import admin, open_files


async def at(bench, who, path, space_id=None):
    return await bench.filesystem.by_path(who, space_id, path)


async def tree_of(bench, who, space_id=None):
    root = await at(bench, who, "/", space_id)
    return [node.path for node in await bench.filesystem.listing(who, root.id, depth=99)]


class TestMove:
    async def test_a_file_keeps_its_id_etag_and_versions(self, bench, ada):
        await bench.put(ada, "/a/f", b"one")
        before = (await bench.put(ada, "/a/f", b"two")).node
        await bench.filesystem.make_directory(ada, None, "/b")
        after = await bench.filesystem.move(ada, before.id, None, "/b/g")
        assert (after.id, after.etag, after.path, after.name) == (before.id, before.etag, "/b/g", "g")
        assert await bench.get(ada, "/b/g", version=1) == b"one"
        with pytest.raises(NodeNotFound):
            await at(bench, ada, "/a/f")
        assert ((await at(bench, ada, "/a")).size_bytes, (await at(bench, ada, "/b")).size_bytes) == (0, 3)
        assert await bench.findings() == []

    async def test_a_directory_takes_all_along(self, bench, ada):
        await bench.put(ada, "/a/b/f", b"123")
        await bench.filesystem.make_directory(ada, None, "/z")
        moved = await bench.filesystem.move(ada, (await at(bench, ada, "/a")).id, None, "/z/y")
        assert moved.size_bytes == 3
        assert await tree_of(bench, ada) == ["/z", "/z/y", "/z/y/b", "/z/y/b/f"]
        assert await bench.findings() == []

    async def test_etags_change_above_both_ends_and_not_beside(self, bench, ada):
        for path in ("/a/x/f", "/b/y/g", "/c/h"):
            await bench.put(ada, path, b"1")
        watched = ("/", "/a", "/a/x", "/b", "/b/y", "/c")
        before = {path: (await at(bench, ada, path)).etag for path in watched}
        await bench.filesystem.move(ada, (await at(bench, ada, "/a/x/f")).id, None, "/b/f")
        assert [path for path in watched if (await at(bench, ada, path)).etag != before[path]] == [
            "/",
            "/a",
            "/a/x",
            "/b",
        ]

    async def test_into_itself_is_refused(self, bench, ada):
        await bench.filesystem.make_directory(ada, None, "/a/b")
        node = await at(bench, ada, "/a")
        for target in ("/a/c", "/a/b/c"):
            with pytest.raises(InvalidPath):
                await bench.filesystem.move(ada, node.id, None, target)
            assert await tree_of(bench, ada) == ["/a", "/a/b"]

    async def test_the_root_stays(self, bench, ada):
        root = await at(bench, ada, "/")
        await bench.filesystem.make_directory(ada, None, "/a")
        for attempt in (
            bench.filesystem.move(ada, root.id, None, "/a/b"),
            bench.filesystem.delete(ada, root.id),
            bench.filesystem.update(ada, root.id, name="x"),
        ):
            with pytest.raises(InvalidPath):
                await attempt

    async def test_to_itself_is_nothing(self, bench, ada):
        node = (await bench.put(ada, "/f", b"1")).node
        cursor = (await bench.filesystem.home(ada)).cursor
        assert (await bench.filesystem.move(ada, node.id, None, "/f")).id == node.id
        assert (await bench.filesystem.changes(ada, None, cursor)).changes == ()

    @pytest.mark.parametrize(
        ("source", "target", "plain", "overwrite", "replace"),
        [
            ("/file", "/file2", NameClash, None, None),
            ("/file", "/dir", NameClash, NameClash, None),
            ("/dir", "/file", NameClash, NameClash, None),
            ("/dir", "/dir2", NameClash, None, None),
            ("/dir/in/f", "/dir/in", NameClash, NameClash, InvalidPath),
            ("/dir/in", "/dir", NameClash, InvalidPath, InvalidPath),
            ("/file", "/none/f", NodeNotFound, NodeNotFound, NodeNotFound),
            ("/file", "/file2/f", NameClash, NameClash, NameClash),
        ],
    )
    async def test_what_is_at_the_target_decides(self, tmp_path, source, target, plain, overwrite, replace):
        wanted = ((False, False, plain), (True, False, overwrite), (True, True, replace))
        for number, (allowed, any_kind, outcome) in enumerate(wanted):
            (tmp_path / str(number)).mkdir()
            async with open_files(tmp_path / str(number)) as bench:
                ada = await bench.user("ada")
                for path in ("/file", "/file2", "/dir/in/f", "/dir2/other"):
                    await bench.put(ada, path, path.encode())
                node = await at(bench, ada, source)
                moving = bench.filesystem.move(ada, node.id, None, target, overwrite=allowed, replace_kind=any_kind)
                if outcome is None:
                    await moving
                    assert (await at(bench, ada, target)).id == node.id
                    assert [entry.path for entry in await bench.filesystem.trash(ada)] == [target]
                else:
                    with pytest.raises(outcome):
                        await moving
                    assert (await bench.filesystem.by_id(ada, node.id)).path == source
                assert await bench.findings() == []

    async def test_between_spaces_contents_are_written_anew(self, bench):
        club = await bench.group("club")
        ann = await bench.user("ann", [club])
        shared = (await bench.filesystem.spaces(ann))[1]
        await bench.put(ann, "/d/f", b"one")
        file = (await bench.put(ann, "/d/f", b"two!")).node
        directory = await at(bench, ann, "/d")
        moved = await bench.filesystem.move(ann, directory.id, shared.id, "/from-ann")
        assert (moved.id, moved.space_id) == (directory.id, shared.id)
        there = await at(bench, ann, "/from-ann/f", shared.id)
        assert (there.id, there.etag) == (file.id, file.etag)
        assert await bench.get(ann, "/from-ann/f", shared.id) == b"two!"
        assert await bench.get(ann, "/from-ann/f", shared.id, version=1) == b"one"
        personal, shared = await bench.filesystem.spaces(ann)
        assert (personal.used_bytes, shared.used_bytes) == (0, 7)
        assert await bench.findings() == []
        kinds = [change.kind for change in (await bench.filesystem.changes(ann, None, None)).changes]
        assert kinds[-1] == "deleted"

    async def test_between_spaces_the_quota_of_the_other_counts(self, bench):
        club = await bench.group("club")
        ann = await bench.user("ann", [club])
        shared = (await bench.filesystem.spaces(ann))[1]
        await bench.filesystem.set_quota(admin(), shared.id, 3)
        node = (await bench.put(ann, "/f", b"1234")).node
        with pytest.raises(QuotaExceeded):
            await bench.filesystem.move(ann, node.id, shared.id, "/f")
        with pytest.raises(QuotaExceeded):
            await bench.filesystem.copy(ann, node.id, shared.id, "/f")
        assert await bench.get(ann, "/f") == b"1234"
        assert await bench.findings() == []


class TestCopy:
    async def test_references_the_same_chunks(self, bench, ada):
        body = bytes(3 << 20)
        node = (await bench.put(ada, "/a/f", body, mime="x/y", modified_us=5)).node
        await bench.filesystem.update(ada, node.id, attributes={"colour": "red"})
        await bench.filesystem.set_tags(ada, node.id, ["t"])
        stored = bench.chunks.counters.stored_bytes
        copied = await bench.filesystem.copy(ada, (await at(bench, ada, "/a")).id, None, "/b")
        assert bench.chunks.counters.stored_bytes == stored
        there = await at(bench, ada, "/b/f")
        assert (there.etag, there.mime, there.modified_us) == (node.etag, "x/y", 5)
        assert there.attributes == {"colour": "red"}
        assert there.tags == ("t",)
        assert there.version_number == 1
        assert copied.size_bytes == len(body)
        await bench.filesystem.delete(ada, node.id, permanently=True)
        assert await bench.get(ada, "/b/f") == body
        assert await bench.findings() == []

    async def test_a_file_onto_a_file_is_a_new_version(self, bench, ada):
        source = (await bench.put(ada, "/a", b"new")).node
        target = (await bench.put(ada, "/b", b"old")).node
        with pytest.raises(NameClash):
            await bench.filesystem.copy(ada, source.id, None, "/b")
        copied = await bench.filesystem.copy(ada, source.id, None, "/b", overwrite=True)
        assert (copied.id, copied.version_number, copied.etag) == (target.id, 2, source.etag)
        assert await bench.filesystem.trash(ada) == []
        assert await bench.findings() == []

    async def test_a_directory_onto_a_directory_replaces_it(self, bench, ada):
        await bench.put(ada, "/a/x", b"1")
        await bench.put(ada, "/b/y", b"2")
        await bench.filesystem.copy(ada, (await at(bench, ada, "/a")).id, None, "/b", overwrite=True)
        assert await tree_of(bench, ada) == ["/a", "/a/x", "/b", "/b/x"]
        assert [entry.path for entry in await bench.filesystem.trash(ada)] == ["/b"]
        assert await bench.findings() == []

    async def test_into_or_onto_itself_is_refused(self, bench, ada):
        node = await bench.filesystem.make_directory(ada, None, "/a")
        for target in ("/a", "/a/b"):
            with pytest.raises(InvalidPath):
                await bench.filesystem.copy(ada, node.id, None, target, overwrite=True)

    async def test_between_spaces(self, bench):
        club = await bench.group("club")
        ann = await bench.user("ann", [club])
        shared = (await bench.filesystem.spaces(ann))[1]
        await bench.put(ann, "/d/f", b"old")
        await bench.put(ann, "/d/f", b"body")
        await bench.filesystem.copy(ann, (await at(bench, ann, "/d")).id, shared.id, "/d")
        assert await bench.get(ann, "/d/f", shared.id) == b"body"
        assert [space.used_bytes for space in await bench.filesystem.spaces(ann)] == [7, 4]
        assert await bench.findings() == []

    async def test_there_is_a_limit_to_one_step(self, tmp_path):
        async with open_files(tmp_path, Limits(tree_max=10)) as bench:
            ada = await bench.user("ada")
            await bench.filesystem.write_batch(ada, None, [BatchItem(f"/d/{n}", b"") for n in range(10)])
            with pytest.raises(LimitReached):
                await bench.filesystem.copy(ada, (await at(bench, ada, "/d")).id, None, "/e")


class TestUpdate:
    async def test_name(self, bench, ada):
        node = (await bench.put(ada, "/a/f", b"1")).node
        renamed = await bench.filesystem.update(ada, node.id, name="g")
        assert (renamed.path, renamed.etag) == ("/a/g", node.etag)
        await bench.put(ada, "/a/f", b"1")
        with pytest.raises(NameClash):
            await bench.filesystem.update(ada, node.id, name="f")
        with pytest.raises(InvalidName):
            await bench.filesystem.update(ada, node.id, name="a/b")

    async def test_facts_change_the_etags_above_but_not_the_files(self, bench, ada):
        node = (await bench.put(ada, "/a/f", b"1")).node
        above = await at(bench, ada, "/a")
        changed = await bench.filesystem.update(
            ada, node.id, attributes={"a": 1, "b": [True]}, modified_us=77, mime="a/b"
        )
        assert (changed.etag, changed.modified_us, changed.mime) == (node.etag, 77, "a/b")
        assert (await at(bench, ada, "/a")).etag != above.etag
        merged = await bench.filesystem.update(ada, node.id, attributes={"a": None, "c": "d"})
        assert merged.attributes == {"b": [True], "c": "d"}
        change = (await bench.filesystem.changes(ada, None, None)).changes[-1]
        assert (change.kind, change.path) == ("metadata", "/a/f")
        assert await bench.findings() == []
