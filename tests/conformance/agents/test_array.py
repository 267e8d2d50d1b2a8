"""The array driver over a real link: a hive process, an agent process, a socket between them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from skep.testing.agents import RunningAgent, agents_of, wait_for
from skep.testing.process import RunningHive, made_hive

Make = Callable[[str], RunningAgent]


@pytest.mark.parametrize("engine", ["granian", "uvicorn"])
def test_an_agents_disk_is_a_store(engine: str, tmp_path: Path, agent: Make) -> None:
    place = tmp_path / "hive"
    place.mkdir()
    hive = made_hive(place, engine=engine)
    hive.start()
    try:
        desk = agent("desk")
        desk.join(hive, "desk", "--share", "1GB", zone="flat")
        wait_for("desk is a store", lambda: agents_of(hive)["desk"]["store"])
        with hive.client() as client:
            answer = client.post("/api/admin/stores/desk/check", timeout=120)
            assert answer.json()["passed"], answer.text
            rest = {r["name"]: r["outcome"] for r in answer.json()["report"] if r["outcome"] != "passed"}
            assert rest == {"deleting-many": "skipped"}, "an agent removes one by one, many at a time over its link"
            store = client.get("/api/admin/stores/desk").json()
        assert (store["zone"], store["healthy"], store["properties"]["kind"]) == ("flat", True, "array")
    finally:
        hive.stop()


def test_files_over_agents_survive_the_loss_of_one(hive: RunningHive, agent: Make) -> None:
    desk, attic = agent("desk"), agent("attic")
    desk.join(hive, "desk", "--share", "1GB")
    attic.join(hive, "attic", "--share", "1GB")
    wait_for("both are stores", lambda: all(each["store"] for each in agents_of(hive).values()))
    content = random.Random(1).randbytes(10_000_000)
    with hive.client() as client:
        assert client.put("/api/admin/scheme", json={"scheme": "ec(2,1)"}).status_code == 200
        put = client.put("/api/filesystem/data", params={"path": "/a"}, content=content)
        assert put.status_code in (200, 201), put.text
        held = {each["name"]: each["used_bytes"] for each in client.get("/api/admin/stores").json()["stores"]}
        assert all(held[name] > len(content) // 2 for name in ("local", "desk", "attic")), held
        assert client.get("/api/filesystem/data", params={"path": "/a"}).content == content

        desk.stop(9)
        wait_for("desk is away", lambda: not agents_of(hive)["desk"]["connected"])
        assert client.get("/api/filesystem/data", params={"path": "/a"}).content == content

        desk.start()
        desk.until("connected")
        wait_for("desk is back", lambda: agents_of(hive)["desk"]["connected"])
        attic.stop(9)
        wait_for("attic is away", lambda: not agents_of(hive)["attic"]["connected"])
        assert client.get("/api/filesystem/data", params={"path": "/a"}).content == content
        assert agents_of(hive)["desk"]["trouble"] is None
