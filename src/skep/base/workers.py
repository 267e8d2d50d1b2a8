"""Background work: every long-lived activity is a Worker with a name, a status and one unit of work.

A WorkerSet runs each of its workers in a task of its own: it calls ``run_once`` for one bounded unit
after another while there is more work, rests between units (tranquility), sleeps for the worker's
period when there is none, and backs off when a unit fails. What always holds:

- at most one unit of a worker is in progress;
- pausing and stopping take effect between units; only ``stop`` cancels a unit, after its grace;
- every wait ends early on trigger, pause, resume and stop;
- a failing worker never stops the others, nor itself: it tries again after the back-off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from skep.base.clock import Clock
from skep.base.errors import AlreadyExists, NotFound
from skep.base.logs import get_logger, redact_text
from skep.base.waiting import wait_for_event, wait_until

State = Literal["idle", "busy", "waiting", "failed", "paused", "stopped"]
BACKOFF_MIN_S = 1.0
_log = get_logger("skep.workers")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one unit of work came to."""

    more_work: bool
    """Whether the next unit should follow soon; else the worker sleeps for its period."""
    done_units: int = 0
    """Things done in this unit (packs scrubbed, files purged)."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """How a worker is doing."""

    name: str
    description: str
    state: State
    """idle: nothing to do; busy; waiting: resting between units; failed: the last unit failed; paused; stopped."""
    done_units: int
    queued_units: int | None
    progress: float | None
    """Of the present pass, 0 to 1; None when unknown."""
    tranquility: float
    failures: int
    last_error: str | None
    last_run_us: int | None
    next_run_us: int | None


class Progress:
    """Where a worker says how far it is, during and between units."""

    def __init__(self) -> None:
        self.queued_units: int | None = None
        self.fraction: float | None = None

    def report(self, *, fraction: float | None = None, queued_units: int | None = None) -> None:
        """Set the part that is done, 0 to 1, and how many units wait; None is unknown."""
        self.fraction = None if fraction is None else min(1.0, max(0.0, fraction))
        self.queued_units = queued_units


class Worker(Protocol):
    """One background activity."""

    @property
    def name(self) -> str:
        """A short lower-case word: ``scrub``."""
        ...

    @property
    def description(self) -> str:
        """What it does, in a sentence for operators."""
        ...

    async def run_once(self, progress: Progress) -> Outcome:
        """Do one bounded unit of work. Raises anything: it is logged, shown and tried again later.

        May be cancelled at any await; the next start must find a state that it can go on from.
        """
        ...


Failed = Callable[[str, str, int], None]
"""Told of a failed unit: its worker, the error, how many failed in a row."""


class WorkerSet:
    """Runs workers. All calls from one event loop."""

    def __init__(self, clock: Clock, failed: Failed = lambda worker, error, in_a_row: None) -> None:
        """``failed`` hears of each unit that failed."""
        self._clock = clock
        self._failed = failed
        self._running: dict[str, _Supervised] = {}
        self._started = False

    def add(
        self,
        worker: Worker,
        *,
        period_s: float,
        tranquility: float = 0.0,
        first_run_after_s: float = 0.0,
        backoff_max_s: float = 900.0,
        paused: bool = False,
    ) -> None:
        """Take a worker in; before or after ``start``. Raises AlreadyExists for a second one of the name."""
        if worker.name in self._running:
            raise AlreadyExists(f"there is already a worker {worker.name}")
        supervised = _Supervised(
            worker, self._clock, period_s, tranquility, first_run_after_s, backoff_max_s, paused, self._failed
        )
        self._running[worker.name] = supervised
        if self._started:
            supervised.start()

    def start(self) -> None:
        """Start all workers' tasks. Needs a running event loop."""
        self._started = True
        for supervised in self._running.values():
            supervised.start()

    async def stop(self, grace_s: float = 10.0) -> None:
        """End all workers: units in progress have ``grace_s`` seconds together, then they are cancelled."""
        self._started = False
        for supervised in self._running.values():
            supervised.ask_to_stop()
        tasks = [supervised.task for supervised in self._running.values() if supervised.task is not None]
        if not tasks:
            return
        everything = asyncio.gather(*tasks, return_exceptions=True)
        if not await wait_until(everything, self._clock, grace_s):
            for task in tasks:
                task.cancel()
            await everything

    def names(self) -> Iterable[str]:
        """The workers there are."""
        return tuple(self._running)

    def pause(self, name: str) -> None:
        """Start no further unit of this worker. Raises NotFound, as all calls with a name do."""
        self._get(name).pause()

    def resume(self, name: str) -> None:
        """Undo ``pause``."""
        self._get(name).resume()

    def trigger(self, name: str) -> None:
        """Run the worker's next unit as soon as may be, even in a back-off; a paused one stays paused."""
        self._get(name).trigger()

    def set_tranquility(self, name: str, tranquility: float) -> None:
        """Rest this many seconds for each second of work, from the next rest on."""
        self._get(name).tranquility = tranquility

    def set_period(self, name: str, period_s: float) -> None:
        """Rest for ``period_s`` seconds where there is nothing to do, from the next rest on."""
        self._get(name).period_s = period_s

    async def run_through(self, name: str) -> WorkerStatus:
        """Trigger a worker and wait until it has no more work or has failed; its status then.

        A paused or stopped worker's status comes back at once. Raises NotFound.
        """
        supervised = self._get(name)
        await supervised.run_through()
        return supervised.status()

    def status(self, name: str | None = None) -> list[WorkerStatus]:
        """How all workers, or one, are doing."""
        chosen = self._running.values() if name is None else [self._get(name)]
        return [supervised.status() for supervised in chosen]

    def _get(self, name: str) -> _Supervised:
        try:
            return self._running[name]
        except KeyError:
            known = ", ".join(sorted(self._running)) or "none"
            raise NotFound(f"there is no worker {name!r}: there are {known}") from None


