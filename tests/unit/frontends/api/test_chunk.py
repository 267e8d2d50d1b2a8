from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import sqlalchemy as sa

from skep.db import prepared, schema
from skep.filesystem import check, repair
from skep.testing.hive import TestHive, open_test_hive

CHUNK = "/api/chunk/"
SAMPLE = (
    b'--foo\r\nContent-Disposition: name="encryption"\r\n\r\naes256-md5\r\n'
    b'--foo\r\nContent-Disposition: name="durability"\r\n\r\nraid1(3)\r\n'
    b"--foo\r\n\r\n<<chunk data>>\r\n--foo\r\n"
)
SAMPLE_TYPE = {"content-type": 'multipart/form-data; boundary="--foo"'}


async def test_the_malformed_sample_of_the_first_specification_is_stored(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async with open_test_hive(tmp_path, stores=3, storage__user_schemes=["raid1(3)"]) as hive:
        ada = await hive.client("ada")
        answer = await ada.post(CHUNK, content=SAMPLE, headers=SAMPLE_TYPE)
        assert answer.status_code == 201
        record = answer.json()
        assert (record["size_bytes"], record["encryption"], record["durability"]) == (14, "aes256-md5", "raid1(3)")
        assert record["replicas"] == ["s0", "s1", "s2"]
        assert (await ada.get(answer.headers["location"])).content == b"<<chunk data>>"


async def test_a_form_a_plain_body_and_ranges(ada: httpx.AsyncClient) -> None:
    form = await ada.post(CHUNK, files={"durability": (None, "none"), "data": ("c", b"0123456789")})
    plain = await ada.put("/api/chunk", params={"durability": "none"}, content=b"0123456789")
    assert (form.status_code, plain.status_code) == (201, 201)
    assert form.json()["chunk_id"] != plain.json()["chunk_id"]
    assert form.json()["chunks"][0]["id"] == plain.json()["chunks"][0]["id"]
    url = f"{CHUNK}{plain.json()['chunk_id']}"
    assert (await ada.get(url, headers={"range": "bytes=2-4"})).content == b"234"
    assert (await ada.get(f"{url}/info")).json()["size_bytes"] == 10
    assert (await ada.delete(url)).status_code == 204
    assert (await ada.get(url)).json()["code"] == "chunk-not-found"
    assert (await ada.delete(url)).status_code == 404


async def test_chunks_of_others_do_not_exist(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    url = (await ada.put(CHUNK, content=b"mine")).headers["location"]
    assert [(await bob.request(verb, url)).status_code for verb in ("GET", "HEAD", "DELETE")] == [404, 404, 404]
    assert (await ada.get(url)).content == b"mine"


@pytest.mark.parametrize(
    ("durability", "words"),
    [("raid1(x)", "invalid raid count"), ("raid9(3)", "unsupported raid level"), ("paper", "unsupported durability")],
)
async def test_schemes_that_make_no_sense(ada: httpx.AsyncClient, durability: str, words: str) -> None:
    answer = await ada.put(CHUNK, params={"durability": durability}, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-scheme")
    assert words in answer.json()["detail"]


async def test_schemes_that_users_may_not_choose(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async with open_test_hive(tmp_path, stores=3, storage__user_schemes=["raid5(3)"]) as hive:
        ada, admin = await hive.client("ada"), await hive.client("root", is_admin=True)

        async def ask(client: httpx.AsyncClient, scheme: str) -> tuple[int, str]:
            answer = await client.put(CHUNK, params={"durability": scheme}, content=b"x")
            said = answer.json()
            return answer.status_code, said["durability"] if answer.status_code == 201 else said["code"]

        assert [await ask(ada, scheme) for scheme in ("none", "raid5(3)")] == [(201, "none"), (201, "raid5(3)")]
        assert await ask(ada, "raid1(3)") == (403, "forbidden")
        assert await ask(admin, "raid1(3)") == (201, "raid1(3)")
        form = await ada.post(CHUNK, content=SAMPLE, headers=SAMPLE_TYPE)
        assert (form.status_code, form.json()["details"]) == (403, {"allowed": "raid5(3)"})


async def test_other_bad_input(ada: httpx.AsyncClient) -> None:
    unknown = await ada.put(CHUNK, params={"encryption": "rot13"}, content=b"x")
    assert (unknown.status_code, "aes256-gcm" in unknown.json()["detail"]) == (400, True)
    assert (await ada.post(CHUNK, files={"durability": (None, "none")})).status_code == 400
    assert (await ada.post(CHUNK, content=b"x")).status_code == 400


async def used_bytes(client: httpx.AsyncClient) -> int:
    used: int = (await client.get("/api/filesystem/spaces")).json()["spaces"][0]["used_bytes"]
    return used


async def test_chunks_count_against_the_quota_of_their_owner(hive: TestHive, ada: httpx.AsyncClient) -> None:
    admin = await hive.client("root", is_admin=True)
    space = (await ada.get("/api/filesystem/spaces")).json()["spaces"][0]["id"]
    await admin.patch(f"/api/filesystem/spaces/{space}", json={"quota_bytes": 10})
    kept = await ada.put(CHUNK, content=b"123456")
    assert (kept.status_code, await used_bytes(ada)) == (201, 6)
    full = await ada.put(CHUNK, content=b"12345")
    assert (full.status_code, full.json()["code"]) == (507, "quota-exceeded")
    streamed = await ada.put(CHUNK, content=_pieces(2_000_000))
    assert (streamed.status_code, streamed.json()["code"]) == (507, "quota-exceeded")
    file = await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"12345")
    assert file.status_code == 507
    assert [finding async for finding in check(hive.hive.db)] == []
    assert (await ada.delete(kept.headers["location"])).status_code == 204
    assert await used_bytes(ada) == 0
    assert (await ada.put(CHUNK, content=b"12345")).status_code == 201


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 1000):
        yield b"x" * 1000


async def test_a_wrong_sum_of_chunks_is_found_and_corrected(hive: TestHive, ada: httpx.AsyncClient) -> None:
    await ada.put(CHUNK, content=b"123456")
    db = hive.hive.db
    await db.write(lambda tx: tx.run(prepared(sa.update(schema.spaces).values(used_bytes=0))))
    assert [finding.check async for finding in check(db)] == ["used-bytes"]
    assert await repair(db) == 1
    assert await used_bytes(ada) == 6


async def test_chunks_of_a_user_who_goes_are_let_go(hive: TestHive, ada: httpx.AsyncClient) -> None:
    admin = await hive.client("root", is_admin=True)
    await ada.put(CHUNK, content=b"123456")
    assert (await admin.delete("/api/auth/users/ada")).status_code == 204
    db = hive.hive.db
    left = await db.read(lambda tx: tx.rows(prepared(sa.select(schema.objects.c.id))))
    held = await db.read(lambda tx: tx.rows(prepared(sa.select(schema.chunks.c.refs))))
    assert (left, held) == ([], [(0,)])
