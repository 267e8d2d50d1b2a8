"""The door to the database: open it, read it, change it.

    database = await Database.open("sqlite:////var/lib/skep/skep.db", clock=SystemClock())
    name = await database.read(lambda tx: tx.value(_name_by_id, {"id": user_id}))

A unit of work is a plain function of a Transaction. It runs in a thread of the database, never on
the event loop, so it must not touch anything that belongs to the loop; what has to happen there
after the commit is left with ``tx.after_commit``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from skep.base.clock import Clock
from skep.base.errors import ShuttingDown
from skep.db.errors import RowExists
from skep.db.revision import require_current
from skep.db.statement import DialectName, Params, Statement
from skep.db.transaction import Driver, Transaction
from skep.db.units import Delivery, Limits, Unit
from skep.db.urls import DatabaseUrl, PostgresqlUrl, SqliteUrl, parse_url

T = TypeVar("T")
WITH_NEXT_S = 0.01
"""How long a unit for which nobody waits is held for company."""
FINDS = 5
"""How often a unit looks for a row that others add too."""


Row: TypeAlias = tuple[Any, ...]
Look: TypeAlias = Callable[[Statement, Params], Row | None]


class Engine(Protocol):
    """What runs units of work on one kind of database."""

    @property
    def driver(self) -> Driver: ...

    in_order: bool
    """Whether writing units run one after the other, in the order of their submission."""
    at_once: Callable[[Unit[Any]], None] | None
    """Runs a reading unit in the calling thread, which is the event loop's; None if that would block."""

    @property
    def look(self) -> Look | None:
        """Runs one reading statement in the calling thread; None if that would block."""
        ...

    def submit(self, unit: Unit[Any]) -> None:
        """Queue a unit; the engine's Delivery gets it when it is done. Never blocks."""
        ...

    async def close(self) -> None: ...


MakeEngine = Callable[[DatabaseUrl, Clock, Delivery, Limits], Engine]
"""Opens the connections of a database; on the event loop's thread."""


