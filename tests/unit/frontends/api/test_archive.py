"""Zip downloads, and the tickets that browsers download with."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import httpx

from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive

FILES = "/api/filesystem"


async def put(client: httpx.AsyncClient, path: str, content: bytes) -> str:
    answer = await client.put(f"{FILES}/data", params={"path": path, "parents": "1"}, content=content)
    assert answer.status_code == 201
    return str(answer.json()["node"]["id"])


async def node_id(client: httpx.AsyncClient, path: str) -> str:
    return str((await client.get(f"{FILES}/info", params={"path": path, "depth": 0})).json()["info"]["id"])


def names(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


async def test_a_directory_comes_with_all_below_it(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada = await hive.client("ada")
        big = bytes(range(256)) * 9000
        await put(ada, "/Holiday/day 1/beach.bin", big)
        await put(ada, "/Holiday/Größe.txt", b"x")
        await ada.post(f"{FILES}/mkdir", json={"path": "/Holiday/empty"})
        holiday = await node_id(ada, "/Holiday")
        answer = await ada.get(f"{FILES}/zip", params={"nodes": holiday})
        assert answer.headers["content-disposition"] == 'attachment; filename="Holiday.zip"'
        assert names(answer) == {
            "Holiday/": b"", "Holiday/Größe.txt": b"x", "Holiday/day 1/": b"", "Holiday/day 1/beach.bin": big,
            "Holiday/empty/": b"",
        }  # fmt: skip


async def test_several_nodes_of_one_name_stay_apart(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada = await hive.client("ada")
        ids = [await put(ada, path, path.encode()) for path in ("/a/note.txt", "/b/note.txt")]
        answer = await ada.get(f"{FILES}/zip", params={"nodes": ",".join(ids), "name": "both"})
        assert answer.headers["content-disposition"] == 'attachment; filename="both.zip"'
        assert names(answer) == {"note.txt": b"/a/note.txt", "note (2).txt": b"/b/note.txt"}


async def test_others_nodes_are_in_no_archive_and_no_ticket(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada, eve = await hive.client("ada"), await hive.client("eve")
        secret = await put(ada, "/secret", b"hers")
        own = await put(eve, "/own", b"mine")
        assert (await eve.get(f"{FILES}/zip", params={"nodes": f"{own},{secret}"})).status_code == 404
        assert (await eve.post(f"{FILES}/tickets", json={"nodes": [secret]})).status_code == 404
        assert (await eve.get(f"{FILES}/zip", params={"nodes": "nonsense"})).status_code == 404
        assert (await eve.post(f"{FILES}/tickets", json={"nodes": []})).status_code == 400
        assert (await hive.anonymous.get(f"{FILES}/zip", params={"nodes": own})).status_code == 401


async def ticket_for(client: httpx.AsyncClient, *nodes: str) -> str:
    answer = await client.post(f"{FILES}/tickets", json={"nodes": list(nodes)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["ticket"])


async def test_a_ticket_reads_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada, nobody = await hive.client("ada"), hive.anonymous
        one, two = await put(ada, "/one", b"first"), await put(ada, "/two", b"second")
        ticket = await ticket_for(ada, one)
        answer = await nobody.get(f"{FILES}/data/{one}", params={"ticket": ticket}, headers={"range": "bytes=1-2"})
        assert (answer.status_code, answer.content) == (206, b"ir")
        assert (await nobody.get(f"{FILES}/data/{one}/1", params={"ticket": ticket})).content == b"first"
        saved = await nobody.get(f"{FILES}/data/{one}", params={"ticket": ticket, "download": "1"})
        assert saved.headers["content-disposition"].startswith("attachment")
        assert (await nobody.get(f"{FILES}/data/{two}", params={"ticket": ticket})).status_code == 401
        assert (await nobody.get(f"{FILES}/info/{one}", params={"ticket": ticket})).status_code == 401
        assert (await nobody.get(f"{FILES}/data/{one}", params={"ticket": ticket[:-2]})).status_code == 401
        assert (await nobody.get(f"{FILES}/data/{one}", params={"ticket": "x" * 7000})).status_code == 401
        both = await ticket_for(ada, one, two)
        zipped = await nobody.get(f"{FILES}/zip", params={"nodes": f"{one},{two}", "ticket": both})
        assert names(zipped) == {"one": b"first", "two": b"second"}
        assert (await nobody.get(f"{FILES}/zip", params={"nodes": f"{two},{one}", "ticket": both})).status_code == 401


async def test_a_ticket_ends_with_the_login_that_made_it(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock) as hive:
        ada = await hive.client("ada")
        one = await put(ada, "/one", b"first")
        ticket = await ticket_for(ada, one)
        assert await _status(hive, one, ticket) == 200
        assert (await ada.post("/api/auth/logout")).status_code == 204
        assert await _status(hive, one, ticket) == 401
        again = await hive.login("ada")
        fresh = await ticket_for(again, one)
        await clock.advance(16 * 60)
        assert await _status(hive, one, fresh) == 401


async def _status(hive: TestHive, node: str, ticket: str) -> int:
    answer = await hive.anonymous.get(f"{FILES}/data/{node}", params={"ticket": ticket})
    return answer.status_code
