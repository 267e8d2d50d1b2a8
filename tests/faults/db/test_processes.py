"""Several processes, killed processes, full disks, servers that go away: what is left afterwards."""

from __future__ import annotations

import asyncio
import math
import os
import random
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from skep.base.clock import SystemClock
from skep.base.errors import CorruptDatabase, DatabaseBusy, DatabaseFull, DatabaseUnusable
from skep.db import Database, current_revision, insert_new, migrate, prepared, upsert
from skep.db.revision import HEAD
from skep.db.schema import worker_states

_put = insert_new(worker_states)
_set = upsert(worker_states, ["name"], ["updated_us"])
_all = prepared(sa.select(worker_states.c.name, worker_states.c.updated_us).order_by(worker_states.c.name))
_count = prepared(sa.select(sa.func.count()).select_from(worker_states))


def _row(name: str, state: bytes = b"", updated_us: int = 0) -> dict[str, object]:
    return {"name": name, "state": state, "updated_us": updated_us}


def test_processes_that_start_together_migrate_once(database_url):
    code = f"from skep.db import migrate; migrate({database_url!r})"
    children = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(child.communicate()[1], child.returncode) for child in children] == [(b"", 0)] * 3
    assert current_revision(database_url) == HEAD


# Writes pairs of rows in concurrent units; says a pair's number once it is acknowledged.
_WRITING = """
import asyncio, os, sys
from skep.base.clock import SystemClock
from skep.db import Database, insert_new
from skep.db.schema import worker_states, users

async def main():
    database = await Database.open(sys.argv[1], clock=SystemClock())
    put = insert_new(worker_states)
    numbers = iter(range(int(sys.argv[2]), 10**9))
    async def write():
        for number in numbers:
            def unit(tx):
                for half in "ab":
                    tx.run(put, {"name": f"{number}{half}", "state": b"x" * 500, "updated_us": number})
                if number % 5 == 0:
                    raise LookupError
            try:
                await database.write(unit)
                os.write(1, f"{number}\\n".encode())
            except LookupError:
                pass
    await asyncio.gather(*[write() for _ in range(16)])

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_keeps_every_acknowledged_unit_and_no_half(sqlite_url, tmp_path, seed):
    """Three lives of one database, each ended by SIGKILL after a random number of acknowledgements."""
    migrate(sqlite_url)
    randomly, acknowledged, start = random.Random(seed), set(), 0
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", _WRITING, sqlite_url, str(start)], stdout=subprocess.PIPE)
        assert child.stdout
        for _ in range(randomly.randrange(1, 400)):
            acknowledged.add(int(child.stdout.readline()))
        child.kill()
        # Only whole lines: the last may have been cut by the kill.
        acknowledged |= {int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")}
        child.wait()
        start = max(acknowledged) + 1_000
        connection = sqlite3.connect(tmp_path / "hive.db")
        found = [name for (name,) in connection.execute("SELECT name FROM worker_states")]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        first = {int(name[:-1]) for name in found if name.endswith("a")}
        assert first == {int(name[:-1]) for name in found if name.endswith("b")}
        assert acknowledged <= first
        assert not any(number % 5 == 0 for number in first)


async def test_another_process_that_holds_the_lock_is_database_busy(sqlite_url, tmp_path):
    migrate(sqlite_url)
    database = await Database.open(sqlite_url, clock=SystemClock(), busy_timeout_s=0.05)
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE');"
        "print('locked', flush=True); sys.stdin.read(); c.execute('ROLLBACK')"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "hive.db")]
    other = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout
    assert other.stdout.readline() == b"locked\n"
    writes = [database.write(lambda tx, n=n: tx.run(_put, _row(str(n)))) for n in range(5)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(result) for result in results} == {DatabaseBusy}
    assert "locked by another process" in str(results[0])
    assert await database.read(lambda tx: tx.value(_count)) == 0  # reading goes on
    other.communicate(b"")
    assert await database.write(lambda tx: tx.run(_put, _row("after"))) == 1
    assert await database.read(lambda tx: tx.value(_count)) == 1
    await database.close()


async def test_a_full_disk_fails_the_units_leaves_nothing_half_and_heals(sqlite_url):
    """SQLite is told that the disk ends soon (max_page_count), which is its own SQLITE_FULL."""
    migrate(sqlite_url)
    database = await Database.open(sqlite_url, clock=SystemClock())
    connection = database._engine._writer._commits._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 20}").fetchone()

    def large(tx):
        for number in range(100):
            tx.run(_put, _row(f"large{number}", b"x" * 5_000))

    with pytest.raises(DatabaseFull, match="nothing was written"):
        await database.write(large)
    results = await asyncio.gather(
        database.write(lambda tx: tx.run(_put, _row("small"))), database.write(large), return_exceptions=True
    )
    assert isinstance(results[1], DatabaseFull)
    names = [name for name, _ in await database.read(lambda tx: tx.rows(_all))]
    assert names == (["small"] if results[0] == 1 else [])
    connection.execute("PRAGMA max_page_count=1000000").fetchone()
    await database.write(large)
    assert await database.read(lambda tx: tx.value(_count)) == 100 + len(names)
    await database.close()


_FILLING = """
import asyncio, resource, signal, sys
from skep.base.clock import SystemClock
from skep.base.errors import SkepError
from skep.db import Database, insert_new, prepared
from skep.db.schema import worker_states
import sqlalchemy as sa

