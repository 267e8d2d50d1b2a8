"""Streams through shares: only what is inside, with its paths from there, and no longer than the share lasts."""

from __future__ import annotations

import httpx
import pytest

from skep.testing.hive import TestHive
from skep.testing.live import Socket, open_socket

DATA = "/api/filesystem/data"


@pytest.fixture
async def bob(hive: TestHive) -> httpx.AsyncClient:
    return await hive.client("bob")


def bearer(client: httpx.AsyncClient) -> str:
    return client.headers["authorization"]


async def put(client: httpx.AsyncClient, path: str, **more: str) -> dict:
    answer = await client.put(DATA, params={"path": path, **more}, content=b"x")
    assert answer.is_success, answer.text
    return answer.json()["node"]


async def share(ada: httpx.AsyncClient, bob: httpx.AsyncClient, path: str) -> str:
    """Ada shares a directory with bob, who accepts; its id."""
    await put(ada, f"{path}/first")
    made = await ada.post("/api/filesystem/shares", json={"path": path, "user": "bob"})
    assert made.is_success, made.text
    share_id = made.json()["id"]
    assert (await bob.post(f"/api/filesystem/shares/held/{share_id}", json={"accept": True})).is_success
    return share_id


async def subscribed(socket: Socket, **wish: object) -> dict:
    await socket.say(type="subscribe", **wish)
    message = await socket.message()
    while message["type"] != "subscribed":
        assert message["type"] == "hello", message
        message = await socket.message()
    return message


async def test_a_holder_sees_what_happens_inside_with_paths_from_there(hive, ada, bob):
    share_id = await share(ada, bob, "/secret/plans")
    async with open_socket(hive.hive.app, bearer(bob)) as socket:
        begun = await subscribed(socket, space=share_id)
        assert begun["space"] == share_id
        await put(ada, "/secret/other")
        await put(ada, "/secret/plans/one")
        message = await socket.until("changes")
        assert [change["path"] for change in message["changes"]] == ["/one"]
        await ada.post("/api/filesystem/move", json={"path": "/secret/plans/one", "to_path": "/secret/away"})
        message = await socket.until("changes")
        assert [(change["kind"], change["path"]) for change in message["changes"]] == [("deleted", "/one")]
    await put(ada, "/secret/plans/two")
    async with open_socket(hive.hive.app, bearer(bob)) as socket:
        await subscribed(socket, cursor=message["cursor"])
        assert [change["path"] for change in (await socket.until("changes"))["changes"]] == ["/two"]


async def test_a_node_of_a_share_is_followed(hive, ada, bob):
    share_id = await share(ada, bob, "/d")
    node = await put(ada, "/d/file")
    async with open_socket(hive.hive.app, bearer(bob)) as socket:
        assert (await subscribed(socket, node=node["id"]))["space"] == share_id
        await put(ada, "/d/noise")
        await ada.post("/api/filesystem/move", json={"path": "/d/file", "to_path": "/d/sub"})
        message = await socket.until("changes")
        assert [(change["old_path"], change["path"]) for change in message["changes"]] == [("/file", "/sub")]


async def test_a_share_that_is_taken_back_ends_at_once(hive, ada, bob):
    share_id = await share(ada, bob, "/d")
    async with open_socket(hive.hive.app, bearer(bob)) as socket:
        await subscribed(socket, id="s", space=share_id)
        assert (await ada.delete(f"/api/filesystem/shares/{share_id}")).is_success
        ended = await socket.message()
        assert (ended["type"], ended["id"], ended["code"]) == ("ended", "s", "space-not-found")
        await put(ada, "/d/later")
        await socket.say(type="ping")
        assert (await socket.message())["type"] == "keepalive"


async def test_nothing_is_sent_after_a_share_went_even_unheard(hive, ada, bob):
    """Of a removal that nobody told streams of, the next change tells."""
    share_id = await share(ada, bob, "/d")
    async with open_socket(hive.hive.app, bearer(bob)) as socket:
        await subscribed(socket, id="s", space=share_id)
        hive.hive.filesystem.books.log.hub.leave(hive.hive.live.streams)
        assert (await ada.delete(f"/api/filesystem/shares/{share_id}")).is_success
        await put(ada, "/d/later")
        assert (await socket.message())["type"] == "ended"


async def test_rights_that_shrink_to_uploading_end_the_view(hive, ada, bob):
    share_id = await share(ada, bob, "/d")
    async with open_socket(hive.hive.app, bearer(bob)) as socket:
        await subscribed(socket, id="s", space=share_id)
        answer = await ada.patch(f"/api/filesystem/shares/{share_id}", json={"rights": "upload"})
        assert answer.is_success
        assert (await socket.message())["code"] == "forbidden"


async def test_a_share_that_was_moved_is_listed_anew(hive, ada, bob):
    share_id = await share(ada, bob, "/d")
    async with open_socket(hive.hive.app, bearer(bob)) as socket:
        await subscribed(socket, id="s", space=share_id)
        await ada.post("/api/filesystem/move", json={"path": "/d", "to_path": "/e"})
        resync = await socket.message()
        assert (resync["type"], resync["why"]) == ("resync", "too-old")
        await put(ada, "/e/new")
        assert [change["path"] for change in (await socket.message())["changes"]] == ["/new"]
