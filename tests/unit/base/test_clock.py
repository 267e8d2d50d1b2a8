"""Clocks: the machine's, and the one that tests move."""

from __future__ import annotations

import asyncio
import time

from skep.base.clock import SystemClock
from skep.base.waiting import wait_for_event, wait_until
from skep.testing.clock import FakeClock, settle


async def test_the_system_clock_tells_the_machine_s_time() -> None:
    clock = SystemClock()
    assert abs(clock.now_us() / 1e6 - time.time()) < 5
    before_s = clock.monotonic_s()
    await clock.sleep(0)
    assert clock.monotonic_s() >= before_s


async def test_sleepers_wake_in_order_and_see_their_own_time() -> None:
    clock = FakeClock()
    woke: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps_s: float) -> None:
        for nap_s in naps_s:
            await clock.sleep(nap_s)
            woke.append((name, clock.monotonic_s()))

    tasks = [asyncio.create_task(sleeper("a", 3, 3)), asyncio.create_task(sleeper("b", 2, 2))]
    await clock.advance(5)
    assert woke == [("b", 2), ("a", 3), ("b", 4)]
    await clock.advance(1)
    assert woke[-1] == ("a", 6)
    await asyncio.gather(*tasks)


async def test_the_wall_clock_can_jump_while_sleepers_sleep_on() -> None:
    clock = FakeClock(start_us=1_000_000)
    task = asyncio.create_task(clock.sleep(10))
    await settle()
    clock.jump(-0.5)
    assert clock.now_us() == 500_000
    clock.jump(100)
    await settle()
    assert not task.done()
    await clock.advance(10)
    assert task.done()


async def test_waiting_ends_at_the_event_or_at_the_limit() -> None:
    clock, event = FakeClock(), asyncio.Event()
    waiting = asyncio.create_task(wait_for_event(event, clock, 5))
    await clock.advance(4)
    assert not waiting.done()
    event.set()
    assert await waiting is True
    event.clear()
    waiting = asyncio.create_task(wait_for_event(event, clock, 5))
    await clock.advance(5)
    assert await waiting is False
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(wait_until(future, clock, 5))
    await clock.advance(6)
    assert await waiting is False
    assert not future.cancelled()
    future.cancel()
