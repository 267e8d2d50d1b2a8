from __future__ import annotations

import hashlib

import pytest

from skep.base.errors import CursorTooOld, InUse, SkepError, SpaceNotFound
from skep.base.workers import Progress
from skep.events import Journal
from skep.filesystem import Digests, Limits, Retention, repair
from skep.filesystem import manifests as manifests_of
from skep.filesystem.retention import DAY_US
from skep.testing.files import open_files

DAY_S = DAY_US // 1_000_000


def retention(bench):
    return Retention(bench.db, bench.filesystem.books, Journal(bench.db, bench.filesystem.books.log.hub), bench.clock)


async def run(worker, rounds=200):
    for _ in range(rounds):
        if not (await worker.run_once(Progress())).more_work:
            return
    raise AssertionError("the worker never finds an end")


async def test_old_trash_goes(bench, ada):
    for path in ("/old/f", "/young"):
        await bench.filesystem.delete(ada, (await bench.put(ada, path, b"1")).node.id)
        bench.clock.jump(20 * DAY_S)
    await run(retention(bench))
    assert [entry.path for entry in await bench.filesystem.trash(ada)] == ["/young"]
    assert (await bench.filesystem.home(ada)).used_bytes == 1
    assert await bench.findings() == []


async def test_the_oldest_trash_goes_where_there_is_too_much(tmp_path):
    async with open_files(tmp_path, Limits(trash_max=2)) as bench:
        ada = await bench.user("ada")
        for number in range(5):
            bench.clock.jump(1)
            await bench.filesystem.delete(ada, (await bench.put(ada, f"/{number}", b"1")).node.id)
        await run(retention(bench))
        assert [entry.path for entry in await bench.filesystem.trash(ada)] == ["/4", "/3"]
        assert await bench.findings() == []


async def test_a_purge_that_broke_off_is_finished(bench, ada):
    from skep.filesystem import moves, spaces, trash

    node = (await bench.put(ada, "/d/f", b"1")).node

    def break_off(tx):
        space = spaces.lock(tx, node.space_id)
        source = moves.living(tx, space, node.parent_id)
        trash.put(tx, bench.filesystem.books, space, source.node, source.above, ada.user_id, for_good=True)

    await bench.db.write(break_off)
    assert (await bench.filesystem.home(ada)).used_bytes == 1
    assert await bench.filesystem.trash(ada) == []
    await run(retention(bench))
    assert (await bench.filesystem.home(ada)).used_bytes == 0
    assert await bench.findings() == []


async def test_a_version_goes_so_long_after_it_was_replaced_not_after_it_was_made(tmp_path):
    async with open_files(tmp_path, Limits(versions_days=10, trash_days=0)) as bench:
        ada = await bench.user("ada")
        worker = retention(bench)

        async def numbers(node_id):
            return [one.number for one in await bench.filesystem.versions(ada, node_id)]

        node_id = (await bench.put(ada, "/f", b"1")).node.id
        lonely = (await bench.put(ada, "/lonely", b"1")).node.id
        bench.clock.jump(100 * DAY_S)
        await bench.put(ada, "/f", b"2")
        await run(worker)
        assert await numbers(node_id) == [2, 1]
        bench.clock.jump(6 * DAY_S)
        await bench.put(ada, "/f", b"3")
        bench.clock.jump(5 * DAY_S)
        await run(worker)
        assert await numbers(node_id) == [3, 2]
        bench.clock.jump(100 * DAY_S)
        await run(worker)
        assert (await numbers(node_id), await numbers(lonely)) == ([3], [1])
        assert await bench.findings() == []


async def test_old_changes_go_and_old_cursors_with_them(bench, ada):
    cursor = (await bench.filesystem.home(ada)).cursor
    await bench.put(ada, "/a", b"1")
    await bench.put(ada, "/b", b"1")
    bench.clock.jump(91 * DAY_S)
    await bench.put(ada, "/c", b"1")
    await run(retention(bench))
    with pytest.raises(CursorTooOld):
        await bench.filesystem.changes(ada, None, cursor)
    page = await bench.filesystem.changes(ada, None, None)
    assert [change.path for change in page.changes] == ["/c"]
    assert await bench.findings() == []


async def test_digests_of_large_files_are_filled_in(bench, ada):
    bodies = {f"/{number}": bytes([number]) * ((2 << 20) + number) for number in range(3)}
    for path, body in bodies.items():
        await bench.put(ada, path, body)
    worker = Digests(bench.db, bench.chunks, bench.clock, after_s=600)
    await run(worker)
    assert (await bench.filesystem.by_path(ada, None, "/1")).sha1 is None  # not so young
    bench.clock.jump(3600)
    await run(worker)
    for path, body in bodies.items():
        node = await bench.filesystem.by_path(ada, None, path)
        assert (node.md5, node.sha1, node.sha256) == tuple(
            hashlib.new(name, body).digest() for name in ("md5", "sha1", "sha256")
        )


