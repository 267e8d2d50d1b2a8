"""The live stream in the test process: both transports, cursors, rights, limits, ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from skep.auth import internal_principal
from skep.events import decode_cursor
from skep.testing.clock import FakeClock, settle
from skep.testing.hive import TestHive
from skep.testing.live import Refused, Socket, open_events, open_socket

DATA = "/api/filesystem/data"


def bearer(client: httpx.AsyncClient) -> str:
    return client.headers["authorization"]


async def put(client: httpx.AsyncClient, path: str, content: bytes = b"x") -> dict[str, Any]:
    answer = await client.put(DATA, params={"path": path}, content=content)
    assert answer.is_success, answer.text
    return answer.json()["node"]


def paths(message: dict[str, Any]) -> list[str]:
    return [change["path"] for change in message["changes"]]


async def subscribed(socket: Socket, **wish: object) -> dict[str, Any]:
    await socket.say(type="subscribe", **wish)
    return await socket.until("subscribed")


async def test_a_socket_gets_changes_as_they_happen_and_goes_on_from_a_cursor(hive, ada):
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        hello = await socket.message()
        assert (hello["type"], hello["expires_in_s"]) == ("hello", 900)
        begun = await subscribed(socket, id="all")
        await put(ada, "/a.txt")
        first = await socket.until("changes")
        assert (first["id"], paths(first), first["changes"][0]["kind"]) == ("all", ["/a.txt"], "created")
    await put(ada, "/b.txt")
    await put(ada, "/c.txt")
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        await subscribed(socket, id="again", cursor=first["cursor"])
        assert paths(await socket.until("changes")) == ["/b.txt", "/c.txt"]
        await subscribed(socket, id="from start", cursor=begun["cursor"])
        assert paths(await socket.until("changes")) == ["/a.txt", "/b.txt", "/c.txt"]
        page = (await ada.get("/api/filesystem/changes", params={"cursor": first["cursor"]})).json()
        assert [change["path"] for change in page["changes"]] == ["/b.txt", "/c.txt"]


async def test_several_subscriptions_share_a_socket(hive, ada):
    node = await put(ada, "/d/one.txt")
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        await subscribed(socket, id="directory", path="/d")
        await subscribed(socket, id="file", node=node["id"])
        await put(ada, "/elsewhere.txt")
        await ada.post("/api/filesystem/move", json={"path": "/d", "to_path": "/e"})
        got = [await socket.until("changes") for _ in range(2)]
        assert {message["id"]: paths(message) for message in got} == {"directory": ["/e"], "file": ["/e"]}
        await socket.say(type="unsubscribe", id="directory")
        await put(ada, "/e/one.txt", b"again")
        message = await socket.until("changes")
        assert (message["id"], paths(message)) == ("file", ["/e/one.txt"])
        await put(ada, "/d/other.txt")
        await socket.say(type="ping")
        assert (await socket.message())["type"] == "keepalive"


async def test_events_carry_their_cursor_and_a_reconnect_misses_nothing(hive, ada):
    app = hive.hive.app
    async with open_events(app, bearer(ada), path="/d") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        assert [(await events.event()).get("event") for _ in range(2)] == ["hello", "subscribed"]
        await put(ada, "/d/a.txt")
        event = await events.event()
        while '"/d/a.txt"' not in event["data"]:
            event = await events.event()
    await put(ada, "/x.txt")
    await put(ada, "/d/b.txt")
    async with open_events(app, bearer(ada), headers={"last-event-id": event["id"]}, path="/d") as events:
        while (event := await events.event()).get("event") != "changes":
            pass
        assert '"/d/b.txt"' in event["data"]
        assert "x.txt" not in event["data"]


async def test_a_quiet_stream_shows_life_and_moves_its_cursor_on(hive, ada, clock: FakeClock):
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        begun = await subscribed(socket, path="/d")
        await put(ada, "/x.txt")
        await clock.advance(31)
        moved = await socket.until("changes")
        assert (moved["changes"], moved["cursor"] > begun["cursor"]) == ([], True)
        await clock.advance(31)
        assert (await socket.message())["type"] == "keepalive"


async def test_one_who_takes_nothing_gets_a_resync_and_fills_the_gap_from_the_journal(hive, ada):
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        await subscribed(socket)
        await put(ada, "/first")
        seen = await socket.until("changes")
        socket.flows.clear()
        await put(ada, "/held")  # on its way when the client stops taking
        for number in range(30):
            await put(ada, f"/{number}")
        socket.flows.set()
        message = await socket.message()
        while message["type"] == "changes":
            seen, message = message, await socket.message()
        assert (message["type"], message["why"], message["seen"]) == ("resync", "behind", seen["cursor"])
        page = (await ada.get("/api/filesystem/changes", params={"cursor": message["seen"]})).json()
        _, position = decode_cursor(message["cursor"])
        filled = [change["path"] for change in page["changes"] if change["number"] <= position]
        await put(ada, "/last")
        while filled[-1] != "/last":
            filled += paths(await socket.until("changes"))
        assert filled == [f"/{number}" for number in range(30 - len(filled) + 1, 30)] + ["/last"]


async def test_an_expired_token_ends_the_stream_with_its_own_code(hive, ada, clock: FakeClock):
    async with open_socket(hive.hive.app, bearer(ada)) as socket, open_events(hive.hive.app, bearer(ada)) as events:
        await subscribed(socket)
        await clock.advance(899)
        assert await subscribed(socket, id="still good")
        await clock.advance(2)
        assert (await socket.until("closing"))["code"] == "token-expired"
        assert (await socket.message(), socket.closed[0]) == ({}, 4401)
        while (event := await events.event()).get("event") != "closing":
            pass
        assert '"token-expired"' in event["data"]
        assert await events.event() == {}


async def test_a_fresh_token_prolongs_the_connection(hive, ada, clock: FakeClock):
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        await subscribed(socket)
        await clock.advance(800)
        fresh = await hive.login("ada")
        bob = await hive.client("bob")
        await socket.say(type="renew", token=bearer(bob)[7:])
        assert (await socket.until("refused"))["code"] == "forbidden"
        await socket.say(type="renew", token="nonsense")
        assert (await socket.until("refused"))["code"] == "invalid-token"
        await socket.say(type="renew", token=bearer(fresh)[7:])
        assert (await socket.until("renewed"))["expires_in_s"] == 900
        await clock.advance(800)
        await put(fresh, "/a.txt")
        assert paths(await socket.until("changes")) == ["/a.txt"]


@pytest.mark.parametrize("how", ["logout", "suspend", "password"])
async def test_a_revoked_credential_ends_the_stream_before_anything_more_is_sent(hive, ada, how):
    other = await hive.login("ada")
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        await subscribed(socket)
        match how:
            case "logout":
                assert (await ada.post("/api/auth/logout")).is_success
            case "suspend":
                admin = await hive.client("root", is_admin=True)
                assert (await admin.patch("/api/auth/users/ada", json={"is_active": False})).is_success
            case _:
                sent = {"old_password": "quiet meadow 41 lantern", "new_password": "another quiet meadow 41"}
                assert (await ada.post("/api/auth/password", json=sent)).is_success
        if how == "logout":
            await put(other, "/secret.txt")
        messages = [message async for message in _all(socket)]
        assert [message["type"] for message in messages] == ["closing"]
        assert socket.closed[0] == 4403


async def _all(socket: Socket):
    while message := await socket.message():
        yield message


async def test_a_member_who_leaves_the_group_sees_no_more_of_its_space(hive, ada):
    auth, root = hive.hive.auth, internal_principal()
    group = await auth.create_group(root, "bees")
    await auth.add_member(root, group.id, "ada")
    bob = await hive.client("bob")
    await auth.add_member(root, group.id, "bob")
    ada = await hive.login("ada")
    spaces = (await ada.get("/api/filesystem/spaces")).json()["spaces"]
    shared = next(space["id"] for space in spaces if space["kind"] == "group")
    async with (
        open_socket(hive.hive.app, bearer(ada)) as socket,
        open_events(hive.hive.app, bearer(ada), space=shared) as events,
    ):
        await subscribed(socket, id="group", space=shared)
        await subscribed(socket, id="own")
        await auth.remove_member(root, group.id, "ada")
        answer = await bob.put(DATA, params={"path": "/secret", "space": shared}, content=b"x")
        assert answer.is_success
        assert (await socket.message())["type"] == "ended"
        await put(ada, "/own.txt")
        message = await socket.message()
        assert (message["id"], paths(message)) == ("own", ["/own.txt"])
        while (event := await events.event()).get("event") != "ended":
            assert "secret" not in event.get("data", "")
        assert (await events.event())["event"] == "closing"
        assert await events.event() == {}


async def test_strangers_and_other_sites_get_no_stream(hive, ada):
    app = hive.hive.app

    async def refused(authorization: str | None = None, **how: Any) -> tuple[int, str]:
        with pytest.raises(Refused) as caught:
            async with open_socket(app, authorization, **how):
                pass
        return caught.value.status, caught.value.problem["code"]

    assert await refused() == (401, "unauthenticated")
    assert await refused("Bearer nonsense") == (401, "invalid-token")
    for path in ("/api/filesystem/data", "/", "/healthz", "/dav/", "/api/events/ticket"):
        assert await refused(bearer(ada), path=path) == (404, "not-found")
    assert await refused(bearer(ada), headers={"origin": "https://evil.example"}) == (403, "forbidden")
    assert await refused(bearer(ada), headers={"origin": "http://hive.test.evil.example"}) == (403, "forbidden")
    assert await refused(bearer(ada), headers={"origin": "http://hive.test:8080"}) == (403, "forbidden")
    assert await refused(bearer(ada), headers={"origin": "null"}) == (403, "forbidden")
    assert await refused(query={"token": bearer(ada)[7:]}) == (400, "malformed-request")
    async with open_socket(app, bearer(ada), headers={"origin": "http://hive.test"}) as socket:
        assert (await socket.message())["type"] == "hello"
    with pytest.raises(Refused) as caught:
        async with open_events(app, access_token=bearer(ada)[7:]):
            pass
    assert caught.value.status == 400


async def test_browsers_come_with_a_subprotocol_or_a_ticket(hive, ada):
    app, token = hive.hive.app, bearer(ada)[7:]
    offered = {"sec-websocket-protocol": f"skep.events.v1, skep.bearer.{token}"}
    async with open_socket(app, headers=offered) as socket:
        assert socket.subprotocol == "skep.events.v1"

    async def ticket() -> str:
        answer = await ada.post("/api/events/ticket")
        assert (answer.status_code, answer.json()["expires_in_s"]) == (201, 30)
        return answer.json()["ticket"]

    async with open_socket(app, headers={"sec-websocket-protocol": f"skep.events.v1, skep.ticket.{await ticket()}"}):
        pass
    one = await ticket()
    async with open_events(app, ticket=one) as events:
        await put(ada, "/a.txt")
        while "/a.txt" not in (await events.event()).get("data", ""):
            pass
    with pytest.raises(Refused):
        async with open_events(app, ticket=one):
            pass
    assert (await hive.anonymous.post("/api/events/ticket")).status_code == 401


async def test_what_cannot_be_followed_is_refused_and_the_socket_goes_on(hive, ada):
    bob = await hive.client("bob")
    theirs = (await bob.get("/api/filesystem/spaces")).json()["spaces"][0]
    node = await put(bob, "/theirs.txt")
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        for wish, code in (
            ({"space": theirs["id"]}, "space-not-found"),
            ({"cursor": theirs["cursor"]}, "space-not-found"),
            ({"node": node["id"]}, "node-not-found"),
            ({"node": "no id"}, "invalid-id"),
            ({"path": "relative"}, "invalid-path"),
            ({"cursor": "zzz"}, "invalid-cursor"),
        ):
            await socket.say(type="subscribe", id="x", **wish)
            refused = await socket.until("refused")
            assert (refused["id"], refused["code"]) == ("x", code)
        await subscribed(socket, id="x")


async def test_a_credential_that_may_not_read_follows_nothing(hive, ada):
    made = await ada.post("/api/auth/app-passwords", json={"name": "w", "scopes": ["files:write"]})
    secret = made.json()["secret"]
    basic = httpx.BasicAuth("ada", secret)._auth_header
    async with open_socket(hive.hive.app, basic) as socket:
        await socket.say(type="subscribe")
        assert (await socket.until("refused"))["code"] == "forbidden"
    with pytest.raises(Refused) as caught:
        async with open_events(hive.hive.app, basic):
            pass
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"binary", 1003),
        ("x" * 20_000, 1009),
        ("no json", 4400),
        ('{"type":"dance"}', 4400),
        ('{"type":"subscribe","id":7}', 4400),
    ],
)
async def test_a_socket_that_talks_nonsense_is_closed(hive, ada, frame, code):
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        await socket.frame(frame)
        assert await socket.until("closing") == {}
        assert socket.closed[0] == code


async def test_a_socket_that_talks_too_much_is_closed(hive, ada):
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        for _ in range(300):
            await socket.say(type="ping")
        assert await socket.until("closing") == {}
        assert socket.closed[0] == 4429


async def test_streams_have_limits_of_their_own_and_leave_requests_alone(hive, ada):
    bob = await hive.client("bob")
    async with AsyncExitStack() as open_ones:
        for _ in range(3):
            socket = await open_ones.enter_async_context(open_socket(hive.hive.app, bearer(ada)))
            await socket.message()
        with pytest.raises(Refused) as caught:
            await open_ones.enter_async_context(open_events(hive.hive.app, bearer(ada)))
        assert (caught.value.status, caught.value.problem["code"]) == (429, "rate-limited")
        for _ in range(2):
            await open_ones.enter_async_context(open_socket(hive.hive.app, bearer(bob)))
        with pytest.raises(Refused):
            await open_ones.enter_async_context(open_socket(hive.hive.app, bearer(bob)))
        assert len(hive.hive.live.streams) == 5
        assert hive.hive.edge.in_flight.count == 0
        assert "skep_streams 5.0" in (await hive.anonymous.get("/metrics")).text
    assert len(hive.hive.live.streams) == 0
    assert hive.hive.live.streams.followed() == 0


async def test_idle_streams_take_no_place_among_requests(tmp_path):
    from skep.testing.hive import open_test_hive

    async with open_test_hive(tmp_path, limits__requests_at_once=1, limits__wait_s=0.05) as hive:
        ada = await hive.client("ada")
        async with open_events(hive.hive.app, bearer(ada)), open_socket(hive.hive.app, bearer(ada)):
            assert (await ada.get("/api/auth/me")).status_code == 200


async def test_a_stopping_hive_sends_clients_away_to_come_back(hive, ada):
    async with open_socket(hive.hive.app, bearer(ada)) as socket, open_events(hive.hive.app, bearer(ada)) as events:
        await socket.message()
        hive.hive.edge.stopping = True
        hive.hive.live.streams.stop()
        closing = await socket.until("closing")
        assert (closing["code"], closing["reconnect_after_s"]) == ("shutting-down", 1.0)
        assert (await socket.message(), socket.closed[0]) == ({}, 1012)
        while (await events.event()).get("event") != "closing":
            pass
        assert await events.event() == {}
        assert await hive.hive.edge.streams.none(5)
        with pytest.raises(Refused) as caught:
            async with open_socket(hive.hive.app, bearer(ada)):
                pass
        assert caught.value.problem["code"] == "shutting-down"


async def test_guests_are_looked_at_again_now_and_then(hive: TestHive, ada, clock: FakeClock):
    """Should the notice of another process get lost."""
    basic = httpx.BasicAuth("ada", (await ada.post("/api/auth/app-passwords", json={"name": "p"})).json()["secret"])
    async with open_socket(hive.hive.app, basic._auth_header) as socket:
        assert (await socket.message()).get("expires_in_s") is None
        hive.hive.auth.on_void = lambda user_id: None
        [listed] = (await ada.get("/api/auth/app-passwords")).json()["app_passwords"]
        assert (await ada.delete(f"/api/auth/app-passwords/{listed['id']}")).is_success
        for _ in range(11):
            await clock.advance(30)
            await settle()
        assert (await socket.until("closing"))["code"] == "bad-credentials"


async def test_a_client_that_leaves_is_forgotten(hive, ada):
    async with open_socket(hive.hive.app, bearer(ada)) as socket:
        await subscribed(socket)
    async with asyncio.timeout(5):
        while len(hive.hive.live.streams):
            await asyncio.sleep(0)
    assert hive.hive.live.streams.followed() == 0
