"""Contents that are in memory are still whose they are: each read asks who may, and what is there now."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skep.auth import internal_principal
from skep.base.clock import SystemClock
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.s3 import principal_of, signer_of
from skep.testing.stores import faulty_store

BODY = b"what was there at first"
DATA = "/api/filesystem/data"


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path, drivers={"s0": faulty_store()}) as opened:
        yield opened


@pytest.fixture
async def ada(hive: TestHive) -> httpx.AsyncClient:
    """Ada has read her file twice already."""
    ada = await hive.client("ada")
    assert (await ada.request("MKCOL", "/dav/d")).status_code == 201
    assert (await ada.put("/dav/d/a.txt", content=BODY)).status_code == 201
    for _ in range(2):
        assert (await ada.get("/dav/d/a.txt")).content == BODY
    assert hive.hive.chunks.reader.recent.hits == 1
    return ada


async def test_every_door_reads_it_from_memory(hive: TestHive, ada: httpx.AsyncClient) -> None:
    calls = len(hive.drivers["s0"].calls)  # type: ignore[attr-defined]
    assert (await ada.get("/dav/d/a.txt", headers={"range": "bytes=5-8"})).content == BODY[5:9]
    assert (await ada.get(DATA, params={"path": "/d/a.txt"})).content == BODY
    signer = await signer_of(hive, SystemClock(), "ada")
    assert (await signer.send("GET", "/d/a.txt")).content == BODY
    assert len(hive.drivers["s0"].calls) == calls  # type: ignore[attr-defined]


async def test_an_overwritten_file_is_the_new_one_at_once(ada: httpx.AsyncClient) -> None:
    old = await ada.get("/dav/d/a.txt")
    for number in range(3):
        body = b"version %d" % number
        await ada.put("/dav/d/a.txt", content=body)
        now = await ada.get("/dav/d/a.txt")
        assert (now.content, now.headers["etag"] == old.headers["etag"]) == (body, False)
        stale = {"if-match": old.headers["etag"]}
        assert (await ada.get("/dav/d/a.txt", headers=stale)).status_code == 412
    await ada.put("/dav/d/a.txt", content=BODY)
    again = await ada.get("/dav/d/a.txt", headers={"if-none-match": old.headers["etag"]})
    assert again.status_code == 304


async def test_what_is_deleted_moved_or_covered_is_not_found(ada: httpx.AsyncClient) -> None:
    await ada.request("MOVE", "/dav/d/a.txt", headers={"destination": "/dav/d/b.txt"})
    assert (await ada.get("/dav/d/a.txt")).status_code == 404
    assert (await ada.get("/dav/d/b.txt")).content == BODY
    await ada.request("MOVE", "/dav/d", headers={"destination": "/dav/e"})
    assert (await ada.get("/dav/d/b.txt")).status_code == 404
    assert (await ada.get("/dav/e/b.txt")).content == BODY
    await ada.delete("/dav/e")
    assert (await ada.get("/dav/e/b.txt")).status_code == 404
    assert (await ada.get("/dav/e/b.txt/")).status_code == 404
    await ada.request("MKCOL", "/dav/e")
    await ada.request("MKCOL", "/dav/e/b.txt")
    assert (await ada.get("/dav/e/b.txt")).headers["content-type"].startswith("text/html")


async def test_the_same_content_of_others_tells_them_nothing(hive: TestHive, ada: httpx.AsyncClient) -> None:
    bob = await hive.client("bob")
    assert (await bob.get("/dav/d/a.txt")).status_code == 404
    space = (await ada.get("/api/filesystem/spaces")).json()["spaces"][0]["id"]
    for client in (bob, hive.anonymous):
        answer = await client.get(f"/dav-spaces/{space}/d/a.txt")
        assert answer.status_code == (404 if client is bob else 401)
        assert BODY not in answer.content


async def test_a_share_that_is_taken_back_is_gone_at_once(hive: TestHive, ada: httpx.AsyncClient) -> None:
    bob = await hive.client("bob")
    shares = "/api/filesystem/shares"
    share = (await ada.post(shares, json={"path": "/d", "user": "bob", "rights": "read"})).json()["id"]
    await bob.post(f"{shares}/held/{share}", json={"accept": True, "name": "d"})
    for _ in range(2):
        assert (await bob.get("/dav-spaces/d/a.txt")).content == BODY
    await ada.patch(f"{shares}/{share}", json={"rights": "upload"})
    assert (await bob.get("/dav-spaces/d/a.txt")).status_code in (403, 404)
    await ada.patch(f"{shares}/{share}", json={"rights": "read"})
    assert (await bob.get("/dav-spaces/d/a.txt")).content == BODY
    await ada.delete(f"{shares}/{share}")
    assert (await bob.get("/dav-spaces/d/a.txt")).status_code == 404


async def test_who_leaves_a_group_reads_nothing_of_it_any_more(hive: TestHive, ada: httpx.AsyncClient) -> None:
    auth, admin = hive.hive.auth, internal_principal()
    group = await auth.create_group(admin, "club")
    await auth.add_member(admin, group.id, "ada")
    assert (await ada.put("/dav-spaces/club/a.txt", content=BODY)).status_code == 201
    for _ in range(2):
        assert (await ada.get("/dav-spaces/club/a.txt")).content == BODY
    space = next(one for one in (await ada.get("/api/filesystem/spaces")).json()["spaces"] if one["name"] == "club")
    assert (await ada.get(f"/dav-spaces/{space['id']}/a.txt")).content == BODY
    await auth.remove_member(admin, group.id, "ada")
    assert (await ada.get("/dav-spaces/club/a.txt")).status_code == 404
    assert (await ada.get(f"/dav-spaces/{space['id']}/a.txt")).status_code == 404


async def test_a_revoked_password_and_a_suspended_user_are_turned_away(hive: TestHive, ada: httpx.AsyncClient) -> None:
    made = (await ada.post("/api/auth/app-passwords", json={"name": "phone"})).json()
    basic = base64.b64encode(f"ada:{made['secret']}".encode()).decode()
    phone = {"authorization": f"Basic {basic}"}
    for _ in range(2):
        assert (await hive.anonymous.get("/dav/d/a.txt", headers=phone)).content == BODY
    assert (await ada.delete(f"/api/auth/app-passwords/{made['id']}")).status_code in (200, 204)
    assert (await hive.anonymous.get("/dav/d/a.txt", headers=phone)).status_code == 401
    await hive.hive.auth.suspend_user(internal_principal(), "ada")
    assert (await ada.get("/dav/d/a.txt")).status_code in (401, 403)


async def test_a_revoked_access_key_is_turned_away(hive: TestHive, ada: httpx.AsyncClient) -> None:
    signer = await signer_of(hive, SystemClock(), "ada")
    for _ in range(2):
        assert (await signer.send("GET", "/d/a.txt")).content == BODY
    assert (await signer.send("GET", "/d/b.txt")).status_code == 404
    assert (await signer.send("GET", "/e/a.txt")).status_code == 404
    (key,) = (await ada.get("/api/auth/access-keys")).json()["access_keys"]
    await ada.delete(f"/api/auth/access-keys/{key['access_key']}")
    assert (await signer.send("GET", "/d/a.txt")).status_code == 403


async def test_a_user_made_anew_does_not_see_what_was_there(hive: TestHive, ada: httpx.AsyncClient) -> None:
    files, principal = hive.hive.filesystem, await principal_of(hive, "ada")
    await files.delete(principal, (await files.by_path(principal, None, "/d")).id, permanently=True)
    await hive.hive.auth.delete_user(internal_principal(), "ada")
    assert (await ada.get("/dav/d/a.txt")).status_code == 401
    again = await hive.client("ada")
    assert (await again.get("/dav/d/a.txt")).status_code == 404
