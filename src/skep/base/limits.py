"""Limits: how many at once, how many bytes in flight, how many in a second; and what happens there.

What always holds: waiters are served in the order they came; what is taken is given back when the
``async with`` block is left, however it is left; a waiter that is cancelled or times out holds nothing.

    gate = Gate("uploads", 64, clock, wait_s=30)
    async with gate.enter():
        ...
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from math import inf

from skep.base.clock import Clock
from skep.base.errors import RateLimited, SkepError, TimedOut
from skep.base.waiting import wait_until

_SPARE_GATES_MAX = 64


@dataclass(slots=True)
class _Waiter:
    amount: int
    turn: asyncio.Future[None]


class Pool:
    """A number of equal things (places, bytes) that callers hold for a while. One event loop only.

    A caller that asks for more than the whole pool gets the whole pool. More than ``queue_max``
    waiters, or a wait longer than ``wait_s``, raises ``error``.
    """

    def __init__(
        self,
        name: str,
        capacity: int,
        clock: Clock,
        *,
        wait_s: float,
        queue_max: int = 10_000,
        error: type[SkepError] = TimedOut,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"the capacity of {name} must be at least 1, not {capacity}")
        self.name = name
        self.capacity = capacity
        self._clock = clock
        self._wait_s = wait_s
        self._queue_max = queue_max
        self._error = error
        self._held = 0
        self._waiters: deque[_Waiter] = deque()

    @property
    def held(self) -> int:
        """How much is taken now."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiters)

    def hold(self, amount: int) -> AbstractAsyncContextManager[None]:
        """Take ``amount`` for the length of the block. Raises the pool's error at its limits."""
        return _Held(self, amount)

    def take_place(self) -> bool:
        """Take one if that needs no waiting; whether it did."""
        if self._waiters or self._held >= self.capacity:
            return False
        self._held += 1
        return True

    async def take(self, amount: int) -> int:
        """Take ``amount``, or the whole pool if that is less; give the returned number back later."""
        amount = max(0, min(amount, self.capacity))
        if not self._waiters and self._held + amount <= self.capacity:
            self._held += amount
            return amount
        if len(self._waiters) >= self._queue_max:
            raise self._full(f"{self._queue_max} others are waiting")
        await self._wait_turn(_Waiter(amount, asyncio.get_running_loop().create_future()))
        return amount

    async def _wait_turn(self, waiter: _Waiter) -> None:
        self._waiters.append(waiter)
        try:
            on_time = await wait_until(waiter.turn, self._clock, self._wait_s)
        except BaseException:
            self._leave(waiter)
            raise
        if not on_time:
            self._leave(waiter)
            raise self._full(f"no room for {self._wait_s:g} s")

    def _leave(self, waiter: _Waiter) -> None:
        """Forget a waiter that gave up; what it was given meanwhile goes to the next."""
        if waiter.turn.done():
            self.give_back(waiter.amount)
            return
        waiter.turn.cancel()
        self._waiters.remove(waiter)
        self._serve()

    def give_back(self, amount: int) -> None:
        """Return what ``take`` gave."""
        self._held -= amount
        assert self._held >= 0, f"{self.name}: more given back than taken"
        self._serve()

    def _serve(self) -> None:
        while self._waiters and self._held + self._waiters[0].amount <= self.capacity:
            waiter = self._waiters.popleft()
            self._held += waiter.amount
            waiter.turn.set_result(None)

    def _full(self, why: str) -> SkepError:
        return self._error(
            f"{self.name}: all {self.capacity} are in use and {why}: try again later",
            limit=self.name,
            retry_after_s=1,
        )


class _Held(AbstractAsyncContextManager[None]):
    """What one block holds of a pool. A class of its own, as every request passes two of them."""

    __slots__ = ("_amount", "_pool")

    def __init__(self, pool: Pool, amount: int) -> None:
        self._pool = pool
        self._amount = amount

    async def __aenter__(self) -> None:
        self._amount = await self._pool.take(self._amount)

    async def __aexit__(self, *failure: object) -> None:
        self._pool.give_back(self._amount)


class Gate(Pool):
    """At most ``capacity`` callers at once."""

    def enter(self) -> AbstractAsyncContextManager[None]:
        """Take one place for the length of the block. Raises the gate's error at its limits."""
        return self.hold(1)


