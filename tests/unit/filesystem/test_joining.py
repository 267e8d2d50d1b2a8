"""Small files that are ready together are committed together, each with its own result."""

from __future__ import annotations

import asyncio

import pytest

from skep.base.errors import NodeNotFound, PreconditionFailed, QuotaExceeded, SpaceNotFound
from skep.base.ids import new_id
from skep.filesystem import Conditions
from skep.testing.files import admin, pieces


async def test_joined_files_share_transactions_and_keep_their_results(bench, ada):
    await bench.put(ada, "/taken", b"old")
    before = (await bench.filesystem.home(ada)).used_bytes
    new_only = Conditions(if_none_match=("*",))
    results = await asyncio.gather(
        *(bench.put(ada, f"/f{number}", bytes([number])) for number in range(40)),
        bench.put(ada, "/taken", b"new", conditions=new_only),
        bench.put(ada, "/missing/x", b"y", parents=False),
        return_exceptions=True,
    )
    assert [type(one) for one in results[40:]] == [PreconditionFailed, NodeNotFound]
    assert sorted(result.node.path for result in results[:40]) == sorted(f"/f{number}" for number in range(40))
    assert all(result.created for result in results[:40])
    assert (await bench.filesystem.home(ada)).used_bytes == before + 40
    for number in (0, 39):
        assert await bench.get(ada, f"/f{number}") == bytes([number])
    assert await bench.findings() == []


async def test_the_same_name_at_once_makes_versions(bench, ada):
    results = await asyncio.gather(*(bench.put(ada, "/same", bytes([number])) for number in range(10)))
    assert sorted(result.version.number for result in results) == list(range(1, 11))
    assert [result.created for result in results].count(True) == 1


async def test_the_last_bytes_are_given_once(bench, ada):
    home = await bench.filesystem.home(ada)
    await bench.put(ada, "/first", b"1")
    await bench.filesystem.set_quota(admin(), home.id, 11)
    results = await asyncio.gather(
        *(bench.put(ada, f"/q{number}", b"1234") for number in range(16)), return_exceptions=True
    )
    assert sum(isinstance(one, QuotaExceeded) for one in results) == 14
    assert (await bench.filesystem.home(ada)).used_bytes == 9


async def test_a_space_that_was_taken_away_is_not_written_to(bench):
    group = await bench.group("club")
    ada = await bench.user("ada", [group])
    space = next(one for one in await bench.filesystem.spaces(ada) if one.kind == "group")
    await bench.filesystem.write_file(ada, space.id, "/a", pieces(b"1"), length=1)
    outsider = type(ada)(ada.user_id, ada.name, False, frozenset(), ada.scopes, "token")
    with pytest.raises(SpaceNotFound):
        await bench.filesystem.write_file(outsider, space.id, "/b", pieces(b"1"), length=1)
    with pytest.raises(SpaceNotFound):
        await bench.filesystem.write_file(outsider, new_id(), "/b", pieces(b"1"), length=1)


async def test_a_cancelled_writer_does_not_disturb_the_others(bench, ada):
    await bench.put(ada, "/warm", b"1")
    tasks = [asyncio.create_task(bench.put(ada, f"/c{number}", bytes(100))) for number in range(8)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(3), asyncio.CancelledError)
    assert {result.node.path for result in results} == {f"/c{number}" for number in range(8) if number != 3}
    assert await bench.findings() == []