async def main():
    database = await Database.open(sys.argv[1], clock=SystemClock())
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, -1))
    put, count, done = insert_new(worker_states), prepared(sa.select(sa.func.count()).select_from(worker_states)), 0
    try:
        for number in range(2_000):
            await database.write(lambda tx: tx.run(put, {"name": str(number), "state": b"x" * 3000, "updated_us": 0}))
            done += 1
    except SkepError as error:
        print(type(error).__name__, done, await database.read(lambda tx: tx.value(count)), flush=True)
    await database.close()

asyncio.run(main())
"""


async def test_writes_that_the_system_refuses_fail_clearly_and_keep_the_rest(sqlite_url):
    """RLIMIT_FSIZE makes write(2) fail in the middle of the log: the real errors of a full disk."""
    migrate(sqlite_url)
    child = subprocess.run([sys.executable, "-c", _FILLING, sqlite_url], capture_output=True, check=False, timeout=120)
    kind, done, seen = child.stdout.decode().split()
    assert kind in ("DatabaseFull", "DatabaseBusy")
    assert int(done) == int(seen) > 10
    database = await Database.open(sqlite_url, clock=SystemClock())
    assert await database.read(lambda tx: tx.value(_count)) == int(done)
    await database.close()


async def test_a_commit_that_fails_fails_every_unit_of_its_batch(sqlite_url):
    """A deferred constraint is checked by COMMIT itself."""
    migrate(sqlite_url)
    database = await Database.open(sqlite_url, clock=SystemClock())
    connection = database._engine._writer._commits._connection
    connection.execute("CREATE TABLE child (id BLOB REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED)")
    orphan = prepared(sa.text("INSERT INTO child VALUES (:id)"))
    calls = []

    def good(tx):
        tx.after_commit(lambda: calls.append(1))
        tx.run(_put, _row("good"))

    results = await asyncio.gather(
        database.write(good), database.write(lambda tx: tx.run(orphan, {"id": b"?"})), return_exceptions=True
    )
    assert all(isinstance(result, sqlite3.IntegrityError) for result in results)
    assert calls == []
    assert await database.read(lambda tx: tx.value(_count)) == 0
    await database.write(good)
    assert calls == [1]
    await database.close()


async def test_a_damaged_file_is_named_as_such(sqlite_url, tmp_path):
    migrate(sqlite_url)
    path = tmp_path / "hive.db"
    raw = bytearray(path.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises((CorruptDatabase, DatabaseUnusable)) as caught:
        await Database.open(sqlite_url, clock=SystemClock())
    assert "hive.db" in str(caught.value)


async def test_the_log_is_bounded_though_readers_never_pause(sqlite_url, tmp_path, monkeypatch):
    monkeypatch.setattr("skep.db.sqlite.LOG_PAGES_MAX", 200)
    monkeypatch.setattr("skep.db.sqlite.CHECKPOINT_PAGES", 50)
    monkeypatch.setattr("skep.db.sqlite.LOG_CHECK_EVERY_BATCHES", 8)
    migrate(sqlite_url)
    database = await Database.open(f"{sqlite_url}?synchronous=off", clock=SystemClock())
    writing = True

    async def read():
        while writing:
            await database.read(lambda tx: tx.rows(_all))

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(600):
        await database.write(lambda tx, n=number: tx.run(_put, _row(str(n), b"x" * 6_000)))
    writing = False
    await asyncio.gather(*readers)
    assert (tmp_path / "hive.db-wal").stat().st_size < 4_000_000  # 600 commits of about 4 pages are 10 MB
    await database.close()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_a_lost_connection_is_database_busy_and_the_next_unit_connects_anew(kind, request):
    url, server = request.getfixturevalue(f"{kind}_url"), request.getfixturevalue(f"{kind}_server")
    migrate(url)
    database = await Database.open(url, clock=SystemClock(), pool_size=2)
    whoami = prepared(sa.text("SELECT pg_backend_pid()" if kind == "postgresql" else "SELECT CONNECTION_ID()"))
    kill = "SELECT pg_terminate_backend({})" if kind == "postgresql" else "KILL {}"

    def cut_off(tx):
        tx.run(_put, _row("cut"))
        server.execute(kill.format(tx.value(whoami)))
        tx.run(_put, _row("off"))

    with pytest.raises(DatabaseBusy, match="does not answer or is busy"):
        await database.write(cut_off)
    assert await database.write(lambda tx: tx.run(_put, _row("again"))) == 1

    # Between units nobody is told: the connection is made anew.
    server.execute(kill.format(await database.write(lambda tx: tx.value(whoami))))
    assert await database.write(lambda tx: tx.run(_put, _row("and again"))) == 1
    assert [name for name, _ in await database.read(lambda tx: tx.rows(_all))] == ["again", "and again"]
    await database.close()


@pytest.mark.parametrize("url", ["postgresql://x:secret@127.0.0.1:1/x", "mysql://x:secret@127.0.0.1:1/x"])
async def test_a_server_that_does_not_answer_is_database_busy(url):
    with pytest.raises(DatabaseBusy) as caught:
        await Database.open(url, clock=SystemClock())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_a_server_that_refuses_us_is_unusable(kind, request):
    url = request.getfixturevalue(f"{kind}_url")
    with pytest.raises(DatabaseUnusable, match="refuses us") as caught:
        await Database.open(url.rpartition("/")[0] + "/nowhere", clock=SystemClock())
    assert "secret of tests" not in str(caught.value)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_conflicting_units_are_run_again_until_they_fit(kind, request):
    """Pairs of units that each read what the other writes: serial order must come out."""
    url = request.getfixturevalue(f"{kind}_url")
    migrate(url)
    database = await Database.open(url, clock=SystemClock(), pool_size=8)
    value = prepared(sa.select(worker_states.c.updated_us).where(worker_states.c.name == sa.bindparam("name")))
    await database.write(lambda tx: tx.many(_put, [_row("a", b"", 1), _row("b", b"", 1)]))

    def transfer(source: str, target: str):
        def unit(tx):
            total = tx.value(value, {"name": source}) + tx.value(value, {"name": target})
            tx.run(_set, _row(target, b"", total))

        return unit

    pairs = [("a", "b"), ("b", "a")] * 6
    await asyncio.gather(*[database.write(transfer(*pair)) for pair in pairs])
    left, right = sorted(n for _, n in await database.read(lambda tx: tx.rows(_all)))
    # Every serial order of such sums gives two numbers without a common divisor, and never 1 and 1.
    assert math.gcd(left, right) == 1
    assert left + right >= 13
    await database.close()
