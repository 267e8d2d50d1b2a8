"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

_SETTLE_ROUNDS = 50


class FakeClock:
    """A Clock for tests: ``await clock.advance(10)`` wakes sleepers in the order of their times.

    With ``auto`` it moves itself: once every task has had its turns and nobody new has gone to sleep, it goes to the
    earliest sleeper's time, so that sleeping costs no real time. Work in threads is not seen as work.
    """

    def __init__(self, start_us: int = 1_700_000_000_000_000, *, auto: bool = False) -> None:
        self._now_us = start_us
        self._monotonic_us = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._auto = auto
        self._mover: asyncio.Task[None] | None = None
        self.slept_s: list[float] = []
        """Every sleep that was asked for, in the order of asking."""

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._monotonic_us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due_us = self._monotonic_us + max(0, round(seconds * 1_000_000))
        if due_us == self._monotonic_us:
            await asyncio.sleep(0)
            return
        heapq.heappush(self._sleepers, (due_us, next(self._order), wake))
        if self._auto and (self._mover is None or self._mover.done()):
            self._mover = asyncio.ensure_future(self._move())
        await wake

    async def _move(self) -> None:
        while self._sleepers:
            asleep = len(self._sleepers)
            await settle()
            if len(self._sleepers) == asleep:
                due_us, _, wake = heapq.heappop(self._sleepers)
                if not wake.done():
                    self._move_to(due_us)
                    wake.set_result(None)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does; nobody wakes."""
        self._now_us += round(seconds * 1_000_000)

    async def advance(self, seconds: float) -> None:
        """Let time pass: each sleeper wakes at its time, and what it then does happens at that time."""
        end_us = self._monotonic_us + round(seconds * 1_000_000)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end_us:
            due_us, _, wake = heapq.heappop(self._sleepers)
            self._move_to(due_us)
            if not wake.done():
                wake.set_result(None)
                await settle()
        self._move_to(end_us)
        await settle()

    def _move_to(self, monotonic_us: int) -> None:
        self._now_us += monotonic_us - self._monotonic_us
        self._monotonic_us = monotonic_us


async def settle(rounds: int = _SETTLE_ROUNDS) -> None:
    """Let every task that can run now run, as long as that takes no more than ``rounds`` turns of the loop."""
    for _ in range(rounds):
        await asyncio.sleep(0)
