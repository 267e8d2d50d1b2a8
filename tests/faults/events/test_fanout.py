"""Several processes on one database: a hive and processes that serve live changes alone.

Through PostgreSQL and Redis; with the carrier of notices killed, with notices lost, with a user suspended elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect

from skep.base.clock import SystemClock
from skep.base.errors import InvalidSetting, Unavailable
from skep.base.ids import new_id
from skep.events import Hub
from skep.events.couriers import PostgresqlCourier, RedisCourier, courier
from skep.events.relay import Courier, Relay
from skep.testing.process import RunningHive, made_hive

LIMIT_S = 20


@dataclass
class Redis:
    """A Redis of our own that can be killed and started again on its port."""

    program: Path
    place: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:secret@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        options = ["--port", str(self.port), "--save", "", "--requirepass", "secret", "--dir", str(self.place)]
        self.process = subprocess.Popen(
            [self.program, "--bind", "127.0.0.1", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)  # it has no other way to tell
        raise AssertionError("redis did not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def redis(program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    server = Redis(program("redis-server", "apt-get install redis-server"), tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@dataclass
class Heard:
    """What a hub's listener was told, in order."""

    found: list[tuple[str, bytes, int, bool]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, space_id: bytes, number: int, *, relayed: bool) -> None:
        self._note("c", space_id, number, relayed)

    def voided(self, user_id: bytes, *, relayed: bool) -> None:
        self._note("v", user_id, 0, relayed)

    def doubted(self, space_id: bytes, *, relayed: bool) -> None:
        self._note("d", space_id, 0, relayed)

    def _note(self, kind: str, thing: bytes, number: int, relayed: bool) -> None:
        self.found.append((kind, thing, number, relayed))
        self.news.set()

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not wanted():
                self.news.clear()
                await self.news.wait()


