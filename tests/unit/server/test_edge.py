from __future__ import annotations

import asyncio
import resource
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.base.clock import SystemClock
from skep.base.errors import InvalidSetting, Misconfigured
from skep.base.settings import load_settings
from skep.db import Database, migrate
from skep.frontends.common.headers import Headers
from skep.server.addresses import Proxies, is_local, listening_port
from skep.server.opening import open_database
from skep.server.serve import allow_open_files
from skep.testing.hive import TestHive, open_test_hive


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("9.9.9.9", "1.2.3.4", "9.9.9.9"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(peer: str, forwarded: str, client: str) -> None:
    headers = Headers([(b"x-forwarded-for", forwarded.encode())] if forwarded else [])
    assert Proxies(["10.0.0.0/8"]).client(peer, headers) == client
    assert Proxies([]).client(peer, headers) == peer


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidSetting):
        Proxies(["proxy.example"])


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("", True), ("10.0.0.1", False), ("x", False)],
)
def test_what_is_this_machine(address: str, local: bool) -> None:
    assert is_local(address) is local


def test_a_port_that_is_taken_is_noticed_and_zero_finds_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Misconfigured):
            listening_port("127.0.0.1", taken.getsockname()[1])
    assert listening_port("127.0.0.1", 0) > 0


async def test_every_answer_has_an_id_of_its_own(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ids = {(await hive.anonymous.get(path)).headers["x-request-id"] for path in ("/", "/api", "/none", "/healthz")}
        assert len(ids) == 4


async def test_health_readiness_and_metrics(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        client = hive.anonymous
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/readyz")).status_code == 200
        ada = await hive.client("ada")
        await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"x" * 100)
        text = (await client.get("/metrics")).text
        assert 'skep_requests_total{method="PUT",route="/api/filesystem/data",status="201"} 1.0' in text
        assert 'skep_store_seconds_count{store="s0",verb="put"}' in text
        for name in ("skep_dedup_ratio", "skep_repair_backlog", "skep_queue_depth", "skep_received_bytes_total 100.0"):
            assert name in text, name
        hive.hive.ready = False
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.post("/healthz")).status_code == 405


async def asked_from(hive: TestHive, address: str, path: str, headers: list[tuple[bytes, bytes]]) -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "client": (address, 1)}
    await hive.hive.app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


async def test_metrics_are_for_this_machine_and_for_administrators(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        root, ada = await hive.client("root", is_admin=True), await hive.client("ada")
        tokens = [[(b"authorization", c.headers["authorization"].encode())] for c in (root, ada)]
        assert await asked_from(hive, "127.0.0.1", "/metrics", []) == 200
        assert await asked_from(hive, "10.0.0.1", "/metrics", []) == 403
        assert [await asked_from(hive, "10.0.0.1", "/metrics", token) for token in tokens] == [200, 403]


async def test_metrics_are_not_for_whom_a_proxy_on_this_machine_asks(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        for header in (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"):
            assert await asked_from(hive, "127.0.0.1", "/metrics", [(header, b"1.2.3.4")]) == 403


async def test_a_body_that_trickles_in_is_ended_with_its_call(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        limits = replace(hive.hive.services.limits, request_timeout_s=0.05)
        object.__setattr__(hive.hive.services, "limits", limits)  # settings allow no such impatience

        async def body() -> Any:
            while True:
                yield b" "
                await asyncio.sleep(0.001)  # the trickle itself; nothing is waited for

        answer = await asyncio.wait_for(hive.anonymous.post("/api/auth/login", content=body()), 60)
        assert (answer.status_code, answer.json()["code"]) == (503, "timed-out")


def test_the_limit_of_open_files_is_raised_as_far_as_the_system_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        wanted = min(512, hard)
        assert allow_open_files(512) == wanted
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
        assert allow_open_files(300) == wanted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_database_has_the_limits_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    really = Database.open

    async def noted(url: str, **limits: Any) -> Database:
        asked.update(limits)
        return await really(url, **limits)

    monkeypatch.setattr(Database, "open", noted)
    given = {"database.busy_timeout_s": 7.5, "database.group_commit_max": 3, "database.queue_max": 11}
    settings = load_settings({"data_dir": str(tmp_path), **given}, files=[], environ={})
    migrate(settings.database_url())
    await (await open_database(settings, SystemClock())).close()
    del asked["clock"]
    assert asked.pop("engine") is None, "the hive opens its own"
    assert asked == {"pool_size": 8, "busy_timeout_s": 7.5, "group_commit_max": 3, "queue_max": 11}


async def test_a_head_over_its_limit_is_431(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        answer = await hive.anonymous.get("/api", headers={"x": "y" * 70_000})
        assert (answer.status_code, answer.json()["code"]) == (431, "body-too-large")


async def test_requests_are_limited_by_rate_and_number(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"limits__requests_per_second": 0.001, "limits__requests_burst": 2}
    async with open_test_hive(tmp_path, **limits) as hive:
        answers = [await hive.anonymous.get("/api") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) > 0
        assert (await hive.anonymous.get("/healthz")).status_code == 200


async def test_waits_for_changes_leave_room_for_other_requests(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, limits__requests_at_once=4) as hive:
        ada = await hive.client("ada")
        url = "/api/filesystem/changes"
        cursor = (await ada.get(url)).json()["cursor"]
        asked = {"cursor": cursor, "timeout_s": 30}
        waits = [asyncio.create_task(ada.get(url, params=asked)) for _ in range(3)]
        (refused,), waiting = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert (refused.result().status_code, len(waiting)) == (429, 2)
        assert (await ada.get("/api/auth/me")).status_code == 200
        assert (await ada.get(url, params={"cursor": cursor})).status_code == 200
        await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"x")
        assert [len((await wait).json()["changes"]) for wait in waiting] == [1, 1]


async def test_a_stopping_hive_turns_new_requests_away_and_lets_others_finish(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada = await hive.client("ada")
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> Any:
            yield b"first"
            asked.set()
            await go_on.wait()
            yield b"second"

        upload = asyncio.create_task(ada.put("/api/filesystem/data", params={"path": "/f"}, content=body()))
        await wait_for(hive, 1)
        hive.hive.edge.stopping = True
        refused = await ada.get("/api/auth/me")
        assert (refused.status_code, refused.json()["code"]) == (503, "shutting-down")
        assert not await hive.hive.edge.in_flight.none(0.01)
        go_on.set()
        assert (await upload).status_code == 201
        assert await hive.hive.edge.in_flight.none(5)


async def test_what_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada = await hive.client("ada")

        async def body() -> Any:
            yield b"first"
            await asyncio.Event().wait()

        upload = asyncio.create_task(ada.put("/api/filesystem/data", params={"path": "/f"}, content=body()))
        await wait_for(hive, 1)
        await hive.hive.edge.in_flight.cut(5)
        with pytest.raises((asyncio.CancelledError, httpx.HTTPError)):
            await upload
        assert hive.hive.edge.in_flight.count == 0
        assert (await ada.get("/api/filesystem/info")).json()["files"] == []


async def wait_for(hive: TestHive, requests: int) -> None:
    async with asyncio.timeout(5):
        while hive.hive.edge.in_flight.count < requests:
            await asyncio.sleep(0)
