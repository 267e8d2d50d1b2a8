"""HQ's state in one SQLite file: write-ahead log, every commit on the disk before a call returns."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from skep.base.errors import CorruptDatabase, DatabaseBusy, DatabaseFull, DatabaseTooNew, PreconditionFailed, SkepError
from skep.deploy.hq.state import LIST_MAX, Entry, checked

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
R = TypeVar("R")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 0);
"""


class SqliteState:
    """A StateStore in a file. One connection; its calls run in threads, one after the other."""

    def __init__(self, path: Path) -> None:
        """Open the file, made when it is not there. Raises CorruptDatabase, DatabaseTooNew, DatabaseBusy."""
        self._path = path
        self._lock = threading.Lock()
        try:
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except sqlite3.Error as error:
            raise _told(error, path) from None

    def _migrate(self) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise DatabaseTooNew(
                f"{self._path} was made by a newer Skep (version {version}, this one knows {SCHEMA_VERSION})"
            )
        self._connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")

    async def get(self, key: str) -> Entry | None:
        rows = await self._run(lambda: self._select("key = ?", key))
        return rows[0] if rows else None

    async def list(self, prefix: str) -> tuple[Entry, ...]:
        after = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"
        return await self._run(
            lambda: self._select("key >= ? AND key < ? ORDER BY key LIMIT ?", prefix, after, LIST_MAX)
        )

    def _select(self, condition: str, *values: object) -> tuple[Entry, ...]:
        rows = self._connection.execute(f"SELECT key, value, revision FROM entries WHERE {condition}", values)  # noqa: S608 - constants
        return tuple(Entry(*row) for row in rows)

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        checked(key, value)
        return await self._run(lambda: self._put(key, value, expected))

    def _put(self, key: str, value: bytes, expected: int | None) -> int:
        with _Transaction(self._connection):
            self._check(key, expected)
            self._connection.execute("UPDATE counter SET revision = revision + 1")
            revision = int(self._connection.execute("SELECT revision FROM counter").fetchone()[0])
            self._connection.execute(
                "INSERT INTO entries VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3",
                (key, value, revision),
            )
        return revision

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        return await self._run(lambda: self._delete(checked(key), expected))

    def _delete(self, key: str, expected: int | None) -> bool:
        with _Transaction(self._connection):
            self._check(key, expected)
            return self._connection.execute("DELETE FROM entries WHERE key = ?", (key,)).rowcount > 0

    def _check(self, key: str, expected: int | None) -> None:
        if expected is None:
            return
        found = self._select("key = ?", key)
        now = found[0].revision if found else 0
        if now != expected:
            raise PreconditionFailed(f"{key} in HQ's state has changed meanwhile: look at it again", revision=now)

    async def close(self) -> None:
        def end() -> None:
            with self._lock:
                self._connection.close()

        await asyncio.to_thread(end)

    async def _run(self, work: Callable[[], R]) -> R:
        def locked() -> R:
            with self._lock:
                try:
                    return work()
                except sqlite3.Error as error:
                    raise _told(error, self._path) from None

        return await asyncio.shield(asyncio.to_thread(locked))


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when the body raises."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _told(error: sqlite3.Error, path: Path) -> SkepError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return DatabaseBusy(f"{path} is held by another program: {text}")
    if "full" in text:
        return DatabaseFull(f"there is no room for {path}: {text}")
    return CorruptDatabase(f"{path} cannot be used ({text}): restore it from a copy")
