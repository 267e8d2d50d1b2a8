"""Stores of a real hive that are full, read-only, gone, replaced or damaged: clear answers, nothing lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from skep.testing.process import RunningHive, made_hive

DATA, INFO = "/api/filesystem/data", "/api/filesystem/info"
KEPT = random.Random(1).randbytes(300_000)
RESERVED_MB = 64
"""What the hive leaves free on every store."""
LARGE = random.Random(2).randbytes(9_000_000)


@contextmanager
def disk(path: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own, which can be mounted anew with other options."""
    path.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=False).returncode:
        pytest.skip("only root may mount")
    try:
        yield lambda other: (subprocess.run(["mount", "-o", f"remount,{other}", path], check=True), None)[1]
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextmanager
def running(place: Path, url: str | None = None, **settings: str) -> Iterator[tuple[RunningHive, httpx.Client]]:
    """A hive whose only store is at ``url``, with a file /kept in it."""
    hive = made_hive(place, workers__health_period_s="1s", storage__pack_bytes="5 MiB", **settings)
    hive.start()
    try:
        with hive.client() as admin:
            if url is not None:
                good(admin.post("/api/admin/stores", json={"name": "other", "url": url, "zone": "other"}))
                good(admin.delete("/api/admin/stores/local"))
            good(admin.put(DATA, params={"path": "/kept"}, content=KEPT))
            yield hive, admin
    finally:
        hive.stop()


