"""What passes through the doors is counted for the owner of the space, and limits hold there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skep.testing.hive import TestHive, open_test_hive

DATA, CREDIT = "/api/filesystem/data", "/api/credit"
MB = 1 << 20


@pytest.fixture
async def paid(tmp_path: Path) -> AsyncIterator[TestHive]:
    """A hive where transfers cost what they did at MetaDisk."""
    async with open_test_hive(tmp_path, credit__costs="classic") as opened:
        yield opened


async def month(hive: TestHive, client: httpx.AsyncClient, account: str = "") -> dict[str, int]:
    assert hive.hive.filesystem.meter is not None
    await hive.hive.filesystem.meter.post()
    return dict((await client.get(f"{CREDIT}/usage", params={"account": account})).json()["months"][0])


async def test_64_uploads_at_once_never_exceed_the_last_megabyte(hive: TestHive) -> None:
    admin, ada = await hive.client("root", is_admin=True), await hive.client("ada")
    await admin.patch("/api/auth/users/ada/space", json={"quota_bytes": MB})
    size = 100_000
    tries = [ada.put(DATA, params={"path": f"/{n}"}, content=bytes([n]) * size) for n in range(64)]
    found = [answer.status_code for answer in await asyncio.gather(*tries)]
    assert (found.count(201), found.count(507)) == (10, 54)
    assert (await admin.get("/api/auth/users/ada/space")).json()["used_bytes"] == 10 * size


async def test_traffic_is_the_owners_and_ends_with_402(hive: TestHive) -> None:
    admin, ada = await hive.client("root", is_admin=True), await hive.client("ada")
    await admin.put(f"{CREDIT}/limits", json={"account": "user:ada", "traffic_bytes": 25_000})
    await hive.hive.filesystem.meter.refresh()
    for n in range(2):
        assert (await ada.put(DATA, params={"path": f"/{n}"}, content=b"x" * 10_000)).status_code == 201
        assert (await ada.get(DATA, params={"path": f"/{n}"})).status_code == 200
    assert (await ada.get(DATA, params={"path": "/0"}, headers={"range": "bytes=0-4999"})).status_code == 206
    over = await ada.get(DATA, params={"path": "/0"}, headers={"range": "bytes=0-0"})
    assert (over.status_code, over.json()["code"]) == (402, "traffic-exceeded")
    assert (await ada.head(DATA, params={"path": "/0"})).status_code == 200
    assert (await ada.put(DATA, params={"path": "/2"}, content=b"more")).status_code == 201
    assert (await ada.delete("/api/filesystem/info", params={"path": "/2"})).status_code < 300
    found = await month(hive, ada)
    assert (found["in_bytes"], found["out_bytes"]) == (20_004, 25_000)
    assert (await ada.get(f"{CREDIT}/limits")).json()["traffic_bytes"] == 25_000


@pytest.mark.parametrize("metered", [True, False])
async def test_traffic_of_links_is_the_owners_if_the_hive_says_so(tmp_path: Path, metered: bool) -> None:
    async with open_test_hive(tmp_path, links__metered=metered) as hive:
        admin, ada = await hive.client("root", is_admin=True), await hive.client("ada")
        await admin.put(f"{CREDIT}/limits", json={"account": "user:ada", "traffic_bytes": MB})
        await hive.hive.filesystem.meter.refresh()
        assert (await ada.put(DATA, params={"path": "/d/f"}, content=b"x" * 1_000)).status_code == 201
        for rights, call in (("read", {"method": "GET"}), ("upload", {"method": "PUT", "content": b"y" * 100})):
            made = (await ada.post("/api/links", json={"path": "/d", "rights": rights})).json()
            url = f"/api/public/{made['token']}/data"
            answer = await hive.anonymous.request(url=url, params={"path": "/f"}, **call)
            assert answer.status_code in (200, 201), answer.text
        found = await month(hive, ada)
        assert (found["in_bytes"], found["out_bytes"]) == ((1_100, 1_000) if metered else (1_000, 0))


async def test_large_files_are_counted_as_they_flow(hive: TestHive) -> None:
    admin, ada = await hive.client("root", is_admin=True), await hive.client("ada")
    await admin.put(f"{CREDIT}/limits", json={"account": "user:ada", "traffic_bytes": 8 * MB})
    await hive.hive.filesystem.meter.refresh()
    body = bytes(range(256)) * (4 * MB // 256)
    assert (await ada.put(DATA, params={"path": "/big"}, content=body)).status_code == 201
    assert (await ada.get(DATA, params={"path": "/big"})).content == body
    assert (await ada.get(DATA, params={"path": "/big"})).content == body
    assert (await ada.get(DATA, params={"path": "/big"})).status_code == 402
    found = await month(hive, ada)
    assert (found["in_bytes"], found["out_bytes"]) == (4 * MB, 8 * MB)


async def test_transfers_cost_credit_and_failures_none(paid: TestHive) -> None:
    admin, ada = await paid.client("root", is_admin=True), await paid.client("ada")
    poor = await ada.put(DATA, params={"path": "/a"}, content=b"x" * 100)
    assert (poor.status_code, poor.json()["code"]) == (402, "credit-exhausted")
    await admin.post(f"{CREDIT}/deposits", json={"account": "user:ada", "amount": 10_000})
    assert (await ada.put(DATA, params={"path": "/a"}, content=b"x" * 1000)).status_code == 201
    wrong = {"digest": "sha-256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    await ada.put(DATA, params={"path": "/missing/b"}, content=b"x" * 1000, headers=wrong)
    assert (await ada.get(DATA, params={"path": "/a"})).status_code == 200
    await month(paid, ada)
    spent = (await ada.get(CREDIT)).json()["bytes"]
    refused = (await ada.get("/api/filesystem/info", params={"path": "/missing/b"})).status_code
    assert 10_000 - spent["amount"] == 6000 + (0 if refused == 404 else 4000)
    assert (await admin.get(f"{CREDIT}/audit")).json() == {"findings": []}


async def test_friends_never_meet_it(hive: TestHive) -> None:
    ada = await hive.client("ada")
    await ada.put(DATA, params={"path": "/a"}, content=b"x")
    assert (await ada.get(DATA, params={"path": "/a"})).status_code == 200
    assert (await month(hive, ada))["requests"] == 0
    assert not (hive.hive.settings.data_path() / "meter").exists()
