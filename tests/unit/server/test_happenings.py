"""Events for operators are told where they happen, and written into the log."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from skep.base.workers import Progress
from skep.events import RESYNC
from skep.events.records import EVENT_TYPES
from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.process import made_hive
from skep.testing.stores import memory_store


class Heard:
    """What operators' listeners hear."""

    def __init__(self, hive: TestHive) -> None:
        self._subscription = hive.hive.hub.subscribe_events()

    def kinds(self) -> list[str]:
        """The kinds since the last look, in order."""
        found = []
        while self._subscription._items:
            event = self._subscription._items.popleft()
            assert event is not RESYNC
            if event.kind() != "audit-noted":  # of the users that a test makes
                found.append(event.kind())
        return found


async def test_what_happens_to_stores_and_packs_is_told(tmp_path: Path) -> None:
    clock = FakeClock()
    drivers = {name: memory_store() for name in ("s0", "s1", "s2")}
    async with open_test_hive(tmp_path, drivers=drivers, scheme="raid1(2)", clock=clock) as hive:
        keepers, heard = hive.hive.keepers, Heard(hive)
        assert heard.kinds() == []
        ada = await hive.client("ada")
        answer = await ada.put("/api/filesystem/data", params={"path": "/a"}, content=b"a" * 300_000)
        assert answer.status_code == 201
        await keepers.snapshotter.take()
        assert heard.kinds() == ["snapshot-written"]

        held = {name: [one.key async for one in store.list("shards/")] for name, store in drivers.items()}
        holder = next(name for name, keys in held.items() if keys)
        for key in held[holder]:
            await drivers[holder].delete(key)
        clock.jump(1)
        await keepers.scrubber.run()
        damaged = heard.kinds()
        assert damaged[-1] == "scrub-done"
        assert set(damaged[:-1]) == {"shard-damaged"}
        clock.jump(60)
        while (await keepers.repairer.run_once(Progress())).more_work:
            pass
        told = heard.kinds()
        assert "repair-queued" in told
        assert "repair-done" in told

        nodes = (await ada.get("/api/filesystem/info")).json()["files"]
        await ada.delete(f"/api/filesystem/info/{nodes[0]['id']}", params={"permanently": True})
        clock.jump(90 * 86_400)
        for _ in range(4):
            await keepers.collector.run()
            clock.jump(90 * 86_400)
        assert "garbage-collected" in heard.kinds()

        member = next(iter(hive.hive.stores))
        member.failures, member.down_until_s = 100, clock.monotonic_s() + 60
        await keepers.stores.run_once(Progress())
        assert heard.kinds() == ["store-lost"]
        member.failures = 0
        await keepers.stores.run_once(Progress())
        assert heard.kinds() == ["store-recovered"]
        member.capacity_bytes = member.used_bytes + 1
        await keepers.stores.run_once(Progress())
        assert heard.kinds() == ["store-almost-full"]


async def test_a_worker_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_test_hive(tmp_path) as hive:
        heard = Heard(hive)

        async def fail(progress: Progress) -> None:
            raise OSError("the disk is gone")

        monkeypatch.setattr(hive.hive.keepers.digests, "run_once", fail)
        hive.hive.workers.start()
        await hive.hive.workers.run_through("digests")
        assert "worker-failed" in heard.kinds()


def test_a_hive_logs_its_start_and_its_stop(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hive = made_hive(tmp_path, log__level="info", log__format="json")
    hive.start()
    hive.stop(signal.SIGTERM)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    told = [line for line in lines if line["area"] == "skep.events"]
    assert [line["event"] for line in told if line["event"].startswith("hive-")] == ["hive-started", "hive-stopping"]
    assert {line["event"] for line in told} <= {kind.kind() for kind in EVENT_TYPES}