def good(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, answer.text
    return answer


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def put(admin: httpx.Client, path: str, content: bytes) -> httpx.Response:
    return admin.put(DATA, params={"path": path}, content=content)


def is_kept(admin: httpx.Client, content: bytes = KEPT) -> None:
    """Only /kept is there, in one version, and it is whole."""
    assert [node["name"] for node in admin.get(INFO).json()["files"]] == ["kept"]
    found = admin.get(DATA, params={"path": "/kept"})
    assert (found.status_code, found.content) == (200, content)


def job(admin: httpx.Client, kind: str, **options: object) -> dict:
    record = good(admin.post("/api/admin/jobs", json={"kind": kind, "options": options})).json()
    while record["state"] == "running":
        record = good(admin.get(f"/api/admin/jobs/{record['id']}")).json()
    assert record["state"] == "done", record
    return record["result"]


def test_at_its_capacity_it_refuses_and_takes_again_once_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    url = f"fs://{tmp_path / 'disk'}?capacity={RESERVED_MB + 20}MB"
    with running(tmp_path / "hive", url) as (_, admin):
        good(put(admin, "/filler", random.Random(3).randbytes(19_000_000)))
        refused(put(admin, "/large", LARGE), 507, "store-full")
        refused(put(admin, "/kept", LARGE), 507, "store-full")
        good(admin.delete(INFO, params={"path": "/filler", "permanently": "true"}))
        is_kept(admin)
        job(admin, "gc", grace_s=0, sweep=True)
        until(lambda: put(admin, "/kept", LARGE).status_code == 200)
        is_kept(admin, LARGE)
        assert job(admin, "fsck", read_data=True)["clean"]


def test_a_disk_that_others_have_filled_is_the_same(tmp_path: Path) -> None:
    """The hive believes that there is room; write(2) says that there is none."""
    with (
        disk(tmp_path / "disk", f"size={RESERVED_MB + 60}m"),
        running(tmp_path / "hive", f"fs://{tmp_path / 'disk'}") as (_, admin),
    ):
        with (tmp_path / "disk/junk").open("wb") as junk:
            os.posix_fallocate(junk.fileno(), 0, (RESERVED_MB + 54) << 20)
        refused(put(admin, "/large", LARGE), 507, "store-full")
        refused(put(admin, "/kept", LARGE), 507, "store-full")
        is_kept(admin)
        job(admin, "gc", grace_s=0, sweep=True)
        assert job(admin, "fsck", read_data=True)["clean"]
        (tmp_path / "disk/junk").unlink()
        until(lambda: put(admin, "/kept", LARGE).status_code == 200)
        is_kept(admin, LARGE)


def test_a_disk_that_becomes_read_only_is_read_and_written_again_later(tmp_path: Path) -> None:
    with (
        disk(tmp_path / "disk", f"size={RESERVED_MB + 60}m") as remount,
        running(tmp_path / "hive", f"fs://{tmp_path / 'disk'}") as (_, admin),
    ):
        remount("ro")
        refused(put(admin, "/new", LARGE), 503, "store-read-only")
        refused(put(admin, "/kept", b"small"), 503, "store-read-only")
        is_kept(admin)
        remount("rw")
        until(lambda: put(admin, "/kept", b"new").status_code == 200)
        is_kept(admin, b"new")


def test_a_store_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    with running(tmp_path / "hive", f"fs://{place}") as (hive, admin):
        place.rename(tmp_path / "drawer")
        good(put(admin, "/kept", b"through open directories this still reaches the disk"))
        hive.until('skep_store_healthy{store="other"}', 0)
        refused(put(admin, "/new", LARGE), 503, "quorum-not-reached")
        place.mkdir()  # the mount point of a disk that is not there
        refused(put(admin, "/kept", b"small"), 503, "quorum-not-reached")
        assert list(place.iterdir()) == [], "nothing is written where another disk should be"
        place.rmdir()
        (tmp_path / "drawer").rename(place)
        hive.until('skep_store_healthy{store="other"}', 1)
        is_kept(admin, b"through open directories this still reaches the disk")
        until(lambda: put(admin, "/kept", LARGE).status_code == 200)
        is_kept(admin, LARGE)
        assert job(admin, "fsck", read_data=True)["clean"]


def test_the_store_of_another_hive_is_refused(tmp_path: Path) -> None:
    made_hive(tmp_path / "another")
    with running(tmp_path / "hive") as (_, admin):
        url = f"fs://{tmp_path / 'another/store'}"
        answer = admin.post("/api/admin/stores", json={"name": "stolen", "url": url, "zone": "z"})
        assert answer.status_code == 409, answer.text
        assert [store["name"] for store in admin.get("/api/admin/stores").json()["stores"]] == ["local"]


def test_a_corrupt_shard_without_parity_is_an_error_and_never_wrong_bytes(tmp_path: Path) -> None:
    with running(tmp_path / "hive") as (hive, _):
        flip(shards(tmp_path / "hive/store")[0], 200)
        hive.stop()
        hive.start()
        with hive.client() as again:
            refused(again.get(DATA, params={"path": "/kept"}), 500, "corrupt-shard")
            found = job(again, "fsck", read_data=True)
            assert not found["clean"]
            assert any(one["kind"] == "lost" for one in found["findings"]), found
            job(again, "repair")  # finds that nothing can be rebuilt
            good(put(again, "/kept", KEPT))
            is_kept(again)


@pytest.mark.parametrize("where", [100, -40], ids=["content", "index of the pack"])
def test_a_corrupt_shard_with_parity_is_rebuilt(tmp_path: Path, where: int) -> None:
    with running(tmp_path / "hive") as (hive, admin):
        for name in ("disk2", "disk3"):
            (tmp_path / name).mkdir()
            good(admin.post("/api/admin/stores", json={"name": name, "url": f"fs://{tmp_path / name}", "zone": name}))
        good(admin.put("/api/admin/scheme", json={"scheme": "ec(2,1)"}))
        good(put(admin, "/striped", LARGE))
        striped = [path for name in ("hive/store", "disk2", "disk3") for path in shards(tmp_path / name)]
        for path in (path for path in striped if path.name.endswith(".1")):  # the last data shard has the index
            flip(path, where if where > 0 else path.stat().st_size + where)
        hive.stop()
        hive.start()
        with hive.client() as again:
            assert again.get(DATA, params={"path": "/striped"}).content == LARGE
            assert not job(again, "fsck", read_data=True)["clean"]
            assert job(again, "repair")["left"] == 0
            assert job(again, "fsck", read_data=True)["clean"]
            assert again.get(DATA, params={"path": "/striped"}).content == LARGE


def test_a_lost_disk_costs_nothing_and_uploads_go_on(tmp_path: Path) -> None:
    with running(tmp_path / "hive") as (_, admin):
        for name in ("disk2", "disk3", "disk4"):
            (tmp_path / name).mkdir()
            good(admin.post("/api/admin/stores", json={"name": name, "url": f"fs://{tmp_path / name}", "zone": name}))
        good(admin.put("/api/admin/scheme", json={"scheme": "ec(2,1)"}))
        good(put(admin, "/striped", LARGE))
        shutil.rmtree(tmp_path / "disk3")
        assert admin.get(DATA, params={"path": "/striped"}).content == LARGE
        until(lambda: put(admin, "/after", LARGE[:5_000_000]).status_code in (200, 201))
        good(admin.patch("/api/admin/stores/disk3", json={"state": "lost"}))
        assert job(admin, "repair")["left"] == 0
        good(admin.delete("/api/admin/stores/disk3"))
        assert job(admin, "fsck", read_data=True)["clean"]
        assert admin.get(DATA, params={"path": "/after"}).content == LARGE[:5_000_000]


def shards(store: Path) -> list[Path]:
    """The files of a store's shards, the largest first."""
    return sorted((store / "objects/shards").rglob("*.?"), key=lambda path: -path.stat().st_size)


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def until(check: Callable[[], bool], tries: int = 200) -> None:
    """Ask again until it is so: the hive tries a store that failed again after its pause."""
    for _ in range(tries):
        if check():
            return
        time.sleep(0.1)  # nothing tells when the store's pause is over
    raise AssertionError("it did not come back")
