"""Agents behind a router, and what happens on the way: the cable, the router that forgets, the slow line, kill -9."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.testing.agents import RunningAgent, agents_of, wait_for
from skep.testing.process import RunningHive, made_hive

from .network import Home, household

CONTENT_BYTES = 3_000_000
SHARE_BYTES = 2 << 30


@pytest.fixture
def home() -> Iterator[Home]:
    with household() as made:
        yield made


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[RunningHive]:
    """A hive on every interface, with three disks of its own: ec(2,1) and one to spare."""
    place = tmp_path / "hive"
    place.mkdir()
    running = made_hive(place, server__host="0.0.0.0")
    running.start()
    with running.client() as client:
        for name in ("d2", "d3"):
            (tmp_path / name).mkdir()
            answer = client.post(
                "/api/admin/stores", json={"name": name, "url": f"fs://{tmp_path / name}", "zone": name}
            )
            assert answer.status_code == 201, answer.text
        for name in ("local", "d2", "d3"):  # as large as what the agent lends: it then gets three of four packs
            answer = client.patch(f"/api/admin/stores/{name}", json={"capacity_bytes": SHARE_BYTES})
            assert answer.status_code == 200, answer.text
        client.put("/api/admin/scheme", json={"scheme": "ec(2,1)"})
    yield running
    running.stop(9)


@pytest.fixture
def desk(tmp_path: Path, home: Home) -> Iterator[RunningAgent]:
    space = tmp_path / "space"
    space.mkdir()
    agent = RunningAgent(space, prefix=home.prefix)
    yield agent
    if agent.process is not None:
        agent.stop(9)


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(CONTENT_BYTES)


def join(hive: RunningHive, home: Home, desk: RunningAgent, *arguments: str) -> None:
    """Let the agent join from behind its router."""
    url = f"http://{home.hive_host}:{hive.url.rpartition(':')[2]}"
    desk.join(hive, "desk", "--share", "2GB", *arguments, url=url)
    wait_for("desk is a store", lambda: agents_of(hive)["desk"]["store"])


def fill(hive: RunningHive, desk: RunningAgent, *, files: range) -> None:
    """Put files."""
    with hive.client() as client:
        for number in files:
            put = client.put("/api/filesystem/data", params={"path": f"/{number}"}, content=noise(number))
            assert put.status_code in (200, 201), put.text


def check(hive: RunningHive, *, files: range) -> None:
    with hive.client() as client:
        for number in files:
            got = client.get("/api/filesystem/data", params={"path": f"/{number}"})
            assert got.content == noise(number)


def held(desk: RunningAgent) -> list[Path]:
    return [path for path in desk.space.glob("hives/*/store/objects/shards/**/*") if path.is_file()]


def test_behind_a_router_without_inbound_ports(hive: RunningHive, home: Home, desk: RunningAgent) -> None:
    join(hive, home, desk)
    fill(hive, desk, files=range(8))
    assert held(desk)
    check(hive, files=range(8))
    with hive.client() as client:
        answer = client.post("/api/admin/stores/desk/check", timeout=120)
    assert answer.json()["passed"], answer.text


def test_the_cable_is_pulled_and_put_back(hive: RunningHive, home: Home, desk: RunningAgent) -> None:
    join(hive, home, desk)
    fill(hive, desk, files=range(6))
    assert held(desk)
    home.pull_plug()
    check(hive, files=range(6))
    fill(hive, desk, files=range(6, 9))
    home.plug_in()
    check(hive, files=range(9))
    wait_for("the link stands again", lambda: desk.until("connected") and agents_of(hive)["desk"]["connected"], 120)
    fill(hive, desk, files=range(9, 11))
    check(hive, files=range(11))


def test_the_router_forgets_and_the_agent_comes_anew(hive: RunningHive, home: Home, desk: RunningAgent) -> None:
    join(hive, home, desk)
    fill(hive, desk, files=range(6))
    before = len(held(desk))
    home.forget()
    desk.stop(9)  # its last words are lost: the hive's end of the connection stays open
    assert agents_of(hive)["desk"]["connected"]
    home.remember()
    desk.start()
    desk.until("connected", 60)
    assert agents_of(hive)["desk"]["trouble"] is None
    check(hive, files=range(6))
    assert len(held(desk)) == before


def test_killed_in_the_middle_of_a_put(hive: RunningHive, home: Home, desk: RunningAgent) -> None:
    join(hive, home, desk, "--down", "100KB")
    with hive.client() as client:
        sending = client.build_request("PUT", "/api/filesystem/data", params={"path": "/0"}, content=noise(0))
        import threading

        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(client.send(sending).status_code))
        thread.start()
        wait_for("some of a shard has come", lambda: desk.status()["hives"][0]["received_bytes"] or done)
        desk.stop(9)
        thread.join(60)
    assert done
    assert done[0] in (200, 201)
    check(hive, files=range(1))
    desk.start()
    link = desk.until("connected", 60)
    assert link["used_bytes"] == sum(path.stat().st_size for path in held(desk))
    assert agents_of(hive)["desk"]["trouble"] is None
    check(hive, files=range(1))


def test_a_slow_line_holds_nobody_up(hive: RunningHive, home: Home, desk: RunningAgent) -> None:
    join(hive, home, desk)
    home.slow("2mbit")
    fill(hive, desk, files=range(3))
    check(hive, files=range(3))
    assert agents_of(hive)["desk"]["connected"]
