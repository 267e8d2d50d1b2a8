"""Waiting with a limit on a Clock, so that tests decide when time is up."""

from __future__ import annotations

import asyncio
from typing import Any

from skep.base.clock import Clock


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
