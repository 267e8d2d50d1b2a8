"""The file service on each of the three databases: one long story, and writers that meet."""

from __future__ import annotations

import asyncio

import pytest

from skep.base.errors import (
    BadInput,
    Conflict,
    CursorTooOld,
    LimitReached,
    NotFound,
    QuotaExceeded,
    ShareNotFound,
    SkepError,
)
from skep.base.workers import Progress
from skep.filesystem import BatchItem, Conditions, Digests, Limits, LinkChange, LinkRules, Retention, Wants, rows_of
from skep.testing.files import admin, open_files, person

LIMITS = Limits(versions_max=3, versions_days=1, trash_days=1, journal_days=1)


@pytest.fixture
async def bench(tmp_path, database_url):
    async with open_files(tmp_path, LIMITS, url=database_url) as opened:
        yield opened


async def test_a_long_story(bench):
    ada = await bench.user("ada", [await bench.group("club")])
    files = bench.filesystem
    _, shared = await files.spaces(ada)
    await files.write_batch(ada, None, [BatchItem(f"/d/{n % 3}/ü {n} ", b"%d" % n) for n in range(50)])
    for body in (b"1", b"2", b"3", b"4", bytes(2 << 20)):
        node = (await bench.put(ada, "/" + "/".join("abcdefghijk"), body)).node
    assert [one.number for one in await files.versions(ada, node.id)] == [5, 4, 3]
    await files.set_tags(ada, node.id, ["t", "T", "t "[:1]])
    await files.update(ada, node.id, name="K", attributes={"é": [1, None]})
    assert [one.id for one in await files.by_tag(ada, "T")] == [node.id]
    names = [one.name for one in await files.listing(ada, (await files.by_path(ada, None, "/d/1")).id)]
    assert names == sorted(names, key=str.encode)
    d = await files.by_path(ada, None, "/d")
    rows = await files.listed(ada, d.id, lambda entries: entries.rows, 2, "0", wants=Wants(True, True, True))
    assert [(*row[:9], 0, *row[10:]) for row in rows] == rows_of(await files.listing(ada, d.id, 1, 2, "0"))
    for name in ("x", "X", "x ", "é", "e\u0301"):  # all different, in every database
        assert (await bench.put(ada, f"/names/{name}", name.encode())).created
    await files.move(ada, node.id, None, "/k")
    await files.copy(ada, (await files.by_path(ada, None, "/d")).id, None, "/e")
    await files.move(ada, (await files.by_path(ada, None, "/e")).id, shared.id, "/e")
    assert await bench.get(ada, "/e/2/ü 2 ", shared.id) == b"2"
    await files.restore_version(ada, node.id, 4)
    await files.delete_version(ada, node.id, 5)
    await files.delete(ada, node.id)
    assert [entry.path for entry in await files.trash(ada)] == ["/k"]
    assert (await files.restore_from_trash(ada, node.id)).path == "/k"
    await files.delete(ada, (await files.by_path(ada, None, "/d")).id, permanently=True)
    assert await bench.findings() == []
    await files.delete(ada, (await files.by_path(ada, None, "/names")).id)
    bench.clock.jump(400 * 86_400)
    retention = Retention(bench.db, files.books, files._journal, bench.clock)
    for worker in (Digests(bench.db, bench.chunks, bench.clock, after_s=60), retention):
        while (await worker.run_once(Progress())).more_work:
            pass
    assert await files.trash(ada) == []
    assert (await files.changes(ada, None, None)).changes[-1].kind == "deleted"
    assert await bench.findings() == []


