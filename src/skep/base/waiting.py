"""Waiting with a limit on a Clock, so that tests decide when time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, TypeVar, runtime_checkable

from skep.base.clock import Clock

T = TypeVar("T")


async def wait_until(future: asyncio.Future[Any], clock: Clock, limit_s: float) -> bool:
    """Wait for ``future`` at most ``limit_s`` seconds; whether it is done. It is neither cancelled nor read."""
    if future.done():
        return True
    timer = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait((future, timer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
    return future.done()


async def wait_for_event(event: asyncio.Event, clock: Clock, limit_s: float) -> bool:
    """Wait for ``event`` at most ``limit_s`` seconds; whether it is set."""
    if event.is_set():
        return True
    waiter = asyncio.ensure_future(event.wait())
    try:
        return await wait_until(waiter, clock, limit_s)
    finally:
        waiter.cancel()


async def within(doing: Awaitable[T], limit_s: float) -> T:
    """The result of one await, which is cancelled after ``limit_s`` seconds. Raises TimeoutError.

    ``asyncio.timeout`` at a third of its cost, for where every request passes.
    """
    task = asyncio.current_task()
    assert task is not None, "only a task can be cancelled"
    before, rang = task.cancelling(), False

    def ring() -> None:
        nonlocal rang
        rang = True
        task.cancel()

    alarm = asyncio.get_running_loop().call_later(limit_s, ring)
    try:
        return await doing
    except asyncio.CancelledError:
        if rang and task.uncancel() <= before:
            raise TimeoutError from None
        raise
    finally:
        alarm.cancel()


class Wake:
    """An event for one task that waits: ``asyncio.Event`` in a tenth of its memory, for those that are many."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Wake the waiting task, or keep the next wait from waiting. On the event loop."""
        self._is_set = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def clear(self) -> None:
        """Let the next wait wait."""
        self._is_set = False

    async def wait(self) -> None:
        """Return once it is set. One task at a time."""
        if self._is_set:
            return
        assert self._waiter is None, "one task waits"
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


async def to_the_end(doing: Awaitable[T]) -> T:
    """The result of what, once begun, is waited for even if the caller is cancelled; then CancelledError."""
    task = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the caller is gone: nobody else will look at it
        raise


@runtime_checkable
class OneThreadLoop(Protocol):
    """An event loop that runs what others give to threads in its own thread, between its turns: a simulation's."""

    def run_within(self, doing: Coroutine[Any, Any, T]) -> T:
        """Go on with the loop's work, from within a piece of it, until ``doing`` is done; its result."""
        ...


def wait_in_thread(loop: asyncio.AbstractEventLoop, doing: Coroutine[Any, Any, T], limit_s: float) -> T:
    """From a thread that may block: have ``doing`` run on the loop and wait for its result.

    Raises what it raises, and TimeoutError after ``limit_s``.
    """
    if isinstance(loop, OneThreadLoop):
        return loop.run_within(doing)
    return asyncio.run_coroutine_threadsafe(doing, loop).result(limit_s)
