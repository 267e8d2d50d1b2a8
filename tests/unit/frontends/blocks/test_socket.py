"""Changes under prefixes, as they happen."""

from __future__ import annotations

import httpx
import pytest

from skep.frontends.blocks.news import WAITING_MAX, Happening, News
from skep.frontends.blocks.socket import SUBPROTOCOL
from skep.testing.blocks import AT, Owner, owner_of
from skep.testing.hive import TestHive
from skep.testing.live import Refused, Socket, open_socket

OFFERED = {"sec-websocket-protocol": SUBPROTOCOL}


async def hears(socket: Socket, *expected: dict[str, str]) -> None:
    for one in expected:
        assert await socket.message() == one


async def test_a_path_is_listened_to_by_whoever_knows_it(hive: TestHive, ada: Owner) -> None:
    async with open_socket(hive.hive.app, path=f"{AT}/websocket/{ada.prefix}/dm", headers=OFFERED) as socket:
        assert socket.subprotocol == SUBPROTOCOL
        etag = (await ada.client.post(ada.at("dm"), content=b"1")).headers["etag"]
        await ada.client.post(ada.at("other"), content=b"2")
        for _ in range(2):  # of what is not there, too
            await ada.client.delete(ada.at("dm"))
        about = {"prefix": ada.prefix, "path": f"{ada.prefix}/dm"}
        gone = {"operation": "DELETE", **about}
        await hears(socket, {"operation": "POST", **about, "etag": etag}, gone, gone)


async def test_a_prefix_is_listened_to_by_its_owner(hive: TestHive, ada: Owner) -> None:
    bob = await owner_of(hive, "bob")
    token = ada.client.headers["authorization"]
    async with open_socket(hive.hive.app, token, path=f"{AT}/websocket/{ada.prefix}", headers=OFFERED) as socket:
        await socket.say(anything="is forgotten")
        await bob.client.post(bob.at("blocks/1"), content=b"x")
        await ada.client.post(ada.at("blocks/1"), content=b"x")
        await ada.client.delete(ada.at("blocks/1"))
        assert (await socket.message())["path"] == f"{ada.prefix}/blocks/1"
        assert await socket.message() == {
            "operation": "DELETE",
            "prefix": ada.prefix,
            "path": f"{ada.prefix}/blocks/1",
        }


async def test_what_was_refused_is_not_told(hive: TestHive, ada: Owner) -> None:
    async with open_socket(hive.hive.app, path=f"{AT}/websocket/{ada.prefix}/dm") as socket:
        assert (await ada.client.post(ada.at("dm"), content=b"1", headers={"if-match": '"no"'})).status_code == 412
        await ada.client.delete(ada.at("dm"))
        assert (await socket.message())["operation"] == "DELETE"


@pytest.mark.parametrize(
    ("who", "path", "status", "reason"),
    [
        ("", "", 403, "No authorization given"),
        ("Token wrong", "", 403, "User not found"),
        ("bob", "", 403, "Not authorized for this prefix"),
        ("", "/blocks/1", 405, "Method Not Allowed"),
    ],
)
async def test_a_refused_handshake_says_why(
    hive: TestHive, ada: Owner, who: str, path: str, status: int, reason: str
) -> None:
    shown = (await hive.client("bob")).headers["authorization"] if who == "bob" else who
    with pytest.raises(Refused) as refused:
        async with open_socket(hive.hive.app, shown or None, path=f"{AT}/websocket/{ada.prefix}{path}"):
            pass
    assert (refused.value.status, reason in refused.value.problem["code"]) == (status, True)


async def test_without_the_subprotocol_there_is_none(hive: TestHive, ada: Owner) -> None:
    async with open_socket(hive.hive.app, path=f"{AT}/websocket/{ada.prefix}/dm") as socket:
        assert socket.subprotocol is None


async def test_no_request_is_answered_there(ada: Owner, anyone: httpx.AsyncClient) -> None:
    assert (await anyone.get(f"{AT}/websocket/{ada.prefix}/dm")).status_code == 426


async def test_listeners_are_sent_away_when_the_hive_stops(hive: TestHive, ada: Owner) -> None:
    async with open_socket(hive.hive.app, path=f"{AT}/websocket/{ada.prefix}/dm") as socket:
        await hive.hive.end_streams()
        assert await socket.message() == {}
        assert socket.closed == (1012, "")
    with pytest.raises(Refused) as refused:
        async with open_socket(hive.hive.app, path=f"{AT}/websocket/{ada.prefix}/dm"):
            pass
    assert refused.value.status == 503


async def test_who_takes_too_little_loses_the_rest_and_nobody_else_does() -> None:
    news = News()
    with news.listening("p") as slow, news.listening("p/a") as quick:
        for number in range(WAITING_MAX + 1):
            news.tell(Happening("POST", "p", "p/a", f'"{number}"'))
            assert await quick.next() is not None
        told = [await slow.next() for _ in range(WAITING_MAX)]
        assert None not in told
        assert await slow.next() is None
        assert not quick.lost
    assert news.count == 0
