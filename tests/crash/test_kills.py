"""A hive that is killed with -9 at random moments of everything that clients and upkeep do.

One data directory lives through all kills. After each of them: every acknowledged file and version is
there byte for byte, an operation that was cut off is wholly there or not at all, and `fsck --read-data`
finds nothing. Every few kills, and at the end: nothing is left in the stores that no row knows, and
after everything is deleted, nothing is left at all.

SKEP_CRASH_SEED=n   the chances of clients and kills (printed; the moments themselves are the machine's)
SKEP_CRASH_KILLS=n  kills per scheme
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from skep.stores.registry import open_store
from skep.testing.process import made_hive

from .calls import Calls
from .clients import Client, Keeper, all_at_once
from .nursery import Nursery

pytestmark = pytest.mark.crash

KILLS = int(os.environ.get("SKEP_CRASH_KILLS", "105"))
SEED = int(os.environ.get("SKEP_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
CLIENTS = 6
LIFE_MAX_S = 0.8
LONG_LIFE_MAX_S = 2.5
SWEEP_EVERY = 15
PURGES_LIMIT_S = 60
SETTINGS = {
    "storage.pack_bytes": "5 MiB",
    "workers.repack_dead_ratio": "0.1",
    "workers.snapshots_max": "2",
    "workers.tranquility": "0",
}


@pytest.mark.parametrize("scheme", ["ec(2,1)", "none"])
def test_what_was_acknowledged_outlives_every_kill(tmp_path: Path, scheme: str) -> None:
    print(f"SKEP_CRASH_SEED={SEED} SKEP_CRASH_KILLS={KILLS}")
    place = tmp_path / "hive"
    nursery = Nursery(place, made_hive(place).password, SETTINGS)
    try:
        run = Run(nursery, tmp_path, scheme)
        run.all()
        print(run.told())
        assert run.acknowledged > 3 * KILLS, "the clients got too little done for this to mean anything"
    except BaseException:
        kept = Path("/tmp") / f"skep-crash-{SEED}"  # pytest keeps too little of it
        shutil.copytree(tmp_path, kept, dirs_exist_ok=True)
        print(f"the data directory is kept as {kept}")
        raise
    finally:
        nursery.close()


class Run:
    """All lives of one hive."""

    def __init__(self, nursery: Nursery, top: Path, scheme: str) -> None:
        self._nursery = nursery
        self._top = top
        self._chance = random.Random(f"{SEED}/kills")
        self._clients = [Client(number, SEED) for number in range(CLIENTS)]
        self._keeper = Keeper(SEED)
        self._scheme = scheme
        self._cut_off = self._cut_off_done = 0

    @property
    def acknowledged(self) -> int:
        return sum(client.acknowledged for client in self._clients)

    def told(self) -> str:
        return (
            f"{KILLS} kills over {self._scheme}: {self.acknowledged} operations acknowledged, {self._cut_off} cut off "
            f"({self._cut_off_done} of them done), {self._keeper.finished} upkeep jobs finished"
        )

    def all(self) -> None:
        self._start()
        self._give_stores()
        for number in range(1, KILLS + 1):
            self._live_and_die()
            self._start()
            self._check()
            if number % SWEEP_EVERY == 0:
                self._check_garbage()
        self._check_garbage()
        self._delete_everything()

    def _start(self) -> None:
        """Some hives are killed before they are up."""
        while self._chance.random() < 0.1:
            self._nursery.begin()
            time.sleep(self._chance.uniform(0, 0.3))  # the moment of the kill: chance is the point
            self._nursery.kill()
        self._nursery.begin()
        self._nursery.wait_until_ready()

    def _give_stores(self) -> None:
        calls = self._nursery.calls()
        if self._scheme != "none":
            for name in ("disk2", "disk3"):
                (self._top / name).mkdir()
                send = {"name": name, "url": f"fs://{self._top / name}", "zone": name}
                calls.json("POST", "/api/admin/stores", send=send)
            calls.json("PUT", "/api/admin/scheme", send={"scheme": self._scheme})
        calls.close()

    def _live_and_die(self) -> None:
        failures: list[str] = []
        threads = all_at_once(self._nursery, [*self._clients, self._keeper], failures)
        longest = LIFE_MAX_S if self._chance.random() < 0.85 else LONG_LIFE_MAX_S
        time.sleep(self._chance.uniform(0.02, longest))  # the moment of the kill: chance is the point
        self._nursery.kill()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "a client did not notice that the hive is gone"
        assert not failures, "\n".join(failures)

    def _check(self) -> None:
        cut_off = [client for client in self._clients if len(client.states) > 1]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(self._check_client, self._clients))
        self._cut_off += len(cut_off)
        self._cut_off_done += sum(client.settled_on for client in cut_off)
        calls = self._nursery.calls()
        self._fsck(calls)
        calls.close()

    def _check_client(self, client: Client) -> None:
        calls = self._nursery.calls()
        client.check(calls)
        calls.close()

    def _fsck(self, calls: Calls) -> None:
        found = calls.job("fsck", read_data=True)
        assert found["clean"], found

    def _check_garbage(self) -> None:
        """After a collection without grace the stores hold what rows know, and rows know what is used."""
        calls = self._nursery.calls()
        calls.job("gc", grace_s=0, sweep=True)
        self._fsck(calls)
        calls.close()
        with closing(sqlite3.connect(self._top / "hive/skep.db")) as database:
            known = {
                f"{pack.hex()}.{number} on {store}"
                for pack, number, store in database.execute(
                    "SELECT pack_id, number, stores.name FROM shards JOIN stores ON stores.id = store_id"
                )
            }
            [unused] = database.execute("SELECT count(*) FROM chunks WHERE refs = 0").fetchone()
            [empty] = database.execute("SELECT count(*) FROM packs WHERE chunk_count = 0").fetchone()
        assert (unused, empty) == (0, 0)
        there = {f"{key} on {store}" for store, keys in self._keys().items() for key in keys}
        assert {name.rpartition("/")[2] for name in there} == known

    def _keys(self) -> dict[str, list[str]]:
        """The keys of the shards in each store."""
        places = {"local": self._top / "hive/store", "disk2": self._top / "disk2", "disk3": self._top / "disk3"}

        async def listed(path: Path) -> list[str]:
            store = open_store(f"fs://{path}")
            keys = [info.key async for info in store.list("shards/")]
            await store.close()
            return keys

        return {name: asyncio.run(listed(path)) for name, path in places.items() if path.exists()}

    def _finish_purges(self, calls: Calls) -> None:
        """What a kill has cut off in the middle of a purge is the retention worker's to finish."""
        deadline = time.monotonic() + PURGES_LIMIT_S
        with closing(sqlite3.connect(self._top / "hive/skep.db")) as database:
            while database.execute("SELECT count(*) FROM trash").fetchone() != (0,):
                assert time.monotonic() < deadline, "what was deleted for good is still there"
                calls.json("POST", "/api/admin/workers/retention/trigger")
                time.sleep(0.02)  # the API has no other way to wait for a worker

    def _delete_everything(self) -> None:
        calls = self._nursery.calls()
        for page in list(calls.pages("/api/filesystem/info", {"path": "/", "depth": 1})):
            for node in (*page["dirs"], *page["files"]):
                calls.json("DELETE", "/api/filesystem/info", {"path": node["path"], "permanently": "true"})
        calls.json("DELETE", "/api/filesystem/trash")
        self._finish_purges(calls)
        calls.close()
        self._check_garbage()
        assert not any(self._keys().values()), self._keys()
