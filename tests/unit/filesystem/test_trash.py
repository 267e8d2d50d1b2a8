from __future__ import annotations

import pytest

from skep.base.errors import NameClash, NodeNotFound
from skep.filesystem import BatchItem


async def at(bench, who, path):
    return await bench.filesystem.by_path(who, None, path)


async def trashed(bench, who):
    return [entry.path for entry in await bench.filesystem.trash(who)]


async def test_what_is_deleted_is_in_the_trash_and_comes_back_as_it_was(bench, ada):
    node = (await bench.put(ada, "/a/b/f", b"123")).node
    directory = await at(bench, ada, "/a/b")
    await bench.filesystem.delete(ada, directory.id)
    for gone in (directory.id, node.id):
        with pytest.raises(NodeNotFound):
            await bench.filesystem.by_id(ada, gone)
    assert (await at(bench, ada, "/")).size_bytes == 0
    (entry,) = await bench.filesystem.trash(ada)
    assert (entry.node_id, entry.path, entry.kind, entry.size_bytes) == (directory.id, "/a/b", "directory", 3)
    assert entry.deleted_by == ada.user_id
    assert await bench.findings() == []
    back = await bench.filesystem.restore_from_trash(ada, directory.id)
    assert (back.id, back.path) == (directory.id, "/a/b")
    assert (await at(bench, ada, "/a/b/f")).id == node.id
    assert (await at(bench, ada, "/")).size_bytes == 3
    assert await trashed(bench, ada) == []
    assert await bench.findings() == []


async def test_the_last_deleted_come_first_in_pages(bench, ada):
    for number in range(5):
        node = (await bench.put(ada, f"/{number}", b"")).node
        if number != 3:
            bench.clock.jump(1)
        await bench.filesystem.delete(ada, node.id)
    seen, after = [], None
    while page := await bench.filesystem.trash(ada, None, 2, after):
        seen += [entry.path for entry in page]
        after = page[-1]
    assert seen == ["/4", "/3", "/2", "/1", "/0"]


async def test_where_the_name_is_taken_it_gets_another(bench, ada):
    ids = []
    for _ in range(3):
        ids.append((await bench.put(ada, "/d/a.txt", b"x")).node.id)
        await bench.filesystem.delete(ada, ids[-1])
    await bench.put(ada, "/d/a.txt", b"x")
    back = [(await bench.filesystem.restore_from_trash(ada, one)).path for one in ids]
    assert back == ["/d/a (restored).txt", "/d/a (restored 2).txt", "/d/a (restored 3).txt"]
    assert await bench.findings() == []


async def test_where_the_parent_moved_it_goes_there(bench, ada):
    node = (await bench.put(ada, "/old/f", b"x")).node
    await bench.filesystem.delete(ada, node.id)
    await bench.filesystem.move(ada, (await at(bench, ada, "/old")).id, None, "/new")
    assert (await bench.filesystem.restore_from_trash(ada, node.id)).path == "/new/f"


async def test_where_the_parent_is_gone_its_path_is_made_again(bench, ada):
    node = (await bench.put(ada, "/a/b/f", b"x")).node
    await bench.filesystem.delete(ada, node.id)
    await bench.filesystem.delete(ada, (await at(bench, ada, "/a")).id)
    back = await bench.filesystem.restore_from_trash(ada, node.id)
    assert (back.path, back.id) == ("/a/b/f", node.id)
    assert await bench.findings() == []


async def test_where_a_file_is_in_the_way_of_its_path_it_goes_to_the_root(bench, ada):
    node = (await bench.put(ada, "/a/f", b"x")).node
    await bench.filesystem.delete(ada, node.id)
    await bench.filesystem.delete(ada, (await at(bench, ada, "/a")).id, permanently=True)
    await bench.put(ada, "/a", b"a file")
    assert (await bench.filesystem.restore_from_trash(ada, node.id)).path == "/f"
    assert await bench.findings() == []


async def test_to_another_path(bench, ada):
    node = (await bench.put(ada, "/f", b"x")).node
    await bench.filesystem.delete(ada, node.id)
    await bench.put(ada, "/d/taken", b"")
    with pytest.raises(NameClash):
        await bench.filesystem.restore_from_trash(ada, node.id, "/d/taken")
    with pytest.raises(NodeNotFound):
        await bench.filesystem.restore_from_trash(ada, node.id, "/none/f")
    assert (await bench.filesystem.restore_from_trash(ada, node.id, "/d/g")).path == "/d/g"


async def test_only_what_is_in_the_trash_is_restored_or_purged(bench, ada):
    node = (await bench.put(ada, "/d/f", b"x")).node
    for attempt in (bench.filesystem.restore_from_trash(ada, node.id), bench.filesystem.purge(ada, node.id)):
        with pytest.raises(NodeNotFound):
            await attempt
    await bench.filesystem.delete(ada, node.parent_id)
    with pytest.raises(NodeNotFound):  # it is below what was deleted, not itself in the trash
        await bench.filesystem.restore_from_trash(ada, node.id)


async def test_purged_is_gone_with_its_bytes_versions_and_chunks(bench, ada):
    await bench.put(ada, "/d/f", b"one")
    node = (await bench.put(ada, "/d/f", b"two")).node
    await bench.filesystem.set_tags(ada, node.id, ["t"])
    await bench.filesystem.delete(ada, node.parent_id)
    await bench.filesystem.purge(ada, node.parent_id)
    assert (await bench.filesystem.home(ada)).used_bytes == 0
    assert await bench.filesystem.tags(ada) == []
    assert await trashed(bench, ada) == []
    assert await bench.findings() == []


async def test_large_trees_are_purged_in_steps(bench, ada):
    items = [BatchItem(f"/d/{n % 13}/{n % 7}/{n}", b"x") for n in range(1500)]
    await bench.filesystem.write_batch(ada, None, items)
    await bench.filesystem.delete(ada, (await at(bench, ada, "/d")).id, permanently=True)
    home = await bench.filesystem.home(ada)
    assert home.used_bytes == 0
    assert await bench.filesystem.listing(ada, home.root_id) == []
    assert await bench.findings() == []


async def test_emptying_spares_what_lives(bench, ada):
    keep = (await bench.put(ada, "/keep", b"1")).node
    for number in range(3):
        await bench.filesystem.delete(ada, (await bench.put(ada, f"/{number}", b"22")).node.id)
    assert await bench.filesystem.empty_trash(ada) == 3
    assert (await bench.filesystem.home(ada)).used_bytes == 1
    assert (await bench.filesystem.by_id(ada, keep.id)).path == "/keep"
