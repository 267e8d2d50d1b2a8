"""The SQLite engine: one writer thread with group commit, a few reader threads.

What always holds:
- one thread writes; units of work run in the order in which they were submitted;
- each unit runs in a savepoint of its own: one that fails is rolled back alone;
- callers hear of their unit after COMMIT has returned, and with ``synchronous=FULL`` that is after
  the write-ahead log is on the disk (https://sqlite.org/pragma.html#pragma_synchronous);
- when BEGIN or COMMIT fails, or SQLite gives up the whole transaction (a full disk), every unit of
  the batch gets the error and nothing of the batch is kept;
- every reader has a connection of its own, which cannot write, and each read is one snapshot.

No memory map: mapped pages count as memory of the process, and an I/O error in one is a SIGBUS.
The kernel's page cache costs a copy of 4 KiB instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from skep.base.clock import Clock
from skep.base.errors import CorruptDatabase, DatabaseBusy, DatabaseFull, DatabaseUnusable
from skep.db.errors import RowExists
from skep.db.statement import DialectName, Params, Statement
from skep.db.threads import ThreadGroup
from skep.db.transaction import Driver
from skep.db.units import Delivery, Limits, Unit
from skep.db.urls import SqliteUrl

BATCH_TIME_MAX_S = 0.02
"""A batch takes no new units after this time, so that the first of it does not wait for ever."""
STATEMENTS_CACHED = 512
WRITER_CACHE_KIB = 16_384
READER_CACHE_KIB = 4_096
CHECKPOINT_PAGES = 4_000
"""The log is copied into the database whenever it holds this many pages (16 MB)."""
LOG_PAGES_MAX = 16_384
"""Above this (64 MB) the writer waits for readers so that the log can start anew."""
LOG_KEPT_BYTES = 64 << 20
LOG_CHECK_EVERY_BATCHES = 256
READERS_MAX = 4
BUSY_TIMEOUT_S = 5.0
"""Where nobody says: while the schema is looked at or migrated."""


class SqliteDriver:
    """SQLite's errors and row counts in our words."""

    def __init__(self, path: Path) -> None:
        self.dialect: DialectName = "sqlite"
        self.failures: type[Exception] = sqlite3.Error
        self._path = path

    def affected(self, cursor: Any, statement: Statement) -> int:
        return int(cursor.rowcount)

    def translate(self, error: Exception) -> Exception:
        code = getattr(error, "sqlite_errorcode", None) or 0
        extended = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
        if code in extended or code == sqlite3.SQLITE_CONSTRAINT_ROWID:
            return RowExists(f"a row with this key is there already ({_constraint(error)})", key=_constraint(error))
        make = _TRANSLATIONS.get(code & 0xFF)
        return make(self._path, error) if make else error


def _constraint(error: Exception) -> str:
    return str(error).removeprefix("UNIQUE constraint failed: ")


def _busy(path: Path, error: Exception) -> Exception:
    return DatabaseBusy(f"the database {path} is locked by another process: wait until it is done, or stop it")


def _full(path: Path, error: Exception) -> Exception:
    return DatabaseFull(f"no room on the disk of the database {path}: nothing was written; free some space")


def _corrupt(path: Path, error: Exception) -> Exception:
    return CorruptDatabase(f"the database {path} is damaged ({error}): restore it from a backup or run `skep recover`")


def _not_sqlite(path: Path, error: Exception) -> Exception:
    return DatabaseUnusable(f"{path} is not an SQLite database: check database.url in the settings")


def _unopenable(path: Path, error: Exception) -> Exception:
    return DatabaseUnusable(f"the database {path} cannot be opened ({error}): check that its directory is there")


def _read_only(path: Path, error: Exception) -> Exception:
    return DatabaseUnusable(f"the database {path} cannot be written ({error}): check owner, mode and mount options")


def _io(path: Path, error: Exception) -> Exception:
    return DatabaseBusy(f"the disk of the database {path} failed ({error}): nothing was kept; look at the system log")