class Process:
    """The event part of a process: a hub and its relay."""

    def __init__(self, carrier: Courier) -> None:
        self.hub, self.heard, self.missed = Hub(), Heard(), asyncio.Event()
        self.hub.listen(self.heard)
        self.relay = Relay(self.hub, carrier, SystemClock(), on_reconnect=self.missed.set)

    async def begin(self) -> None:
        self.relay.start()
        await self.connected()

    async def connected(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not self.relay.connected:
                await asyncio.sleep(0.01)  # polls a flag


def carrier(kind: str, postgresql_url: str, redis: Redis, hive_id: bytes) -> Courier:
    found = courier(kind, database_url=postgresql_url, redis_url=redis.url, hive_id=hive_id)
    assert found is not None
    return found


@pytest.fixture(params=["postgresql", "redis"])
async def pair(
    request: pytest.FixtureRequest, postgresql_url: str, redis: Redis
) -> AsyncIterator[tuple[Process, Process]]:
    hive_id = new_id()
    one, other = (Process(carrier(request.param, postgresql_url, redis, hive_id)) for _ in range(2))
    await one.begin()
    await other.begin()
    yield one, other
    await one.relay.close()
    await other.relay.close()


async def test_notices_reach_the_other_process_and_come_back_to_none(pair: tuple[Process, Process]) -> None:
    one, other = pair
    space, user = new_id(), new_id()
    one.hub.void(user)
    one.hub.doubt(space)
    one.hub.publish(space, 7)
    await other.heard.until(lambda: len(other.heard.found) == 3)
    assert sorted(other.heard.found) == [("c", space, 7, True), ("d", space, 0, True), ("v", user, 0, True)]
    other.hub.publish(space, 8)
    await one.heard.until(lambda: ("c", space, 8, True) in one.heard.found)
    assert [entry for entry in one.heard.found if entry[3]] == [("c", space, 8, True)]
    assert len(other.heard.found) == 4


async def test_many_changes_of_one_space_are_few_notices_and_none_is_too_long(pair: tuple[Process, Process]) -> None:
    one, other = pair
    spaces = [new_id() for _ in range(400)]
    for number in range(1, 6):
        for space in spaces:
            one.hub.publish(space, number)
    await other.heard.until(lambda: {entry[1] for entry in other.heard.found} == set(spaces))
    assert {entry[2] for entry in other.heard.found} == {5}


async def test_what_a_stranger_says_is_passed_over(pair: tuple[Process, Process]) -> None:
    one, other = pair
    for text in ("", "x", "origin", "origin czz:1", "origin c" + "0" * 32, "origin v1", "a b c d", "é ü"):
        await one.relay._courier.send(text or " ")
    space = new_id()
    one.hub.publish(space, 1)
    await other.heard.until(lambda: bool(other.heard.found))
    assert other.heard.found == [("c", space, 1, True)]


async def test_a_cut_connection_is_made_again_and_everything_looked_at(
    pair: tuple[Process, Process], postgresql_url: str, redis: Redis
) -> None:
    one, other = pair
    if isinstance(one.relay._courier, PostgresqlCourier):
        with psycopg.connect(postgresql_url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='skep events'")
    else:
        redis.kill()
        one.hub.publish(new_id(), 1)  # while it is away
        redis.start()
    async with asyncio.timeout(LIMIT_S):
        await one.missed.wait()
        await other.missed.wait()
    space = new_id()
    one.hub.publish(space, 2)
    await other.heard.until(lambda: ("c", space, 2, True) in other.heard.found)


async def test_what_waits_is_bounded(redis: Redis) -> None:
    process = Process(RedisCourier("redis://127.0.0.1:1/0", "x"))
    process.hub.listen(process.relay)
    for _ in range(10_500):
        process.hub.publish(new_id(), 1)
    assert (len(process.relay._changes), process.relay.dropped) == (10_000, 500)
    with pytest.raises(Unavailable):
        await process.relay._courier.send("x")
    await process.relay.close()


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="postgresql"):
        courier("postgresql", database_url="sqlite:///x", redis_url="", hive_id=new_id())
    with pytest.raises(InvalidSetting, match="redis_url"):
        courier("redis", database_url="sqlite:///x", redis_url="", hive_id=new_id())
    with pytest.raises(InvalidSetting, match="not a URL"):
        courier("redis", database_url="sqlite:///x", redis_url="ftp://x", hive_id=new_id())
    alone = made_hive(tmp_path)
    alone.only_events = True
    with pytest.raises(AssertionError, match="did not start"):
        alone.start()


@dataclass
class Fleet:
    """A hive and two processes beside it that serve live changes alone."""

    hive: RunningHive
    beside: list[RunningHive]

    def login(self, name: str) -> str:
        sent = {"name": name, "password": "quiet meadow 41 lantern"}
        return str(httpx.post(f"{self.hive.url}/api/auth/login", json=sent).json()["access_token"])

    def socket(self, which: int, token: str) -> connect:
        url = self.beside[which].url.replace("http", "ws", 1) + "/api/events"
        return connect(url, additional_headers={"authorization": f"Bearer {token}"})


@pytest.fixture(scope="module", params=["postgresql", "redis"])
def fleet(
    request: pytest.FixtureRequest, postgresql_server, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    with postgresql_server.database() as url:
        given = {"database__url": url, "events__fanout": request.param, "events__redis_url": redis.url}
        hive = made_hive(tmp_path_factory.mktemp("hive"), events__poll_s="600s", **given)
        fleet = Fleet(hive, [])
        hive.start()
        with hive.client() as admin:
            for name in ("ada", "bob"):
                made = admin.post("/api/auth/users", json={"name": name, "password": "quiet meadow 41 lantern"})
                assert made.is_success
        try:
            for engine in ("granian", "uvicorn"):
                beside = RunningHive(hive.place, "", engine, hive.settings, only_events=True)
                beside.start()
                fleet.beside.append(beside)
            yield fleet
        finally:
            for process in (*fleet.beside, hive):
                process.stop()


async def message(connection: ClientConnection, kind: str) -> dict:
    async with asyncio.timeout(LIMIT_S):
        while (found := json.loads(await connection.recv()))["type"] != kind:
            pass
    return found


async def test_changes_of_the_hive_reach_clients_of_the_other_processes(fleet: Fleet) -> None:
    token = fleet.login("ada")
    async with httpx.AsyncClient(base_url=fleet.hive.url, headers={"authorization": f"Bearer {token}"}) as ada:
        async with fleet.socket(0, token) as one, fleet.socket(1, token) as other:
            for connection in (one, other):
                await connection.send('{"type":"subscribe","id":"x"}')
                await message(connection, "subscribed")
            for number in range(20):
                answer = await ada.put("/api/filesystem/data", params={"path": f"/f{number}"}, content=b"x")
                assert answer.is_success
            for connection in (one, other):
                seen: list[str] = []
                while len(seen) < 20:
                    seen += [change["path"] for change in (await message(connection, "changes"))["changes"]]
                assert seen == [f"/f{number}" for number in range(20)]
        ticket = (await ada.post("/api/events/ticket")).json()["ticket"]
        async with httpx.AsyncClient(base_url=fleet.beside[0].url) as browser:
            async with browser.stream("GET", "/api/events", params={"ticket": ticket}) as events:
                assert events.status_code == 200
            assert (await browser.get("/readyz")).status_code == 200
            assert (await browser.get("/api/filesystem/info")).status_code == 404


async def test_a_user_suspended_on_the_hive_loses_streams_elsewhere_at_once(fleet: Fleet) -> None:
    token = fleet.login("bob")
    async with fleet.socket(0, token) as one, fleet.socket(1, token) as other:
        for connection in (one, other):
            await connection.send('{"type":"subscribe","id":"x"}')
            await message(connection, "subscribed")
        with fleet.hive.client() as admin:
            assert admin.patch("/api/auth/users/bob", json={"is_active": False}).is_success
        for connection in (one, other):
            await message(connection, "closing")
            async with asyncio.timeout(LIMIT_S):
                await connection.wait_closed()
            assert connection.close_code == 4403
