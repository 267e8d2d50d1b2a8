"""Units of work on their way from the event loop to a database thread and back.

A caller's function travels as a Unit through a queue to a thread; finished units come back in
batches, with one wake-up of the event loop for as many as are ready, because that wake-up (a
system call and a switch of threads) costs more than a small query.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Generic, TypeVar

from skep.base.clock import Clock
from skep.base.errors import InvalidSetting
from skep.db.transaction import Cursor, Driver, Transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one open database; ``Database.open`` explains them."""

    pool_size: int
    busy_timeout_s: float
    group_commit_max: int
    queue_max: int

    def __post_init__(self) -> None:
        if min(self.pool_size, self.group_commit_max, self.queue_max) < 1 or self.busy_timeout_s < 0:
            raise InvalidSetting("database: pool_size, group_commit_max and queue_max must be at least 1")


class Unit(Generic[T]):
    """One unit of work, its outcome, and the future of its caller.

    ``result``, ``error`` and ``calls`` belong to the database thread until the unit is delivered,
    then to the event loop.
    """

    __slots__ = ("calls", "error", "future", "result", "work", "writes")

    def __init__(self, work: Callable[[Transaction], T], future: asyncio.Future[T], *, writes: bool) -> None:
        self.work = work
        self.future = future
        self.writes = writes
        self.result: Any = None
        self.error: BaseException | None = None
        self.calls: Sequence[Callable[[], None]] = ()

    def run(self, cursor: Cursor, driver: Driver, clock: Clock) -> bool:
        """Run the work in the thread that calls; keep its outcome; say whether it may be committed."""
        tx = Transaction(cursor, driver, clock.now_us())
        self.error = None
        try:
            self.result = self.work(tx)
            if type(self.result) is CoroutineType:
                self.result.close()
                raise TypeError("a unit of work is a plain function: it must not be async")
            self.error = tx.failure
        except BaseException as error:  # a unit's failure is its caller's, never the thread's
            self.error = error
        self.calls = tx.finish()
        return self.error is None

    def fail(self, error: BaseException) -> None:
        """Give the unit this outcome, whatever it had."""
        self.error = error
        self.result = None
        self.calls = ()

    def settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the event loop: run what was left for after the commit, then wake the caller."""
        error, future = self.error, self.future
        if error is None:
            for call in self.calls:
                _call(loop, call)
        if future.done():  # the caller went away; the outcome stands all the same
            return
        if error is None:
            future.set_result(self.result)
        elif isinstance(error, StopIteration):
            future.set_exception(RuntimeError("a unit of work raised StopIteration"))
        else:
            future.set_exception(error)


def _call(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        call()
    except Exception as error:
        loop.call_exception_handler({"message": "a call left for after a commit failed", "exception": error})


class Delivery:
    """Brings finished units to the event loop, as many as there are with one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, settled: Callable[[Unit[Any]], None]) -> None:
        self._loop = loop
        self._settled = settled
        self._done: deque[Unit[Any]] = deque()
        self._woken = False

    def put(self, units: Iterable[Unit[Any]]) -> None:
        """From any thread: hand over finished units, in order."""
        self._done.extend(units)
        # Appended first, then looked: a drain that cleared the flag before we looked sees our units,
        # and one that clears it after we looked has not popped yet.
        if self._woken:
            return
        self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._done.clear()

    def _drain(self) -> None:
        self._woken = False
        for _ in range(len(self._done)):
            unit = self._done.popleft()
            unit.settle(self._loop)
            self._settled(unit)
