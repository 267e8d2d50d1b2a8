"""The engine for database servers: each unit of work on a pooled connection of its own.

What always holds:
- a write is serialisable, as on SQLite; when the server gives one up for another's sake it is
  rolled back and run again, at most ``ATTEMPTS_MAX`` times;
- a read is one snapshot that cannot write;
- a connection that failed is thrown away; a unit is run again on a new one only when nothing of it
  can have been committed, which is before its COMMIT was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

from skep.base.clock import Clock
from skep.base.errors import DatabaseBusy
from skep.db.statement import Params, Statement
from skep.db.threads import ThreadGroup
from skep.db.transaction import Driver
from skep.db.units import Delivery, Unit

ATTEMPTS_MAX = 12
BACKOFF_FIRST_S = 0.001
BACKOFF_MAX_S = 0.2


class ServerDriver(Driver, Protocol):
    """What differs between the servers."""

    shown: str
    """The server's URL without secrets."""

    def connect(self, *, writes: bool) -> Any:
        """A new DB-API connection that commits only when told. Raises errors of our tree."""
        ...

    def begin(self, *, writes: bool) -> str:
        """The statement that starts a transaction."""
        ...

    def is_conflict(self, error: BaseException | None) -> bool:
        """The server gave this transaction up for another's: running it again can help."""
        ...

    def is_lost(self, error: BaseException | None) -> bool:
        """The connection is gone."""
        ...


class ServedEngine:
    """Runs units of work on a server; readers and writers share ``pool_size`` connections."""

    in_order = False
    at_once: Callable[[Unit[Any]], None] | None = None
    look: Callable[[Statement, Params], tuple[Any, ...] | None] | None = None

    def __init__(self, driver: ServerDriver, clock: Clock, delivery: Delivery, pool_size: int) -> None:
        self.driver: Driver = driver
        readers = max(1, pool_size // 2)
        self._readers = ThreadGroup("skep-db-read", readers, lambda: _Session(driver, clock, False), delivery)
        self._writers = ThreadGroup(
            "skep-db-write", max(1, pool_size - readers), lambda: _Session(driver, clock, True), delivery
        )

    def submit(self, unit: Unit[Any]) -> None:
        (self._writers if unit.writes else self._readers).submit(unit)

    async def close(self) -> None:
        """Finish what was submitted, then close every connection."""
        await asyncio.to_thread(self._readers.close)
        await asyncio.to_thread(self._writers.close)


class _Session:
    """One thread's connection, opened when needed and again after it was lost."""

    def __init__(self, driver: ServerDriver, clock: Clock, writes: bool) -> None:
        self._driver = driver
        self._clock = clock
        self._writes = writes
        self._begin = driver.begin(writes=writes)
        self._connection: Any = None
        self._cursor: Any = None
        self._pause = random.Random(id(self))  # noqa: S311 - spreads retries, guards nothing

    def run(self, unit: Unit[Any]) -> None:
        for attempt in range(ATTEMPTS_MAX):
            try:
                again = self._attempt(unit)
            except Exception as error:
                unit.fail(error)
                return
            if not again:
                return
            time.sleep(self._pause.uniform(0, min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**attempt)))
        unit.fail(
            DatabaseBusy(f"{self._driver.shown}: gave up after {ATTEMPTS_MAX} conflicts with other units of work")
        )

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = self._cursor = None

    def _attempt(self, unit: Unit[Any]) -> bool:
        """Run the unit once; leave its outcome in it; True if it was given up and may run again."""
        driver = self._driver
        cursor = self._start()
        if not unit.run(cursor, driver, self._clock):
            return self._undo(unit.error)
        try:
            cursor.execute("COMMIT", ())
        except driver.failures as error:
            if driver.is_conflict(error):
                return self._undo(error)
            self.close()
            unit.fail(self._commit_failed(error))
        return False

    def _start(self) -> Any:
        """Begin a transaction, on a new connection if the old one is gone."""
        if self._connection is not None:
            try:
                self._cursor.execute(self._begin, ())
                return self._cursor
            except self._driver.failures:
                self.close()
        self._connection = self._driver.connect(writes=self._writes)
        self._cursor = self._connection.cursor()
        try:
            self._cursor.execute(self._begin, ())
        except self._driver.failures as error:
            self.close()
            raise self._driver.translate(error) from error
        return self._cursor

    def _undo(self, error: BaseException | None) -> bool:
        """Roll back; True if the transaction was given up for another's sake."""
        cause = error.__cause__ if error is not None and error.__cause__ is not None else error
        if self._driver.is_lost(cause):
            self.close()
            return False
        try:
            self._cursor.execute("ROLLBACK", ())
        except self._driver.failures:
            self.close()
        return self._driver.is_conflict(cause)

    def _commit_failed(self, error: Exception) -> Exception:
        if self._driver.is_lost(error):
            return DatabaseBusy(
                f"{self._driver.shown} went away during a commit: the change may have been made or not, look before "
                "you repeat it"
            )
        return self._driver.translate(error)
