"""The MetaDisk door as its programs use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.testing.hive import TestHive, open_test_hive

STAR = "c508708d7a8a0db90e92f15510ee3ef488bd67a8e6982489e0d27bd0bcaf7741"
STAR_KEY = "0372c3a52ffa439556db30e6a2a6cd7bae4fb498bd58996919a61bdac831fe3f"
STAR_SEALED = bytes.fromhex("e5d264b13e3ad6eac183f2")
CONTENT = b"Superstar!\n"
BIG = bytes(range(256)) * 20_000
TOKEN = "oiFyR2NcMvaSiNDf"
UNKNOWN = "ab" * 32


def opened(place: Path, **settings: Any) -> AbstractAsyncContextManager[TestHive]:
    return open_test_hive(place, **{"metadisk__access": "anyone", **settings})


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with opened(tmp_path) as found:
        yield found


async def put(client: httpx.AsyncClient, content: bytes = CONTENT, name: str = "star.txt", **fields: str) -> Any:
    return await client.post("/api/upload", files={"file": (name, content)}, data=fields)


async def test_a_file_has_the_hash_and_key_that_metadisk_gives_it(hive: TestHive) -> None:
    answer = await put(hive.anonymous)
    assert (answer.status_code, answer.json()) == (201, {"filehash": STAR, "key": STAR_KEY})
    sealed = await hive.anonymous.get(f"/api/download/{STAR}")
    assert (sealed.status_code, sealed.content) == (200, STAR_SEALED)
    opened = await hive.anonymous.get(f"/api/download/{STAR}?key={STAR_KEY}")
    assert (opened.status_code, opened.content) == (200, CONTENT)
    assert opened.headers["content-disposition"] == 'attachment; filename="c508708_star.txt"'
    assert opened.headers["content-type"] == "application/octet-stream"
    assert opened.headers["etag"] != sealed.headers["etag"]
    head = await hive.anonymous.head(f"/api/download/{STAR}?key={STAR_KEY}")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "11", b"")


async def test_find_tells_what_is_known(hive: TestHive) -> None:
    await put(hive.anonymous, name="../dir/star.txt")
    found = (await hive.anonymous.get(f"/api/find/{STAR.upper()}")).json()
    assert int(found.pop("datetime")) > 0
    assert found == {
        "filehash": STAR, "filename": "star.txt", "filesize": 11, "uploads": [], "version": "0.2"
    }  # fmt: skip
    gone = await hive.anonymous.get(f"/api/find/{UNKNOWN}")
    assert (gone.status_code, gone.json()["error"]) == (404, "File not found")


async def test_a_large_file_goes_both_ways_in_ranges(hive: TestHive, tmp_path: Path) -> None:
    said = (await put(hive.anonymous, BIG)).json()
    url = f"/api/download/{said['filehash']}?key={said['key']}"
    assert (await hive.anonymous.get(url)).content == BIG
    part = await hive.anonymous.get(url, headers={"range": "bytes=1000003-3000017"})
    assert (part.status_code, part.content) == (206, BIG[1000003:3000018])
    tail = await hive.anonymous.get(url, headers={"range": "bytes=-5"})
    assert (tail.status_code, tail.content) == (206, BIG[-5:])
    outside = await hive.anonymous.get(url, headers={"range": f"bytes={len(BIG)}-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{len(BIG)}")
    same = await hive.anonymous.get(url, headers={"if-none-match": part.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert list((tmp_path / "spool").iterdir()) == []


async def test_the_same_file_is_stored_once_whoever_sends_it(hive: TestHive) -> None:
    ann = await hive.client("ann")
    said = [(await put(client, BIG, name)).json() for client, name in ((hive.anonymous, "a"), (ann, "b"))]
    together = await asyncio.gather(*(put(hive.anonymous, b"x" * 70_000) for _ in range(8)))
    assert said[0] == said[1]
    assert {answer.status_code for answer in together} == {201}
    storage = (await hive.anonymous.get("/api/status")).json()["storage"]
    assert (storage["files"], storage["used"]) == (2, len(BIG) + 70_000)
    assert (await hive.hive.services.facts())["live_bytes"] < 1.1 * len(BIG)
    assert (await hive.anonymous.get(f"/api/find/{said[0]['filehash']}")).json()["filename"] == "a"


async def test_a_wrong_key_opens_nothing(hive: TestHive) -> None:
    await put(hive.anonymous)
    for key, status in ((UNKNOWN, 403), ("", 400), ("zz" * 32, 400), (STAR_KEY[:-2], 400), (STAR_KEY + "00", 400)):
        answer = await hive.anonymous.get(f"/api/download/{STAR}", params={"key": key})
        assert answer.status_code == status, key
        assert answer.json()["detail"]
    for wrong in ("x", "a" * 63, "a" * 65, "g" * 64, f"{STAR}/x", "%00"):
        assert (await hive.anonymous.get(f"/api/download/{wrong}")).status_code == 400, wrong
    gone = await hive.anonymous.get(f"/api/download/{UNKNOWN}?key={STAR_KEY}")
    assert (gone.status_code, gone.json()["error"]) == (404, "file-not-found")
    assert (await hive.anonymous.get(f"/api/download/{STAR}?key=a&key=b")).status_code == 400


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\ntorn'),
        (
            "multipart/form-data; boundary=b",
            2 * b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n' + b"--b--\r\n",
        ),
    ],
)
async def test_a_form_that_is_none_stores_nothing(hive: TestHive, kind: str, body: bytes) -> None:
    answer = await hive.anonymous.post("/api/upload", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]) == (400, "bad-request")
    assert (await hive.anonymous.get("/api/status")).json()["storage"]["files"] == 0


async def test_sizes_are_limited(tmp_path: Path) -> None:
    async with opened(tmp_path, metadisk__file_bytes=1 << 20, metadisk__storage_bytes=3_000_000) as hive:
        over = await put(hive.anonymous, bytes((1 << 20) + 1))
        assert (over.status_code, over.json()["error"]) == (413, "file-too-large")
        claims = {"content-type": "multipart/form-data; boundary=b", "content-length": "9" * 18}
        huge = await hive.anonymous.post("/api/upload", content=b"x", headers=claims)
        assert huge.status_code == 413
        tries = [put(hive.anonymous, bytes([number]) * (1 << 20)) for number in range(5)]
        answers = await asyncio.gather(*tries)
        assert sorted(answer.status_code for answer in answers) == [201, 201, 507, 507, 507]
        storage = (await hive.anonymous.get("/api/status")).json()["storage"]
        assert storage == {"capacity": 3_000_000, "used": 2 << 20, "max_file_size": 1 << 20, "files": 2}


async def test_traffic_of_the_month_is_told_and_limited(tmp_path: Path) -> None:
    async with opened(tmp_path, metadisk__incoming_bytes=200_000, metadisk__outgoing_bytes=150_000) as hive:
        said = (await put(hive.anonymous, bytes(100_000))).json()
        url = f"/api/download/{said['filehash']}"
        assert (await hive.anonymous.get(url)).status_code == 200
        refused = await hive.anonymous.get(url)
        assert (refused.status_code, refused.json()["error"]) == (402, "traffic-exceeded")
        assert (await put(hive.anonymous, bytes(150_000))).status_code == 402
        await settle(hive)
        told = (await hive.anonymous.get("/api/status")).json()["bandwidth"]
        assert told == {
            "total": {"incoming": 100_000, "outgoing": 100_000},
            "current": {"incoming": 100_000, "outgoing": 100_000},
            "limits": {"incoming": 200_000, "outgoing": 150_000},
        }


async def test_the_status_has_what_metadisk_pages_read(hive: TestHive) -> None:
    said = (await hive.anonymous.get("/api/status")).json()
    assert said["sync"] == {"cloud_queue": {"count": 0, "size": 0}, "blockchain_queue": {"count": 0, "size": 0}}
    assert said["datacoin"] == {"balance": 0, "address": "", "block": 0}
    assert said["storage"]["capacity"] == 10 << 30


async def test_transfers_cost_what_the_classic_policy_says(tmp_path: Path) -> None:
    async with opened(tmp_path, credit__costs="classic") as hive:
        admin = await hive.client("root", is_admin=True)
        unpaid = await put(hive.anonymous)
        assert (unpaid.status_code, unpaid.json()["error"]) == (402, "balance-insufficient")
        assert (await put(hive.anonymous, token=TOKEN)).status_code == 402
        await give(admin, 1000)
        for _ in range(2):  # stored once, charged each time
            said = (await put(hive.anonymous, bytes(100), token=TOKEN)).json()
        url = f"/api/download/{said['filehash']}"
        assert (await hive.anonymous.get(url)).status_code == 402
        assert (await hive.anonymous.get(url, params={"token": TOKEN})).status_code == 200
        assert (await hive.anonymous.get(url, params={"token": "no token"})).status_code == 400
        assert (await hive.anonymous.get(f"/api/download/{UNKNOWN}", params={"token": TOKEN})).status_code == 404
        await settle(hive)
        assert (
            await balance(hive) == 1000 - 800 - 100
        )  # the stores are of this machine: a download costs its bytes once
        dear = await put(hive.anonymous, bytes(26), token=TOKEN)
        assert (dear.status_code, dear.json()["error"]) == (402, "balance-insufficient")
        await settle(hive)
        assert await balance(hive) == 100


async def test_an_upload_that_fails_costs_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, credit__costs="classic", metadisk__storage_bytes=50) as hive:
        admin = await hive.client("root", is_admin=True)
        await give(admin, 1000)
        answer = await put(hive.anonymous, bytes(100), token=TOKEN)
        assert (answer.status_code, answer.json()["error"]) == (507, "storage-full")
        await settle(hive)
        assert await balance(hive) == 1000


async def give(admin: httpx.AsyncClient, amount: int) -> None:
    """Credit the token."""
    deposit = {"account": f"token:{TOKEN}", "amount": amount, "unit": "bytes", "key": "a"}
    assert (await admin.post("/api/credit/deposits", json=deposit)).is_success


async def settle(hive: TestHive) -> None:
    """Post what passed."""
    meter: Any = hive.hive.filesystem.meter
    await meter.post()


async def balance(hive: TestHive) -> int:
    return int((await hive.anonymous.get(f"/accounts/token/balance/{TOKEN}")).json()["balance"])


async def test_only_accounts_upload_where_it_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path, metadisk__access="accounts") as hive:
        admin = await hive.client("root", is_admin=True)
        assert (await put(hive.anonymous)).status_code == 401
        assert (await put(hive.anonymous, token=TOKEN)).status_code == 402
        await give(admin, 1)
        assert (await put(hive.anonymous, token=TOKEN)).status_code == 201
        assert (await put(await hive.client("ann"), b"of ann")).status_code == 201
        bad = await hive.anonymous.get(f"/api/download/{STAR}", headers={"authorization": "Bearer nonsense"})
        assert bad.status_code == 401
        assert (await hive.anonymous.get(f"/api/download/{STAR}?key={STAR_KEY}")).content == CONTENT


async def test_administrators_take_files_away(hive: TestHive) -> None:
    await put(hive.anonymous)
    assert (await hive.hive.keepers.checker.run(read_data=True)).clean
    ann, root = await hive.client("ann"), await hive.client("root", is_admin=True)
    at = f"/api/find/{STAR}"
    found = [(await client.delete(at)).status_code for client in (hive.anonymous, ann, root, root)]
    assert found == [401, 403, 204, 404]
    assert (await hive.anonymous.get("/api/status")).json()["storage"]["used"] == 0
    assert (await put(hive.anonymous)).status_code == 201
    assert (await hive.hive.keepers.checker.run(read_data=True)).clean


async def test_methods_and_paths(hive: TestHive) -> None:
    wrong = await hive.anonymous.get("/api/upload")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert (await hive.anonymous.get("/api/download/")).status_code == 404
    assert (await hive.anonymous.get("/api/status/x")).status_code == 404
    preflight = await hive.anonymous.options("/api/upload", headers={"origin": "https://page.example"})
    assert preflight.status_code in (200, 204)
    assert (await hive.anonymous.get("/api/status")).headers["access-control-allow-origin"] == "*"


async def test_a_closed_door_is_not_there(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        for path in ("upload", "status", f"download/{STAR}", f"find/{STAR}"):
            assert (await hive.anonymous.get(f"/api/{path}")).status_code == 404
