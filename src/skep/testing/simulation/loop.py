"""An event loop without a selector: time passes when nobody has anything to do, and threads are turns of the loop.

What always holds:
- one callback runs at a time, in the order that asyncio promises (first registered, first run); which of two things
  that come from outside is first (answers of stores, ends of threads, commits) is the world's chance;
- each turn takes a microsecond, and a loop in which nobody can run goes straight to the next timer;
- tasks and futures hash by the order in which they were made, so that sets of them have the same order in every run;
- a loop that has died runs nothing any more, not even what clean-up code asks for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, TypeVar

from skep.testing.simulation.world import Broken, World

T = TypeVar("T")

TURN_S = 1e-6
TURNS_MAX = 4_000_000
"""More within ``CIRCLE_S`` of one life, and the hive is taken for running in circles."""
CIRCLE_S = 86_400.0
THREAD_MAX_S = 0.02
"""How long what was given to a thread may take."""


class Died(BaseException):
    """The process was killed: nothing of it runs on."""


class _Task(asyncio.Task[Any]):
    def __init__(self, doing: Generator[Any, None, Any] | Coroutine[Any, Any, Any], number: int, **more: Any) -> None:
        self.number = number  # first: asyncio puts the new task into a set of all
        super().__init__(doing, **more)

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    number = 0

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.BaseEventLoop):
    """One life of a process; ``dies_after`` is the number of its last turn, None for a life without a violent end."""

    def __init__(self, world: World, dies_after: int | None) -> None:
        super().__init__()
        self.world = world
        self.turns = 0
        self.dead = False
        self.complaints: list[str] = []
        """What was given to the exception handler: every one is a mistake somewhere."""
        self._dies_after = dies_after
        self._looked_s, self._looked_turns = world.monotonic_s, 0
        self._numbers = itertools.count(1)
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.set_task_factory(self._task)
        self.set_exception_handler(self._complain)

    def time(self) -> float:
        return self.world.monotonic_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.world.monotonic_s + delay, callback, *args, context=context)

    def _task(
        self, loop: asyncio.AbstractEventLoop, doing: Generator[Any, None, T] | Coroutine[Any, Any, T], **more: Any
    ) -> asyncio.Future[T]:
        return _Task(doing, next(self._numbers), loop=loop, **more)

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future.number = next(self._numbers)
        return future

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.dead:
            self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run it in a later turn, as if a thread had taken some time for it."""
        future = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self.world.turns.random() ** 4 * THREAD_MAX_S, run)
        return future

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_within(self, doing: Coroutine[Any, Any, T]) -> T:
        """Go on with other turns, from within one, until ``doing`` is done."""
        task = self.create_task(doing)
        while not task.done():
            self._run_once()
        return task.result()

    def _run_once(self) -> None:
        if self.dead:
            raise Died
        ready, timers, world = self._ready, self._timers, self.world  # type: ignore[attr-defined]
        world.monotonic_s += TURN_S
        while timers and (not ready or timers[0][0] <= world.monotonic_s):
            when_s, _, timer = heapq.heappop(timers)
            if not timer.cancelled():
                world.monotonic_s = max(world.monotonic_s, when_s)
                ready.append(timer)
        if not ready:
            raise Broken("everybody waits for something that will never come")
        self.turns += 1
        if self.turns == self._dies_after:
            self.dead = True
            raise Died
        if self.turns - self._looked_turns > TURNS_MAX:
            self._look_for_circles()
        handle = ready.popleft()
        if not handle._cancelled:
            handle._run()

    def _look_for_circles(self) -> None:
        if self.world.monotonic_s - self._looked_s < CIRCLE_S:
            raise Broken(f"no end after {TURNS_MAX} turns within a day")
        self._looked_s, self._looked_turns = self.world.monotonic_s, self.turns

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # cancelled ones are dropped when their time comes

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        if not self.dead:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    def end(self) -> None:
        """Nothing of this life runs on."""
        self.dead = True
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._ready.clear()  # type: ignore[attr-defined]
        self._timers.clear()
