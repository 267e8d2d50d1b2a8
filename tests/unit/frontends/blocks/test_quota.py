"""What the owner of a prefix may store, and who pays for what is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from skep.testing.blocks import AT, Owner, allow, owner_of
from skep.testing.hive import TestHive, open_test_hive

SPARE = 150 << 10


async def test_quota_and_size_are_told(hive: TestHive, ada: Owner) -> None:
    assert (await ada.client.get(f"{AT}/quota/")).json() == {"quota": (1 << 63) - 1, "size": 0}
    await allow(hive, "ada", 1000)
    await ada.client.post(ada.at("a"), content=b"x" * 10)
    assert (await ada.client.get(f"{AT}/quota/")).json() == {"quota": 1000, "size": 10}


async def test_the_size_is_that_of_what_is_there_now(ada: Owner) -> None:
    for content in (b"x" * 500, b"y" * 300, b"y" * 300):
        await ada.client.post(ada.at("a"), content=content)
        assert await ada.used_bytes() == len(content)
    await ada.client.delete(ada.at("a"))
    assert await ada.used_bytes() == 0


async def test_what_fits_exactly_is_taken_and_a_byte_more_is_not(hive: TestHive, ada: Owner) -> None:
    await allow(hive, "ada", 100)
    assert (await ada.client.post(ada.at("blocks/a"), content=b"x" * 100)).status_code == 204
    over = await ada.client.post(ada.at("blocks/b"), content=b"x")
    assert (over.status_code, "507: Quota reached" in over.text) == (507, True)
    assert (await ada.client.delete(ada.at("blocks/a"))).status_code == 204
    assert (await ada.client.post(ada.at("blocks/b"), content=b"x")).status_code == 204


async def test_over_quota_metadata_is_overwritten_by_what_differs_little(hive: TestHive, ada: Owner) -> None:
    await ada.client.post(ada.at("dm"), content=b"m" * 1000)
    await ada.client.post(ada.at("blocks/a"), content=b"b" * 1000)
    await allow(hive, "ada", 2000)
    assert (await ada.client.post(ada.at("dm"), content=b"n" * (1000 + SPARE))).status_code == 507
    largest = await ada.client.post(ada.at("dm"), content=b"n" * (1000 + SPARE - 1))
    assert largest.status_code == 204
    assert await ada.used_bytes() == 1000 + 1000 + SPARE - 1
    assert (await ada.client.post(ada.at("dm"), content=b"n" * (1000 + 2 * SPARE - 1))).status_code == 507
    assert (await ada.client.post(ada.at("dm"), content=b"o" * 1000)).status_code == 204
    assert await ada.used_bytes() == 2000


async def test_over_quota_new_metadata_and_blocks_are_refused(hive: TestHive, ada: Owner) -> None:
    for path in ("block/a", "blocks/a"):
        await ada.client.post(ada.at(path), content=b"b" * 1000)
    await allow(hive, "ada", 1500)
    for path in ("new", "block/a", "blocks/a"):
        assert (await ada.client.post(ada.at(path), content=b"x")).status_code == 507, path
    assert await ada.used_bytes() == 2000


async def test_a_large_body_is_counted_too_where_its_length_is_not_told(hive: TestHive, ada: Owner) -> None:
    await ada.client.post(ada.at("dm"), content=b"m" * (300 << 10))
    await allow(hive, "ada", 1000)

    async def body(size_bytes: int) -> AsyncIterator[bytes]:
        for _ in range(0, size_bytes, 1024):
            yield b"n" * 1024

    assert (await ada.client.post(ada.at("dm"), content=body(400 << 10))).status_code == 204
    assert await ada.used_bytes() == 400 << 10
    assert (await ada.client.post(ada.at("dm"), content=body(600 << 10))).status_code == 507
    assert await ada.used_bytes() == 400 << 10


async def test_writers_at_once_do_not_pass_the_quota(hive: TestHive, ada: Owner) -> None:
    await allow(hive, "ada", 10_000)
    posts = [ada.client.post(ada.at(f"blocks/{n}"), content=b"%d" % n * 1000) for n in range(1, 10)]
    found = [answer.status_code for answer in await asyncio.gather(*posts)]
    assert set(found) <= {204, 507}
    assert await ada.used_bytes() <= 10_000


async def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, blocks__max_body_bytes=1000) as hive:
        ada = await owner_of(hive, "ada")
        assert (await ada.client.post(ada.at("a"), content=b"x" * 1000)).status_code == 204
        over = await ada.client.post(ada.at("a"), content=b"x" * 1001)
        assert (over.status_code, "400: Content-Length too large" in over.text) == (400, True)

        async def body() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield b"x" * 100

        assert (await ada.client.post(ada.at("a"), content=body())).status_code == 400
        assert (await hive.anonymous.get(ada.at("a"))).content == b"x" * 1000


async def test_what_anybody_reads_is_traffic_of_the_owner(
    hive: TestHive, ada: Owner, anyone: httpx.AsyncClient
) -> None:
    root = await hive.client("root", is_admin=True)
    await ada.client.post(ada.at("a"), content=b"x" * 1000)
    limit = {"account": "user:ada", "traffic_bytes": 2500}
    assert (await root.put("/api/credit/limits", json=limit)).status_code == 200
    assert hive.hive.filesystem.meter is not None
    await hive.hive.filesystem.meter.refresh()  # its worker does, within seconds
    bob = await owner_of(hive, "bob")
    etag = (await anyone.get(ada.at("a"))).headers["etag"]
    assert (await bob.client.get(ada.at("a"))).status_code == 200
    assert (await anyone.get(ada.at("a"), headers={"if-none-match": etag})).status_code == 304
    over = await anyone.get(ada.at("a"))
    assert (over.status_code, "402: Quota reached" in over.text) == (402, True)
    assert (await ada.client.post(ada.at("b"), content=b"y")).status_code == 204
    assert (await ada.client.delete(ada.at("a"))).status_code == 204
    assert (await bob.client.post(bob.at("a"), content=b"z")).status_code == 204
    assert (await bob.client.get(bob.at("a"))).status_code == 200