class _Supervised:
    """One worker, its task and its state."""

    def __init__(
        self,
        worker: Worker,
        clock: Clock,
        period_s: float,
        tranquility: float,
        first_run_after_s: float,
        backoff_max_s: float,
        paused: bool,
        failed: Failed,
    ) -> None:
        self.worker = worker
        self._failed = failed
        self.tranquility = tranquility
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self.period_s = period_s
        self._first_run_after_s = first_run_after_s
        self._backoff_max_s = backoff_max_s
        self._progress = Progress()
        self._state: State = "stopped"
        self._paused = paused
        self._stopping = False
        self._triggered = False
        self._wake = asyncio.Event()
        self._asked: list[asyncio.Future[None]] = []  # passes wanted since the present unit began
        self._passes: list[asyncio.Future[None]] = []  # passes that the present unit belongs to
        self._done_units = 0
        self._failures_in_a_row = 0
        self._failures = 0
        self._last_error: str | None = None
        self._last_run_us: int | None = None
        self._next_run_us: int | None = None

    def start(self) -> None:
        if self.task is None or self.task.done():
            self._stopping = False
            self.task = asyncio.get_running_loop().create_task(self._run(), name=f"worker {self.worker.name}")

    def ask_to_stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def pause(self) -> None:
        self._paused = True
        self._wake.set()

    def resume(self) -> None:
        self._paused = False
        self._wake.set()

    def trigger(self) -> None:
        self._triggered = True
        self._wake.set()

    async def run_through(self) -> None:
        if self._paused or self.task is None or self.task.done():
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append(done)
        self.trigger()
        await done

    def status(self) -> WorkerStatus:
        return WorkerStatus(
            name=self.worker.name,
            description=self.worker.description,
            state=self._state,
            done_units=self._done_units,
            queued_units=self._progress.queued_units,
            progress=self._progress.fraction,
            tranquility=self.tranquility,
            failures=self._failures,
            last_error=self._last_error,
            last_run_us=self._last_run_us,
            next_run_us=self._next_run_us,
        )

    async def _run(self) -> None:
        state: State = "idle"
        delay_s = self._first_run_after_s
        try:
            while await self._due(state, delay_s):
                state, delay_s = await self._unit()
        finally:
            self._state = "stopped"
            self._next_run_us = None
            self._end_all_passes()

    async def _due(self, state: State, delay_s: float) -> bool:
        """Wait for the next unit's time; False when asked to stop."""
        deadline_s = self._clock.monotonic_s() + delay_s
        while not self._stopping:
            self._wake.clear()
            if self._paused:
                self._rest_as("paused", None)
                self._end_all_passes()
                await self._wake.wait()
                continue
            left_s = deadline_s - self._clock.monotonic_s()
            if self._triggered or left_s <= 0:
                self._triggered = False
                await asyncio.sleep(0)
                return not self._stopping
            self._rest_as(state, left_s)
            await wait_for_event(self._wake, self._clock, left_s)
        return False

    def _rest_as(self, state: State, left_s: float | None) -> None:
        self._state = state
        self._next_run_us = None if left_s is None else self._clock.now_us() + round(left_s * 1_000_000)

    async def _unit(self) -> tuple[State, float]:
        """Run one unit; the state to rest in and how long."""
        self._state = "busy"
        self._next_run_us = None
        self._last_run_us = self._clock.now_us()
        self._passes, self._asked = self._passes + self._asked, []
        started_s = self._clock.monotonic_s()
        try:
            outcome = await self.worker.run_once(self._progress)
        except Exception as error:
            self._end_passes()
            return "failed", self._note_failure(error)
        self._failures_in_a_row = 0
        self._last_error = None
        self._done_units += outcome.done_units
        if outcome.more_work:
            return "waiting", (self._clock.monotonic_s() - started_s) * self.tranquility
        self._end_passes()
        return "idle", self.period_s

    def _note_failure(self, error: Exception) -> float:
        self._failures += 1
        self._failures_in_a_row += 1
        self._last_error = redact_text(f"{type(error).__name__}: {error}")
        backoff_s = min(self._backoff_max_s, BACKOFF_MIN_S * 2.0 ** min(self._failures_in_a_row - 1, 30))
        self._failed(self.worker.name, self._last_error, self._failures_in_a_row)
        _log.warning("worker failed", worker=self.worker.name, retry_in_s=backoff_s, exc_info=error)
        return backoff_s

    def _end_all_passes(self) -> None:
        self._passes, self._asked = self._passes + self._asked, []
        self._end_passes()

    def _end_passes(self) -> None:
        for future in self._passes:
            if not future.done():
                future.set_result(None)
        self._passes = []