class FairGate(Gate):
    """A gate of which no caller takes more than ``each_max`` places; who wants more waits behind their own."""

    def __init__(
        self, name: str, capacity: int, clock: Clock, *, each_max: int, wait_s: float, queue_max: int = 10_000
    ) -> None:
        super().__init__(name, capacity, clock, wait_s=wait_s, queue_max=queue_max)
        self.each_max = each_max
        self._own: dict[Hashable, Gate] = {}
        self._spare: list[Gate] = []
        """Gates of callers who have left, for the next."""

    def enter_as(self, caller: Hashable) -> AbstractAsyncContextManager[None]:
        """Take one place for the length of the block, as one of a caller's. Raises TimedOut at its limits."""
        return _HeldAs(self, caller)

    async def _take_as(self, caller: Hashable) -> Gate:
        own = self._own.get(caller)
        if own is None:
            own = self._own[caller] = self._spare.pop() if self._spare else self._gate_of_one()
        try:
            if not own.take_place():
                await own.take(1)
            try:
                if not self.take_place():
                    await self.take(1)
            except BaseException:
                own.give_back(1)
                raise
        except BaseException:
            self._leave_own(caller, own)
            raise
        return own

    def _gate_of_one(self) -> Gate:
        name = f"{self.name} of one user"
        return Gate(name, self.each_max, self._clock, wait_s=self._wait_s, queue_max=self._queue_max)

    def _give_back_as(self, caller: Hashable, own: Gate) -> None:
        self.give_back(1)
        own.give_back(1)
        self._leave_own(caller, own)

    def _leave_own(self, caller: Hashable, own: Gate) -> None:
        if not own.held and not own.waiting and self._own.get(caller) is own:
            del self._own[caller]
            if len(self._spare) < _SPARE_GATES_MAX:
                self._spare.append(own)


class _HeldAs(AbstractAsyncContextManager[None]):
    """What one block holds of a FairGate."""

    __slots__ = ("_caller", "_gate", "_own")

    def __init__(self, gate: FairGate, caller: Hashable) -> None:
        self._gate = gate
        self._caller = caller

    async def __aenter__(self) -> None:
        self._own = await self._gate._take_as(self._caller)

    async def __aexit__(self, *failure: object) -> None:
        self._gate._give_back_as(self._caller, self._own)


class ByteBudget(Pool):
    """At most ``capacity`` bytes in flight."""


class Shares:
    """Places for many callers, of which no caller takes more than ``each_max``. Nobody waits for one.

    One event loop only.
    """

    def __init__(self, name: str, capacity: int, *, each_max: int) -> None:
        self.name = name
        self._capacity = capacity
        self._each_max = each_max
        self._held: Counter[Hashable] = Counter()

    def enter(self, caller: Hashable) -> AbstractContextManager[None]:
        """Take one place for the length of the block. Raises RateLimited, whose details say ``retry_after_s``."""
        return _Share(self, caller)

    def take(self, caller: Hashable) -> None:
        """Take one place until ``give_back``; ``enter`` does both."""
        if self._held[caller] >= self._each_max or self._held.total() >= self._capacity:
            raise RateLimited(
                f"too many {self.name} at once: end one, or try again later", limit=self.name, retry_after_s=5
            )
        self._held[caller] += 1

    def give_back(self, caller: Hashable) -> None:
        """Give back a place that was taken."""
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]


class _Share:
    """One place of a caller's: in an object, which is smaller than a generator and may live for hours."""

    __slots__ = ("_caller", "_shares")

    def __init__(self, shares: Shares, caller: Hashable) -> None:
        self._shares = shares
        self._caller = caller

    def __enter__(self) -> None:
        self._shares.take(self._caller)

    def __exit__(self, *failure: object) -> None:
        self._shares.give_back(self._caller)


class TokenBucket:
    """``rate_per_s`` uses in a second on average, ``burst`` at once. A rate of 0 is without limit."""

    __slots__ = ("_at_s", "_burst", "_clock", "_rate_per_s", "_tokens")

    def __init__(self, clock: Clock, *, rate_per_s: float, burst: float) -> None:
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at_s = clock.monotonic_s()

    def wait_s(self, amount: float = 1.0) -> float:
        """Take ``amount`` if it is there and give 0.0; else take nothing and give the seconds until it is."""
        if self._rate_per_s <= 0:
            return 0.0
        now_s = self._clock.monotonic_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if self._tokens >= amount:
            self._tokens -= amount
            return 0.0
        return (amount - self._tokens) / self._rate_per_s if amount <= self._burst else inf

    def is_full(self) -> bool:
        """Whether nothing was used for so long that forgetting the bucket changes nothing."""
        return self._tokens + (self._clock.monotonic_s() - self._at_s) * self._rate_per_s >= self._burst


class RateLimit:
    """A token bucket for each of many callers (addresses, names); at most ``callers_max`` are remembered.

    Who has not been seen for longest is forgotten first.
    """

    def __init__(self, name: str, clock: Clock, *, rate_per_s: float, burst: float, callers_max: int = 100_000) -> None:
        self.name = name
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._callers_max = callers_max
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def check(self, caller: str, amount: float = 1.0) -> None:
        """Count one use. Raises RateLimited, whose details say ``retry_after_s``."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            bucket = TokenBucket(self._clock, rate_per_s=self._rate_per_s, burst=self._burst)
            self._buckets[caller] = bucket
            if len(self._buckets) > self._callers_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller)
        wait_s = bucket.wait_s(amount)
        if wait_s > 0:
            raise RateLimited(
                f"too many {self.name}: try again in {wait_s:.0f} s",
                limit=self.name,
                retry_after_s=max(1, round(wait_s)),
            )

    def forget(self, caller: str) -> None:
        """Start this caller anew, as after a success that shows it was no attack."""
        self._buckets.pop(caller, None)