async def test_a_share(bench):
    ada, ben = [await person(bench, name) for name in ("ada", "ben")]
    files = bench.filesystem
    node = (await bench.put(ada, "/a/b/c/f", b"1")).node
    top = await files.by_path(ada, None, "/a/b")
    share, is_new = await files.give_share(ada, top.id, "user", "ben", "write", may_share=True)
    assert is_new
    assert (await files.answer_share(ben, share.id, accept=True)).name == "b"
    assert not (await files.give_share(ada, top.id, "user", "ben", "write", may_share=True))[1]
    assert await bench.get(ben, "/c/f", share.id) == b"1"
    assert (await files.by_id(ben, node.id)).path == "/c/f"
    cursor = (await files.space(ben, share.id)).cursor
    await bench.put(ben, "/c/g", b"2", share.id)
    await bench.put(ada, "/a/outside", b"3")
    assert [one.path for one in (await files.changes(ben, share.id, cursor)).changes] == ["/c/g"]
    await files.move(ada, (await files.by_path(ada, None, "/a")).id, None, "/z")
    with pytest.raises(CursorTooOld):
        await files.changes(ben, share.id, cursor)
    await files.delete(ben, node.id)
    assert [one.path for one in await files.trash(ben, share.id)] == ["/c/f"]
    assert (await files.restore_from_trash(ben, node.id)).path == "/c/f"
    await files.set_tags(ben, node.id, ["old"])
    assert await files.rename_tag(ben, "old", "new") == 1
    assert [one.id for one in await files.shares_given(ada)] == [share.id]
    assert await bench.findings() == []
    await files.revoke_share(ada, share.id)
    assert await files.shares_held(ben) == []
    with pytest.raises(NotFound):
        await files.by_id(ben, node.id)


async def test_a_link_gives_no_more_than_it_may_to_whoever_asks_at_once(bench):
    ada = await person(bench, "ada")
    files = bench.filesystem
    node = (await bench.put(ada, "/d/f", b"content")).node
    rules = LinkRules(downloads_max=3, bytes_max=25, password_hash="kept")
    made, token = await files.make_link(ada, node.parent_id, "upload", rules)
    link, holder = await files.open_link(token)
    assert (link.id, link.password_hash, holder.user_id) == (made.id, "kept", made.id)

    async def went_well(doing):
        try:
            await doing
        except LimitReached:
            return False
        return True

    counted = await asyncio.gather(*(went_well(files.count_download(link.id)) for _ in range(8)))
    taken = await asyncio.gather(*(went_well(files.take_link_room(link, 10)) for _ in range(8)))
    assert (sum(counted), sum(taken)) == (3, 2)
    await files.give_link_room_back(link.id, 10)
    await files.give_link_room_back(link.id, 1_000)  # more than was taken: nothing happens
    now = await files.link(ada, link.id)
    assert (now.downloads, now.received_bytes) == (3, 10)
    changed, other = await files.change_link(ada, link.id, LinkChange(downloads_max=None, name="é"), renew=True)
    assert (changed.downloads_max, changed.bytes_max, changed.name, changed.has_password) == (None, 25, "é", True)
    with pytest.raises(ShareNotFound):
        await files.open_link(token)
    assert (await files.open_link(other))[0].name == "é"
    assert [one.id for one in await files.links_made(ada)] == [link.id]
    assert [one.id for one in await files.links_of_space(ada, None)] == [link.id]
    assert await bench.findings() == []
    await files.delete(ada, node.parent_id, permanently=True)
    assert await files.links_made(ada) == []
    assert await bench.findings() == []


async def test_writers_that_meet(bench):
    ada = await bench.user("ada")
    files = bench.filesystem
    await files.set_quota(admin(), (await files.home(ada)).id, 2000)
    fresh = Conditions(if_none_match=("*",))
    done = await asyncio.gather(
        *[bench.put(ada, f"/d{number % 4}/{number}", b"%02d" % number * 20) for number in range(64)],
        *[bench.put(ada, "/same", b"%02d" % number, conditions=fresh) for number in range(8)],
        *[files.write_batch(ada, None, [BatchItem(f"/d{number}/b", b"yy")]) for number in range(4)],
        return_exceptions=True,
    )
    refused = [one for one in done if isinstance(one, BaseException)]
    assert [one for one in refused if not isinstance(one, SkepError)] == []
    assert sum(isinstance(one, QuotaExceeded) for one in refused) > 0
    assert 1900 < (await files.home(ada)).used_bytes <= 2000
    directories = [await files.by_path(ada, None, f"/d{number}") for number in range(4)]
    done = await asyncio.gather(
        *[files.move(ada, node.id, None, f"/d{(number + 1) % 4}/m") for number, node in enumerate(directories)],
        *[files.delete(ada, node.id) for node in directories[:2]],
        *[files.copy(ada, node.id, None, f"/c{number}") for number, node in enumerate(directories)],
        return_exceptions=True,
    )
    refused = [one for one in done if isinstance(one, BaseException)]
    assert [one for one in refused if not isinstance(one, Conflict | NotFound | BadInput | QuotaExceeded)] == []
    assert await bench.findings() == []