_TRANSLATIONS: dict[int, Callable[[Path, Exception], Exception]] = {
    sqlite3.SQLITE_BUSY: _busy,
    sqlite3.SQLITE_LOCKED: _busy,
    sqlite3.SQLITE_PROTOCOL: _busy,
    sqlite3.SQLITE_FULL: _full,
    sqlite3.SQLITE_IOERR: _io,
    sqlite3.SQLITE_CORRUPT: _corrupt,
    sqlite3.SQLITE_NOTADB: _not_sqlite,
    sqlite3.SQLITE_CANTOPEN: _unopenable,
    sqlite3.SQLITE_READONLY: _read_only,
    sqlite3.SQLITE_PERM: _read_only,
}


def connect(url: SqliteUrl, role: Literal["writer", "reader"]) -> sqlite3.Connection:
    """Open one connection, set up for its role, in explicit-transaction mode.

    Raises DatabaseUnusable, DatabaseBusy or CorruptDatabase.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(
            url.path,
            timeout=BUSY_TIMEOUT_S if url.busy_timeout_s is None else url.busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS_CACHED,
        )
        for pragma in _pragmas(url, role):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise SqliteDriver(url.path).translate(error) from error
    return connection


def _pragmas(url: SqliteUrl, role: Literal["writer", "reader"]) -> list[str]:
    common = ["foreign_keys=ON", "mmap_size=0", "temp_store=MEMORY"]
    if role == "reader":
        return [*common, f"cache_size=-{READER_CACHE_KIB}", "query_only=ON"]
    return [
        "journal_mode=WAL",
        f"synchronous={url.synchronous.upper()}",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"journal_size_limit={LOG_KEPT_BYTES}",
        f"cache_size=-{WRITER_CACHE_KIB}",
        *common,
    ]


class SqliteEngine:
    """Runs units of work on one SQLite file."""

    in_order = True

    def __init__(self, url: SqliteUrl, clock: Clock, delivery: Delivery, limits: Limits) -> None:
        url = replace(url, busy_timeout_s=limits.busy_timeout_s if url.busy_timeout_s is None else url.busy_timeout_s)
        driver = SqliteDriver(url.path)
        self.driver: Driver = driver
        self._writer = _Writer(GroupCommit(connect(url, "writer"), driver, clock), delivery, limits.group_commit_max)
        self._readers = ThreadGroup(
            "skep-db-read",
            min(limits.pool_size, READERS_MAX),
            lambda: SqliteReader(connect(url, "reader"), driver, clock),
            delivery,
        )

        self._here = SqliteReader(connect(url, "reader"), driver, clock)
        self.at_once: Callable[[Unit[Any]], None] | None = self._here.run

    def look(self, statement: Statement, params: Params) -> tuple[Any, ...] | None:
        """See ``Engine``."""
        return self._here.look(statement, params)

    def submit(self, unit: Unit[Any]) -> None:
        if unit.writes:
            self._writer.queue.put(unit)
        else:
            self._readers.submit(unit)

    async def close(self) -> None:
        """Finish what was submitted, then close every connection."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._readers.close()
        self._here.close()
        self._writer.close()


class SqliteReader:
    """Runs reading units on a connection of its own, one after the other; a ``Session``."""

    def __init__(self, connection: sqlite3.Connection, driver: SqliteDriver, clock: Clock) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._driver = driver
        self._clock = clock

    def run(self, unit: Unit[Any]) -> None:
        """Run the unit on one snapshot and leave its outcome in it."""
        cursor = self._cursor
        try:
            cursor.execute("BEGIN")
            unit.run(cursor, self._driver, self._clock)
            if self._connection.in_transaction:  # some errors end it
                cursor.execute("ROLLBACK")
        except sqlite3.Error as error:
            unit.fail(self._driver.translate(error))

    def look(self, statement: Statement, params: Params) -> tuple[Any, ...] | None:
        """One statement needs no transaction of its own: it is its snapshot, from its first row to its last."""
        cursor = self._cursor
        try:
            cursor.execute(*statement.bound("sqlite", params))
            rows = cursor.fetchall()  # to the end, which ends the snapshot
        except sqlite3.Error as error:
            raise self._driver.translate(error) from error
        assert len(rows) < 2, "a look finds one row at most"
        return rows[0] if rows else None

    def close(self) -> None:
        self._connection.close()


