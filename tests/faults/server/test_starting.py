"""What keeps a hive from starting is one clear line and an exit code; what is there stays as it was."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from skep.crypto.keys import MasterKey
from skep.testing.process import made_hive

CONTENT = b"what is there already\n" * 1000
LIMIT_S = 60
LOCK = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute(sys.argv[2]);"
    "print('locked', flush=True); sys.stdin.read()"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A hive with one file that is stopped, and its administrator's password."""
    hive = made_hive(tmp_path_factory.mktemp("made") / "hive")
    hive.start()
    with hive.client() as admin:
        assert admin.put("/api/filesystem/data", params={"path": "/kept"}, content=CONTENT).status_code == 201
    assert hive.stop() == 0
    return hive.place, hive.password


@pytest.fixture
def place(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it, whose store is where the database says: its own directory."""
    copied = tmp_path / "hive"
    shutil.copytree(made[0], copied)
    with closing(sqlite3.connect(copied / "skep.db")) as database:
        database.execute("UPDATE stores SET url = ?", (f"fs://{copied}/store",))
        database.commit()
    return copied


def serve(place: Path, *more: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Run ``skep serve --json``; exit code, the error's code and message."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SKEP_", "XDG_"))}
    own = {"HOME": str(place.parent), "PYTHONPATH": os.pathsep.join(sys.path), **(environ or {})}
    command = [sys.executable, "-P", "-m", "skep.cli.main", "serve", "--json", "--data-dir", str(place), "--port", "0"]
    done = subprocess.run(
        [*command, *more], env={**kept, **own}, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    error = json.loads(lines[0])["error"]
    assert "\n" not in error["message"]
    return done.returncode, error["code"], error["message"]


@contextmanager
def locked(place: Path, how: str) -> Iterator[None]:
    """Another process holds the database."""
    arguments = [sys.executable, "-c", LOCK, str(place / "skep.db"), how]
    other = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"locked\n"
    try:
        yield
    finally:
        other.communicate(b"")


def no_key(place: Path) -> None:
    (place / "master.key").unlink()


def wrong_key(place: Path) -> None:
    no_key(place)
    MasterKey.create().write_file(place / "master.key")


def damaged_key(place: Path) -> None:
    path = place / "master.key"
    text = path.read_text()
    path.write_text(text[:-5] + ("0000\n" if text[-5:] != "0000\n" else "1111\n"))


def open_key(place: Path) -> None:
    (place / "master.key").chmod(0o644)


def newer_database(place: Path) -> None:
    with closing(sqlite3.connect(place / "skep.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()


def no_database(place: Path) -> None:
    (place / "skep.db").unlink()


def no_database_at_all(place: Path) -> None:
    (place / "skep.db").write_bytes(b"this is a letter to my aunt" * 1000)


def half_a_database(place: Path) -> None:
    with (place / "skep.db").open("r+b") as file:
        file.truncate(9000)


def nothing(place: Path) -> None:
    shutil.rmtree(place)


def recovery_cut_short(place: Path) -> None:
    with closing(sqlite3.connect(place / "skep.db")) as database:
        database.execute("INSERT INTO hive (name, value) VALUES ('recovering', x'')")
        database.commit()


BROKEN: dict[str, tuple[Callable[[Path], None], int, str, str]] = {
    "no master key": (no_key, 1, "key-missing", "master.key"),
    "another hive's master key": (wrong_key, 1, "key-wrong", "key"),
    "a damaged master key": (damaged_key, 1, "key-wrong", "mistyped"),
    "a master key that all can read": (open_key, 1, "misconfigured", "600"),
    "a database of a newer Skep": (newer_database, 1, "database-too-new", "9999"),
    "no database": (no_database, 1, "database-too-old", "skep.db"),
    "a file that is no database": (no_database_at_all, 1, "database-unusable", "skep.db"),
    "half a database": (half_a_database, 7, "corrupt-database", "skep.db"),
    "no data directory": (nothing, 1, "misconfigured", "skep up"),
    "a recovery that was cut short": (recovery_cut_short, 1, "misconfigured", "skep recover"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_named(place: Path, what: str) -> None:
    breaks, status, code, word = BROKEN[what]
    breaks(place)
    before = names_and_sizes(place)
    found_status, found_code, message = serve(place)
    assert (found_status, found_code) == (status, code), message
    assert word in message, message
    assert {**before, **names_and_sizes(place)} == names_and_sizes(place), "a start that fails takes nothing away"


def names_and_sizes(place: Path) -> dict[str, int]:
    """Without the lock and SQLite's own files, which any start may touch."""
    return {
        str(path.relative_to(place)): path.stat().st_size
        for path in place.rglob("*")
        if path.is_file() and path.name not in ("skep.lock", "skep.db-wal", "skep.db-shm")
    }


def test_a_database_that_another_process_holds(place: Path) -> None:
    with locked(place, "BEGIN EXCLUSIVE"):
        status, code, message = serve(place, "--set", "database.busy_timeout_s=0.3")
    assert (status, code) == (6, "database-busy"), message


def test_settings_that_make_no_sense(place: Path) -> None:
    status, code, message = serve(place, "--set", "server.prot=80")
    assert (status, code) == (2, "invalid-setting")
    assert "server.port" in message, "the nearest known key is named"
    status, code, _ = serve(place, environ={"SKEP_SERVER_PORT": "http"})
    assert (status, code) == (2, "invalid-setting")
    (place.parent / "other.toml").write_text("[server\n")
    status, code, message = serve(place, environ={"SKEP_CONFIG": str(place.parent / "other.toml")})
    assert (status, code) == (2, "invalid-setting")
    assert "other.toml" in message


def test_a_data_directory_that_another_hive_uses_and_a_port_that_is_taken(made: tuple[Path, str], place: Path) -> None:
    hive = made_hive(place)
    hive.password = made[1]
    hive.start()
    status, code, message = serve(place)
    assert (status, code) == (1, "data-directory-in-use")
    assert hive.process is not None
    assert str(hive.process.pid) in message
    assert hive.stop() == 0


def test_a_database_locked_while_the_hive_runs_is_503_and_then_all_is_well(made: tuple[Path, str], place: Path) -> None:
    hive = made_hive(place, database__busy_timeout_s="0.3s")
    hive.password = made[1]
    hive.start()
    with hive.client() as admin:
        with locked(place, "BEGIN IMMEDIATE"):
            refused = admin.put("/api/filesystem/data", params={"path": "/kept"}, content=b"new")
            assert (refused.status_code, refused.json()["code"]) == (503, "database-busy")
            assert refused.headers["retry-after"]
            assert admin.get("/api/filesystem/data", params={"path": "/kept"}).content == CONTENT
        assert admin.put("/api/filesystem/data", params={"path": "/kept"}, content=b"new").status_code == 200
        assert httpx.get(f"{hive.url}/readyz").status_code == 200
    assert hive.stop() == 0


def test_a_hive_whose_only_store_is_gone_starts_says_so_and_comes_back(made: tuple[Path, str], place: Path) -> None:
    hive = made_hive(place, workers__health_period_s="1s")
    hive.password = made[1]
    (place / "store").rename(place / "elsewhere")
    hive.start()
    with hive.client() as admin:
        [store] = admin.get("/api/admin/stores").json()["stores"]
        assert (store["healthy"], bool(store["error"])) == (False, True)
        read = admin.get("/api/filesystem/data", params={"path": "/kept"})
        assert (read.status_code, read.json()["code"]) == (503, "store-unavailable")
        written = admin.put("/api/filesystem/data", params={"path": "/new"}, content=b"new")
        assert (written.status_code, written.json()["code"]) == (503, "quorum-not-reached")
        assert not (place / "store").exists(), "no new store is made in the place of one that is not mounted"
        (place / "elsewhere").rename(place / "store")
        hive.until("skep_store_healthy{", 1)
        assert admin.get("/api/filesystem/data", params={"path": "/kept"}).content == CONTENT
        assert admin.put("/api/filesystem/data", params={"path": "/new"}, content=b"new").status_code == 201
    assert hive.stop() == 0