class Database:
    """One open database. Belongs to the event loop that opened it."""

    dialect: DialectName

    def __init__(self, url: DatabaseUrl, clock: Clock, limits: Limits, engine: MakeEngine) -> None:
        """Use ``Database.open``."""
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(limits.queue_max)
        self._unfinished = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._held: list[Unit[Any]] = []
        """Writing units that go with the next one."""
        self._release_later: asyncio.TimerHandle | None = None
        self._engine = engine(url, clock, Delivery(self._loop, self._settled), limits)
        self.dialect = self._engine.driver.dialect

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        clock: Clock,
        pool_size: int = 8,
        busy_timeout_s: float = 5.0,
        group_commit_max: int = 256,
        queue_max: int = 4_096,
        engine: MakeEngine | None = None,
    ) -> Database:
        """Open a migrated database.

        ``pool_size`` bounds the connections (SQLite: the readers, and never more than four);
        ``busy_timeout_s`` is how long to wait for another's lock; ``group_commit_max`` how many
        units of work SQLite commits at once; ``queue_max`` how many may be submitted and not
        finished: further callers wait, in order, before they submit; ``engine`` runs the work, if not
        the one that belongs to the kind of database.

        Raises InvalidSetting for a bad URL, DatabaseTooNew or DatabaseTooOld by its schema,
        DatabaseUnusable for what is no database, DatabaseBusy when it does not answer.
        """
        parsed = parse_url(url)
        await asyncio.to_thread(require_current, parsed)
        limits = Limits(pool_size, busy_timeout_s, group_commit_max, queue_max)
        return cls(parsed, clock, limits, engine or _engine)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on one consistent snapshot that it cannot change; return its result."""
        return await self._submit(work, writes=False)

    async def glance(self, work: Callable[[Transaction], T]) -> T:
        """``read`` for a few looks by key: on SQLite at once, on the event loop itself.

        Such a look costs less than the way to another thread and back. Never for anything that scans.
        """
        if self._closed or self._engine.at_once is None:
            return await self.read(work)
        unit: Unit[T] = Unit(work, self._loop.create_future(), writes=False)
        self._engine.at_once(unit)
        unit.settle(self._loop)
        return await unit.future

    async def look(self, statement: Statement, params: Params) -> Row | None:
        """The row that one statement finds, or None: the leanest of all reads. It must find one row at most, by key.

        Raises DatabaseBusy, CorruptDatabase.
        """
        if self._closed or self._engine.look is None:
            return await self.read(lambda tx: tx.one(statement, params))
        return self._engine.look(statement, params)

    def write_in_order(self, work: Callable[[Transaction], T], *, with_next: bool = False) -> asyncio.Future[T] | None:
        """Submit a unit of work now, and be told of its end by the future.

        Units submitted later see what it wrote, and are durable only if it is. None where that
        cannot be promised (servers run units side by side; too many are waiting): use ``write``.
        ``with_next``: nobody waits for it, so it may share the commit of the next unit; after
        WITH_NEXT_S without one it goes alone.
        """
        if self._closed or not self._engine.in_order or self._places.locked():
            return None
        with contextlib.suppress(StopIteration):
            self._places.acquire().send(None)  # there is a place: this does not wait
        self._unfinished += 1
        self._idle.clear()
        if not with_next:
            return self._start(work, writes=True)
        unit: Unit[T] = Unit(work, self._loop.create_future(), writes=True)
        self._held.append(unit)
        if len(self._held) == 1:
            self._release_later = self._loop.call_later(WITH_NEXT_S, self._release)
        return unit.future

    def _release(self) -> None:
        """Hand the units that waited for a next one to the engine, in their order."""
        if self._release_later is not None:
            self._release_later.cancel()
            self._release_later = None
        held, self._held = self._held, []
        for unit in held:
            self._engine.submit(unit)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run one unit of work, all of it or nothing; return its result once it is durable.

        ``work`` may be run more than once (PostgreSQL and MariaDB resolve conflicts between
        concurrent units by running one again), so it must do nothing but use its transaction. If
        the caller is cancelled, the unit may be committed or not.

        Raises what ``work`` raises; RowExists; DatabaseBusy, DatabaseFull, CorruptDatabase;
        ShuttingDown after ``close``.
        """
        return await self._submit(work, writes=True)

    async def write_or_find(self, work: Callable[[Transaction], T]) -> T:
        """``write`` for a unit that looks for a row and adds it: run again where another added it at the same time.

        Raises what ``write`` raises; RowExists only when that goes on.
        """
        for _ in range(FINDS - 1):
            try:
                return await self.write(work)
            except RowExists:
                continue
        return await self.write(work)

    async def close(self) -> None:
        """Take no new work, finish what was submitted, close every connection. Safe to repeat."""
        self._closed = True
        self._release()
        await self._idle.wait()
        await self._engine.close()

    async def _submit(self, work: Callable[[Transaction], T], *, writes: bool) -> T:
        if self._closed:
            raise ShuttingDown("the database is closed: the hive is stopping")
        self._unfinished += 1
        self._idle.clear()
        try:
            await self._places.acquire()
        except BaseException:
            self._finished()
            raise
        return await self._start(work, writes=writes)

    def _start(self, work: Callable[[Transaction], T], *, writes: bool) -> asyncio.Future[T]:
        """Hand a unit that has its place to the engine."""
        unit: Unit[T] = Unit(work, self._loop.create_future(), writes=writes)
        if writes and self._held:
            self._release()
        self._engine.submit(unit)
        return unit.future

    def _settled(self, unit: Unit[Any]) -> None:
        self._places.release()
        self._finished()

    def _finished(self) -> None:
        self._unfinished -= 1
        if self._unfinished == 0:
            self._idle.set()


def _engine(url: DatabaseUrl, clock: Clock, delivery: Delivery, limits: Limits) -> Engine:
    if isinstance(url, SqliteUrl):
        from skep.db.sqlite import SqliteEngine

        return SqliteEngine(url, clock, delivery, limits)
    from skep.db.served import ServedEngine

    if isinstance(url, PostgresqlUrl):
        from skep.db.postgresql import PostgresqlDriver

        return ServedEngine(PostgresqlDriver(url, limits.busy_timeout_s), clock, delivery, limits.pool_size)
    from skep.db.mysql import MysqlDriver

    return ServedEngine(MysqlDriver(url, limits.busy_timeout_s), clock, delivery, limits.pool_size)
