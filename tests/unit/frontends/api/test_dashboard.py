"""Counts over time, settings with their source, and what a drain would move."""

from __future__ import annotations

from pathlib import Path

import httpx

from skep.base.workers import Progress
from skep.server.history import SAMPLES_MAX, History
from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.stores import memory_store

ADMIN = "/api/admin"


async def test_all_of_it_is_for_administrators(ada: httpx.AsyncClient) -> None:
    for url in ("history", "settings", "stores/s0/drain"):
        assert (await ada.get(f"{ADMIN}/{url}")).status_code == 403


async def test_the_history_counts_what_passes(hive: TestHive, admin: httpx.AsyncClient) -> None:
    before = (await admin.get(f"{ADMIN}/history")).json()["samples"][-1]
    await admin.put("/api/filesystem/data", params={"path": "/f"}, content=bytes(1000))
    await admin.get("/api/filesystem/data", params={"path": "/not there"})
    await admin.get(f"{ADMIN}/status")
    after = (await admin.get(f"{ADMIN}/history")).json()["samples"][-1]
    grown = {name: after["counts"][name] - before["counts"].get(name, 0) for name in after["counts"]}
    assert grown["requests"] == 4  # the first look at the history is counted once it is answered
    assert grown["refused"] == 1
    assert grown["failed"] == 0
    assert grown["received_bytes"] >= 1000
    assert grown["content_received_bytes"] == 1000
    assert after["counts"]["versions_bytes"] >= 1000
    assert after["at_us"] >= before["at_us"]


async def test_the_history_keeps_a_day() -> None:
    looked = 0

    async def refresh() -> None:
        nonlocal looked
        looked += 1

    history = History(FakeClock())
    history.refresh = refresh
    for number in range(SAMPLES_MAX + 10):
        history.look = lambda n=number: {"requests": n}  # type: ignore[misc]
        await history.run_once(Progress())
    seen = history.samples()
    assert len(seen) == SAMPLES_MAX + 1
    assert seen[0].counts == {"requests": 10}
    assert looked == (SAMPLES_MAX + 10) // 5


async def test_settings_are_told_with_their_source_and_without_secrets(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, storage__grace_s=77, credit__payment_secret="never to be seen") as hive:
        admin = await hive.client("root", is_admin=True)
        answer = await admin.get(f"{ADMIN}/settings")
        known = {one["key"]: one for one in answer.json()["settings"]}
        assert known["storage.grace_s"]["value"] == 77
        assert known["storage.grace_s"]["source"] == "given at the start"
        assert known["limits.wait_s"]["source"] == "default"
        assert known["credit.payment_secret"]["value"] == "(hidden)"
        assert "never to be seen" not in answer.text


async def test_a_drain_is_previewed_and_moves_nothing(tmp_path: Path) -> None:
    drivers = {f"s{n}": memory_store() for n in range(3)}
    async with open_test_hive(tmp_path, drivers=drivers) as hive:
        admin = await hive.client("root", is_admin=True)
        assert (await admin.put(f"{ADMIN}/scheme", json={"scheme": "raid1(2)"})).status_code == 200
        for number in range(4):
            await admin.put("/api/filesystem/data", params={"path": f"/{number}"}, content=bytes([number]) * 200_000)
        stores = {one["name"]: one for one in (await admin.get(f"{ADMIN}/stores")).json()["stores"]}
        held = max(stores, key=lambda name: stores[name]["used_bytes"])
        found = (await admin.get(f"{ADMIN}/stores/{held}/drain")).json()
        assert found["shards"] > 0
        assert found["whole"] is True
        assert sum(one["gains_bytes"] for one in found["to"]) + found["nowhere_bytes"] == found["size_bytes"]
        assert found["nowhere_bytes"] == 0
        assert held not in {one["name"] for one in found["to"]}
        after = {one["name"]: one for one in (await admin.get(f"{ADMIN}/stores")).json()["stores"]}
        assert {name: one["used_bytes"] for name, one in after.items()} == {
            name: one["used_bytes"] for name, one in stores.items()
        }
        others = [name for name in stores if name != held]
        for name in others:
            await admin.patch(f"{ADMIN}/stores/{name}", json={"state": "readonly"})
        none = (await admin.get(f"{ADMIN}/stores/{held}/drain")).json()
        assert none["to"] == []
        assert none["nowhere_bytes"] == none["size_bytes"] == found["size_bytes"]
        assert (await admin.get(f"{ADMIN}/stores/nope/drain")).status_code == 404
