"""Waiting with a limit on a Clock, so that tests decide when time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

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