class GroupCommit:
    """Runs units of work in batches on the one connection that writes: a savepoint for each, one COMMIT for all.

    In one thread at a time.
    """

    def __init__(self, connection: sqlite3.Connection, driver: SqliteDriver, clock: Clock) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._driver = driver
        self._clock = clock

    def run(self, batch: list[Unit[Any]], following: Callable[[], Unit[Any] | None]) -> None:
        """Run the units of ``batch`` and those that ``following`` gives until it gives None; commit.

        Those that it gives are appended to ``batch``.
        Each unit has its outcome then. Never raises.
        """
        try:
            self._run_batch(batch, following)
        except _GivenUp as given_up:
            self._abandon(batch, given_up.error)
        except Exception as error:
            self._abandon(batch, self._driver.translate(error))

    def _run_batch(self, batch: list[Unit[Any]], following: Callable[[], Unit[Any] | None]) -> None:
        """Raises _GivenUp or sqlite3.Error when the batch as a whole failed."""
        cursor = self._cursor
        cursor.execute("BEGIN IMMEDIATE")
        for unit in batch:
            self._run_unit(unit)
        while (unit_after := following()) is not None:
            batch.append(unit_after)
            self._run_unit(unit_after)
        cursor.execute("COMMIT")

    def _run_unit(self, unit: Unit[Any]) -> None:
        if unit.future.cancelled():
            return
        cursor = self._cursor
        cursor.execute("SAVEPOINT unit")
        if not unit.run(cursor, self._driver, self._clock):
            if not self._connection.in_transaction:
                raise _GivenUp(unit.error or RuntimeError("a unit of work ended its own transaction"))
            cursor.execute("ROLLBACK TO unit")
        cursor.execute("RELEASE unit")

    def _abandon(self, batch: list[Unit[Any]], error: BaseException) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
        for unit in batch:
            unit.fail(error)

    def bound_log(self) -> None:
        """Let the write-ahead log start anew if readers have kept it from doing so for long."""
        with contextlib.suppress(sqlite3.Error):
            _, pages, _ = self._cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > LOG_PAGES_MAX:
                self._cursor.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def close(self) -> None:
        """Close the connection; what is not committed is rolled back."""
        self._connection.close()


class _Writer:
    """The one thread that writes."""

    def __init__(self, commits: GroupCommit, delivery: Delivery, units_max: int) -> None:
        self._units_max = units_max
        self.queue: SimpleQueue[Unit[Any] | None] = SimpleQueue()
        self._commits = commits
        self._delivery = delivery
        self._stopping = False
        self._batches = 0
        self._thread = threading.Thread(target=self._serve, name="skep-db-write", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.queue.put(None)
        self._thread.join()
        self._commits.close()

    def _serve(self) -> None:
        while not self._stopping:
            first = self.queue.get()
            if first is None:
                return
            batch = [first]
            until_s = time.monotonic() + BATCH_TIME_MAX_S
            self._commits.run(batch, lambda batch=batch, until_s=until_s: self._next(batch, until_s))  # type: ignore[misc]
            self._batches += 1
            self._delivery.put(batch)
            if self._batches % LOG_CHECK_EVERY_BATCHES == 0:
                self._commits.bound_log()

    def _next(self, batch: list[Unit[Any]], until_s: float) -> Unit[Any] | None:
        """The next unit that waits, unless the batch is full; this thread alone takes from the queue."""
        if self.queue.empty() or len(batch) >= self._units_max or time.monotonic() > until_s:
            return None
        unit = self.queue.get()
        if unit is None:
            self._stopping = True
        return unit


class _GivenUp(Exception):
    """SQLite rolled back the whole transaction under a unit of work."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error
