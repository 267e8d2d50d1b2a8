from __future__ import annotations

import asyncio

import pytest

from skep.base.errors import Conflict, ContentsChanged, NodeNotFound, PreconditionFailed, QuotaExceeded, SkepError
from skep.filesystem import ALWAYS, BatchItem, Conditions
from skep.testing.files import admin, pieces


async def outcomes(*doing):
    """Results or deliberate refusals; anything else is raised."""
    found = await asyncio.gather(*doing, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, SkepError):
            raise one
    return found


async def test_writers_of_one_path_make_one_version_each(bench, ada):
    done = await outcomes(*[bench.put(ada, "/d/f", b"%d" % number) for number in range(16)])
    assert sorted(one.version.number for one in done) == list(range(1, 17))
    assert sum(one.created for one in done) == 1
    last = next(one for one in done if one.version.number == 16)
    assert (await bench.filesystem.by_path(ada, None, "/d/f")).etag == last.node.etag
    assert await bench.findings() == []


async def test_of_many_who_create_only_one_does(bench, ada):
    fresh = Conditions(if_none_match=("*",))
    done = await outcomes(*[bench.put(ada, "/f", b"%d" % number, conditions=fresh) for number in range(16)])
    assert sum(isinstance(one, PreconditionFailed) for one in done) == 15


async def test_of_many_who_saw_the_same_only_one_replaces(bench, ada):
    seen = Conditions(if_match=((await bench.put(ada, "/f", b"0")).node.etag,))
    done = await outcomes(*[bench.put(ada, "/f", b"x%d" % number, conditions=seen) for number in range(16)])
    assert sum(isinstance(one, PreconditionFailed) for one in done) == 15
    node = await bench.filesystem.by_path(ada, None, "/f")
    assert node.version_number == 2


async def test_64_writers_never_pass_the_quota(bench, ada):
    home = await bench.filesystem.home(ada)
    await bench.filesystem.set_quota(admin(), home.id, 1000)
    batch = [BatchItem(f"/batch/{number}", b"y" * 50) for number in range(10)]
    done = await outcomes(
        *[bench.put(ada, f"/{number}", b"%02d" % number * 20) for number in range(64)],
        *[bench.filesystem.write_batch(ada, None, batch) for _ in range(4)],
    )
    refused = sum(isinstance(one, QuotaExceeded) for one in done)
    assert refused > 0
    after = await bench.filesystem.home(ada)
    assert 960 < after.used_bytes <= 1000
    assert await bench.findings() == []


async def test_moving_and_deleting_at_once(bench, ada):
    for number in range(10):
        node = (await bench.put(ada, f"/d{number}/f", b"x")).node
        parent = node.parent_id
        await outcomes(
            bench.filesystem.move(ada, node.id, None, f"/g{number}"),
            bench.filesystem.delete(ada, parent),
            bench.filesystem.update(ada, node.id, name="h"),
            bench.put(ada, f"/d{number}/i", b"yy"),
            bench.filesystem.copy(ada, parent, None, f"/c{number}"),
        )
    assert await bench.findings() == []


async def test_two_moves_cannot_make_a_ring(bench, ada):
    for _ in range(5):
        one = await bench.filesystem.make_directory(ada, None, "/one")
        two = await bench.filesystem.make_directory(ada, None, "/two")
        done = await outcomes(
            bench.filesystem.move(ada, one.id, None, "/two/one"),
            bench.filesystem.move(ada, two.id, None, "/one/two"),
        )
        assert sum(isinstance(result, NodeNotFound | Conflict | SkepError) for result in done) == 1
        assert await bench.findings() == []
        for name in ("/one", "/two"):
            try:
                node = await bench.filesystem.by_path(ada, None, name)
            except NodeNotFound:
                continue
            await bench.filesystem.delete(ada, node.id, permanently=True)


async def test_restoring_and_purging_at_once(bench, ada):
    for number in range(10):
        node = (await bench.put(ada, f"/{number}", b"x")).node
        await bench.filesystem.delete(ada, node.id)
        done = await outcomes(
            bench.filesystem.restore_from_trash(ada, node.id),
            bench.filesystem.purge(ada, node.id),
            bench.filesystem.restore_from_trash(ada, node.id),
        )
        assert sum(not isinstance(one, SkepError) for one in done) == 1
    assert await bench.findings() == []


async def test_who_is_cancelled_leaves_all_or_nothing(bench, ada):
    for turns in range(0, 40, 2):
        writing = asyncio.ensure_future(bench.put(ada, f"/{turns}", b"body"))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
        try:
            assert await bench.get(ada, f"/{turns}") == b"body"
        except NodeNotFound:
            pass
    assert await bench.findings() == []


async def test_a_file_that_changes_while_it_moves_to_another_space_is_not_lost(bench, monkeypatch):
    club = await bench.group("club")
    ann = await bench.user("ann", [club])
    shared = (await bench.filesystem.spaces(ann))[1]
    node = (await bench.put(ann, "/f", b"1")).node
    real, left = bench.chunks.read, [2]

    async def read_and_change(*args, **more):
        if left[0]:
            left[0] -= 1
            await bench.filesystem.write_file(ann, None, "/f", pieces(b"new %d" % left[0]), conditions=ALWAYS)
        async for part in real(*args, **more):
            yield part

    monkeypatch.setattr(bench.chunks, "read", read_and_change)
    moved = await bench.filesystem.move(ann, node.id, shared.id, "/f")
    assert moved.version_number == 3
    assert [await bench.get(ann, "/f", shared.id, number) for number in (1, 2, 3)] == [b"1", b"new 1", b"new 0"]
    left[0] = 1_000
    with pytest.raises(ContentsChanged):
        await bench.filesystem.move(ann, (await bench.put(ann, "/f", b"1")).node.id, shared.id, "/g")
    assert await bench.findings() == []
