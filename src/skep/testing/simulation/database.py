"""SQLite as the hive uses it, with its threads' work done in turns of a simulated loop.

The connections, savepoints and group commits are the real ones (db/sqlite.py). Chance says when a thread would have
taken a batch, how many units found their way into it, and how long after the COMMIT its callers hear of it: a life that
ends in between has committed what nobody was told of.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from skep.base.clock import Clock
from skep.db.sqlite import GroupCommit, SqliteDriver, SqliteReader, connect
from skep.db.statement import Params, Statement
from skep.db.transaction import Driver
from skep.db.units import Delivery, Limits, Unit
from skep.db.urls import DatabaseUrl, SqliteUrl
from skep.testing.simulation.loop import SimulatedLoop

COMMIT_MAX_S = 0.03
READ_MAX_S = 0.01


class SimulatedEngine:
    """An ``Engine`` for ``Database.open``; belongs to one life."""

    in_order = True

    def __init__(self, url: DatabaseUrl, clock: Clock, delivery: Delivery, limits: Limits) -> None:
        assert isinstance(url, SqliteUrl)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        self._loop = loop
        self._world = loop.world
        self._url, self._clock, self._delivery, self._limits = url, clock, delivery, limits
        self._sqlite = SqliteDriver(url.path)
        self.driver: Driver = self._sqlite
        self._commits = GroupCommit(connect(url, "writer"), self._sqlite, clock)
        self._queue: deque[Unit[Any]] = deque()
        self._writing = False
        self._told_s = 0.0
        self._here = self._reader()
        self._idle: list[SqliteReader] = []
        """Readers that nobody uses now; a read within a read needs one of its own."""
        self.at_once: Callable[[Unit[Any]], None] | None = self._here.run
        self.closed = False

    def look(self, statement: Statement, params: Params) -> tuple[Any, ...] | None:
        """See ``Engine``."""
        return self._here.look(statement, params)

    def _reader(self) -> SqliteReader:
        return SqliteReader(connect(self._url, "reader"), self._sqlite, self._clock)

    def _soon(self, most_s: float) -> float:
        return self._world.turns.random() ** 3 * most_s

    def submit(self, unit: Unit[Any]) -> None:
        if self._loop.dead:
            return
        if not unit.writes:
            self._loop.call_later(self._soon(READ_MAX_S), self._read, unit)
            return
        self._queue.append(unit)
        if not self._writing:
            self._writing = True
            self._loop.call_later(self._soon(COMMIT_MAX_S), self._write)

    def _read(self, unit: Unit[Any]) -> None:
        if not unit.future.cancelled():
            reader = self._idle.pop() if self._idle else self._reader()
            reader.run(unit)
            self._idle.append(reader)
        self._tell([unit], self._soon(READ_MAX_S))

    def _write(self) -> None:
        batch = [self._queue.popleft()]
        self._commits.run(batch, lambda: self._following(batch))
        self._told_s = max(self._told_s, self._world.monotonic_s + self._soon(COMMIT_MAX_S))
        self._tell(batch, self._told_s - self._world.monotonic_s)
        self._writing = bool(self._queue)
        if self._writing:
            self._loop.call_later(self._soon(COMMIT_MAX_S), self._write)

    def _following(self, batch: list[Unit[Any]]) -> Unit[Any] | None:
        full = len(batch) >= self._limits.group_commit_max or self._world.turns.random() < 0.1
        return None if full or not self._queue else self._queue.popleft()

    def _tell(self, units: list[Unit[Any]], after_s: float) -> None:
        self._loop.call_later(after_s, self._delivery.put, units)

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Close the connections, as the end of a process does."""
        if not self.closed:
            self.closed = True
            for reader in (self._here, *self._idle):
                reader.close()
            self._commits.close()
