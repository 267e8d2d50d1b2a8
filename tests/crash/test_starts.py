"""What is killed with -9 while a hive is made, migrated or recovered: the same command again ends it well."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from skep.client.framing import BATCH_TYPE, encode_batch
from skep.db import current_revision
from skep.db.migrate import _alembic_engine
from skep.db.revision import HEAD
from skep.db.schema import METADATA
from skep.db.urls import parse_url
from skep.testing.process import made_hive

from .nursery import Nursery

pytestmark = pytest.mark.crash

SETTINGS = {"auth.argon2_memory_bytes": "64 KiB", "auth.argon2_passes": "1"}
FILES = 60


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path / "hive", "", SETTINGS)
    yield made
    made.close()


def lives(nursery: Nursery, act: str, *more: object, kills: int, seed: int) -> Iterator[float]:
    """Times to live: up to as long as one whole run takes, which is measured with the first."""
    began = time.monotonic()
    assert nursery.run(act, *more)[-1] == "done"
    whole_s = time.monotonic() - began
    chance = random.Random(seed)
    for _ in range(kills):
        yield chance.uniform(0, whole_s)


def test_setting_up(nursery: Nursery, tmp_path: Path) -> None:
    """However often it is cut off: the hive is there in the end, and its password was told."""
    for life_s in lives(nursery, "set_up", kills=20, seed=1):
        said = nursery.run("set_up", life_s=life_s)
        if not said or said[-1] != "done":
            continue
        shutil.rmtree(tmp_path / "hive")
        nursery.run("set_up", life_s=life_s / 2)
    said = nursery.run("set_up")
    assert said[-1] == "done", said
    nursery.password = said[-2].split()[-1]
    nursery.begin()
    nursery.wait_until_ready()
    calls = nursery.calls()
    calls.raw("PUT", "/api/filesystem/data", {"path": "/f"}, b"works")
    assert calls.job("fsck", read_data=True)["clean"]
    assert len(calls.json("GET", "/api/admin/stores")["stores"]) == 1
    calls.close()


def test_migrating(nursery: Nursery, database_url: str) -> None:
    nursery.settings["database.url"] = database_url
    (Path(nursery.settings["data_dir"])).mkdir()
    began = time.monotonic()
    for life_s in [random.Random(2).uniform(0, 1.0) for _ in range(8)]:
        nursery.run("migrate", life_s=life_s)
    assert nursery.run("migrate") == ["done"], f"after {time.monotonic() - began:.1f} s"
    assert current_revision(database_url) == HEAD
    with _alembic_engine(parse_url(database_url)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_recovering(nursery: Nursery, tmp_path: Path) -> None:
    """Half-recovered hives do not start, and recovering again gives every version of every file."""
    stores = _hive_that_is_lost(tmp_path, nursery)
    key = tmp_path / "master.key"
    more = (str(key), stores)
    for life_s in lives(nursery, "recover", *more, kills=12, seed=3):
        shutil.rmtree(tmp_path / "hive", ignore_errors=True)
        for _ in range(2):
            said = nursery.run("recover", *more, life_s=life_s)
            if "done" in said:
                break
        _check_recovered(nursery, more)


def _hive_that_is_lost(tmp_path: Path, nursery: Nursery) -> list[str]:
    """A hive's stores and key, moved elsewhere; nothing else is left of it."""
    first = made_hive(tmp_path / "hive")
    nursery.password = first.password
    nursery.begin()
    nursery.wait_until_ready()
    calls = nursery.calls()
    for name in ("disk2", "disk3"):
        (tmp_path / name).mkdir()
        send = {"name": name, "url": f"fs://{tmp_path / name}", "zone": name}
        calls.json("POST", "/api/admin/stores", send=send)
    calls.json("PUT", "/api/admin/scheme", send={"scheme": "ec(2,1)"})
    headers = {"Content-Type": BATCH_TYPE}
    for version in (1, 2):
        items = [(f"/d{n % 7}/f{n}", _content(n, version), 1) for n in range(FILES)]
        calls.raw("POST", "/api/filesystem/batch", None, encode_batch(items), **headers)
    calls.job("snapshot")
    calls.raw("PUT", "/api/filesystem/data", {"path": "/since"}, random.Random(5).randbytes(300_000))
    calls.close()
    nursery.kill()
    shutil.copy(tmp_path / "hive/master.key", tmp_path / "master.key")
    (tmp_path / "hive/store").rename(tmp_path / "disk1")
    for name in ("disk2", "disk3"):
        (tmp_path / name).rename(tmp_path / f"moved-{name}")
    shutil.rmtree(tmp_path / "hive")
    return [f"fs://{tmp_path / name}" for name in ("disk1", "moved-disk2", "moved-disk3")]


def _content(number: int, version: int) -> bytes:
    return random.Random(number * 10 + version).randbytes(number * 7 % 3000)


def _check_recovered(nursery: Nursery, more: tuple[object, ...]) -> None:
    """As a person would go on: if the hive does not start, or there is none, recover; then everything is there."""
    said = nursery.run("recover", *more)
    assert said[-1] == "done" or "is there already" in said[-1], said
    nursery.begin()
    nursery.wait_until_ready()
    calls = nursery.calls()
    page = calls.json("GET", "/api/filesystem/info", {"path": "/", "depth": 3, "limit": 10_000})
    assert len(page["files"]) == FILES
    for node in page["files"]:
        number = int(node["name"][1:])
        for version in (1, 2):
            assert calls.raw("GET", f"/api/filesystem/data/{node['id']}/{version}") == _content(number, version)
    assert calls.job("fsck", read_data=True)["clean"]
    calls.close()
    nursery.kill()