async def test_a_large_upload_is_left_alone_while_it_is_young_and_then_read_with_rests(bench, ada):
    body = bytes(17 << 20)
    await bench.put(ada, "/large", body)
    worker = Digests(bench.db, bench.chunks, bench.clock, after_s=600, tranquility=2)
    bench.clock.jump(590)
    await run(worker)
    assert (await bench.filesystem.by_path(ada, None, "/large")).md5 is None
    bench.clock.jump(20)
    slept = len(bench.clock.slept_s)
    await run(worker)
    assert (await bench.filesystem.by_path(ada, None, "/large")).md5 == hashlib.md5(body).digest()
    assert len(bench.clock.slept_s) - slept == 3  # after 8 MiB, 16 MiB and the rest


class TestCheck:
    async def damage(self, bench, sql, **params):
        import sqlalchemy as sa

        from skep.db import prepared

        bound = [sa.bindparam(name, type_=sa.LargeBinary()) for name in params]
        statement = prepared(sa.text(sql).bindparams(*bound))
        await bench.db.write(lambda tx: tx.run(statement, params))

    @pytest.mark.parametrize(
        ("sql", "found", "repairable"),
        [
            ("UPDATE nodes SET size_bytes = 7 WHERE id = :d", ["size", "size"], True),
            ("UPDATE spaces SET used_bytes = 7", ["used-bytes"], True),
            ("UPDATE nodes SET changed = 0 WHERE id = :d", ["changed"], False),
            ("UPDATE nodes SET name = 'a/b' WHERE id = :f", ["name"], False),
            ("UPDATE nodes SET etag = 'x' WHERE id = :f", ["version"], False),
            ("DELETE FROM versions WHERE node_id = :f", ["version", "used-bytes"], False),
            ("DELETE FROM changes WHERE number = 1", ["journal"], False),
            ("UPDATE nodes SET parent_id = NULL WHERE id = :d", ["size", "orphan"], False),
            ("UPDATE nodes SET parent_id = :f WHERE id = :d", ["size", "orphan", "unreachable"], False),
            ("UPDATE versions SET manifest = '' WHERE node_id = :f", ["version"], False),
        ],
    )
    async def test_what_does_not_hold_is_found(self, bench, ada, sql, found, repairable):
        node = (await bench.put(ada, "/d/f", b"1234")).node
        params = {name: value for name, value in (("d", node.parent_id), ("f", node.id)) if f":{name}" in sql}
        await self.damage(bench, sql, **params)
        assert sorted(one.check for one in await bench.findings()) == sorted(found)
        if repairable:
            assert await repair(bench.db) > 0
            assert await bench.findings() == []

    async def test_manifests_of_all_versions_come_in_pages(self, bench, ada):
        for number in range(5):
            await bench.put(ada, f"/{number % 2}", b"%d" % number)
        seen, after = [], b""
        while page := await bench.read(lambda tx, after=after: manifests_of(tx, after, 2)):
            seen += page
            after = page[-1].version_id
        assert len({one.version_id for one in seen}) == 5
        assert all(one.manifest.size_bytes == 1 for one in seen)


class TestHooks:
    async def test_a_space_is_made_once(self, bench, ada):
        space = await bench.filesystem.home(ada)
        await bench.db.write(lambda tx: bench.hooks.user_created(tx, ada.user_id, "ada"))
        assert (await bench.filesystem.home(ada)).id == space.id

    async def test_a_user_goes_with_an_empty_space_only(self, bench, ada):
        node = (await bench.put(ada, "/f", b"1")).node
        with pytest.raises(InUse):
            await bench.db.write(lambda tx: bench.hooks.user_deleting(tx, ada.user_id, "ada"))
        await bench.filesystem.delete(ada, node.id)
        with pytest.raises(InUse):
            await bench.db.write(lambda tx: bench.hooks.user_deleting(tx, ada.user_id, "ada"))
        await bench.filesystem.empty_trash(ada)
        await bench.db.write(lambda tx: bench.hooks.user_deleting(tx, ada.user_id, "ada"))
        with pytest.raises(SpaceNotFound):
            await bench.filesystem.home(ada)
        assert await bench.findings() == []


async def test_errors_know_whether_to_retry():
    from skep.base.errors import ContentsChanged

    assert issubclass(ContentsChanged, SkepError)
    assert ContentsChanged.retryable
