"""One hive process on one database: a lock that the database drops with the connection that holds it.

Leases on chunks, caches and the waking of those who wait live in the hive's process, so a second process on the same
database could collect what the first is just writing. PostgreSQL and MariaDB have locks for this that a session holds;
on SQLite it is a file beside the database's. What is left: when a server drops the holding connection, the hive notices
within ``WATCH_S``, and stops if another has taken the lock meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from skep.base.errors import DatabaseInUse, DatabaseUnusable
from skep.base.logs import get_logger
from skep.db.revision import connect_plain
from skep.db.urls import DatabaseUrl, PostgresqlUrl, SqliteUrl, parse_url

WATCH_S = 5.0
_log = get_logger("skep.server")
_POSTGRESQL = "SELECT pg_try_advisory_lock(1936418160, 1)"
_MYSQL = "SELECT GET_LOCK(CONCAT('skep-serve-', MD5(DATABASE())), 0)"


class DatabaseLock:
    """Holds a database from ``__enter__`` to ``__exit__``.

    Raises DatabaseInUse while another process holds it, DatabaseBusy and DatabaseUnusable when it cannot be asked.
    """

    def __init__(self, url: str, *, watch_s: float = WATCH_S) -> None:
        self.taken: DatabaseInUse | None = None
        """Set when another process has taken the database."""
        self._url = parse_url(url)
        self._watch_s = watch_s
        self._held: _FileLock | _SessionLock | None = None

    def __enter__(self) -> DatabaseLock:
        self._held = _take(self._url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    async def lost(self) -> None:
        """Return when another process has the database: a connection broke, and it was quicker to take the lock."""
        while True:
            await asyncio.sleep(self._watch_s)
            if self._held is not None and await asyncio.to_thread(self._held.is_alive):
                continue
            try:
                before, self._held = self._held, await asyncio.to_thread(_take, self._url)
                if before is not None:
                    before.close()
                _log.info("the lock on the database was taken again", database=self._url.shown)
            except DatabaseInUse as error:
                _log.error("another hive process has taken the database", error=error.message)
                self.taken = error
                return
            except Exception as error:
                _log.warning("the lock on the database cannot be held now", error=str(error))


class _FileLock:
    """A file beside an SQLite database; the system drops the lock with the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        os.close(self._file)


class _SessionLock:
    """A session of a database server that does nothing but hold the lock."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def is_alive(self) -> bool:
        try:
            _value(self._connection, "SELECT 1")
        except Exception:
            return False
        return True

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._connection.close()


def _take(url: DatabaseUrl) -> _FileLock | _SessionLock:
    in_use = DatabaseInUse(
        f"another hive process uses the database {url.shown}: stop it first; one process serves one database"
    )
    if isinstance(url, SqliteUrl):
        path = url.path.with_name(url.path.name + ".lock")
        try:
            return _FileLock(path)
        except BlockingIOError:
            raise in_use from None
        except OSError as error:
            raise DatabaseUnusable(f"the lock {path} cannot be made: {error.strerror}") from error
    connection = connect_plain(url)
    try:
        taken = _value(connection, _POSTGRESQL if isinstance(url, PostgresqlUrl) else _MYSQL)
    except BaseException:
        connection.close()
        raise
    if not taken:
        connection.close()
        raise in_use
    return _SessionLock(connection)


def _value(connection: Any, statement: str) -> Any:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]
