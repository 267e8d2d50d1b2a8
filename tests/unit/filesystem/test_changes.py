from __future__ import annotations

import asyncio

import pytest

from skep.base.errors import InvalidCursor, InvalidName
from skep.filesystem import BatchItem


async def told(bench, who, cursor=None):
    page = await bench.filesystem.changes(who, None, cursor)
    return [(change.kind, change.old_path, change.path) for change in page.changes]


async def test_every_change_is_told_in_order(bench, ada):
    files = bench.filesystem
    node = (await bench.put(ada, "/a/f", b"1")).node
    await bench.put(ada, "/a/f", b"2")
    await files.move(ada, node.id, None, "/g")
    await files.update(ada, node.id, attributes={"x": 1})
    await files.delete(ada, node.id)
    await files.restore_from_trash(ada, node.id, "/a/h")
    await files.copy(ada, node.parent_id, None, "/b")
    await files.delete(ada, node.id, permanently=True)
    assert await told(bench, ada) == [
        ("created", None, "/a"),
        ("created", None, "/a/f"),
        ("updated", None, "/a/f"),
        ("moved", "/a/f", "/g"),
        ("metadata", None, "/g"),
        ("trashed", None, "/g"),
        ("restored", None, "/a/h"),
        ("created", None, "/b"),
        ("created", None, "/b/h"),
        ("deleted", None, "/a/h"),
    ]
    numbers = [change.number for change in (await files.changes(ada, None, None)).changes]
    assert numbers == list(range(1, 11))


async def test_a_batch_is_told_file_by_file(bench, ada):
    await bench.filesystem.write_batch(ada, None, [BatchItem("/d/a", b"1"), BatchItem("/d/b", b"2")])
    assert [path for _, _, path in await told(bench, ada)] == ["/d", "/d/a", "/d/b"]


async def test_one_goes_on_from_a_cursor(bench, ada):
    for number in range(5):
        await bench.put(ada, f"/{number}", b"")
    first = await bench.filesystem.changes(ada, None, None, limit=2)
    assert first.more
    rest = await bench.filesystem.changes(ada, None, first.cursor)
    assert not rest.more
    assert [change.path for change in first.changes + rest.changes] == [f"/{number}" for number in range(5)]
    assert (await bench.filesystem.home(ada)).cursor == rest.cursor
    assert (await bench.filesystem.changes(ada, None, rest.cursor)).changes == ()


async def test_who_waits_is_woken(bench, ada):
    cursor = (await bench.filesystem.home(ada)).cursor
    waiting = asyncio.ensure_future(bench.filesystem.changes(ada, None, cursor, timeout_s=60))
    await asyncio.sleep(0)
    await bench.put(ada, "/f", b"1")
    page = await asyncio.wait_for(waiting, 30)
    assert [change.path for change in page.changes] == ["/f"]


async def test_cursors_of_other_spaces_and_nonsense_are_refused(bench, ada):
    other = await bench.filesystem.home(await bench.user("eve"))
    for cursor in (other.cursor, "nonsense"):
        with pytest.raises(InvalidCursor):
            await bench.filesystem.changes(ada, None, cursor)


class TestTags:
    async def test_they_are_a_users_own(self, bench):
        club = await bench.group("club")
        ann, bob = await bench.user("ann", [club]), await bench.user("bob", [club])
        shared = (await bench.filesystem.spaces(ann))[1]
        node = (await bench.put(ann, "/f", b"", space_id=shared.id)).node
        root = await bench.filesystem.by_path(ann, shared.id, "/")
        await bench.filesystem.set_tags(ann, node.id, ["mine"])
        assert (await bench.filesystem.by_id(bob, node.id)).tags == ()
        assert await bench.filesystem.by_tag(bob, "mine") == []
        assert (await bench.filesystem.by_path(ann, shared.id, "/")).etag == root.etag

    async def test_nodes_are_found_by_them(self, bench, ada):
        files = bench.filesystem
        nodes = [(await bench.put(ada, f"/{number}", b"")).node for number in range(5)]
        for node in nodes:
            await files.set_tags(ada, node.id, ["all"] + ["even"] * (node.name in "024"))
        await files.delete(ada, nodes[2].id)
        assert [node.path for node in await files.by_tag(ada, "even")] == ["/0", "/4"]
        first = await files.by_tag(ada, "all", 2)
        rest = await files.by_tag(ada, "all", 9, first[-1].id)
        assert [node.path for node in first + rest] == ["/0", "/1", "/3", "/4"]
        assert await files.tags(ada) == [("all", 5), ("even", 3)]
        assert await files.drop_tag(ada, "all") == 5
        assert await files.tags(ada) == [("even", 3)]

    async def test_they_replace_what_was_there(self, bench, ada):
        node = (await bench.put(ada, "/f", b"")).node
        await bench.filesystem.set_tags(ada, node.id, ["a", "b"])
        changed = await bench.filesystem.set_tags(ada, node.id, ["b", "c", "c"])
        assert changed.tags == ("b", "c")
        for bad in ("", "x" * 65, " a", "a\n", "\ud800"):
            with pytest.raises(InvalidName):
                await bench.filesystem.set_tags(ada, node.id, [bad])
