"""Tries again what may work the next time, at a growing, jittered pace, and gives each try a limit of time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from skep.base.clock import Clock
from skep.base.errors import SkepError, StoreOffline, StoreReadOnly, TimedOut
from skep.stores.protocol import Buffer, ObjectInfo, Store, Usage
from skep.stores.ready import FillReady, filling, ready
from skep.stores.wrappers.forward import ForwardingStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, how soon and for how long."""

    tries: int = 4
    """Calls in all, the first included."""
    first_wait_s: float = 0.05
    wait_max_s: float = 5.0
    """Each wait is up to double the one before, at most this."""
    total_s: float = 30.0
    """No further try begins after this long."""
    try_timeout_s: float = 60.0
    """A try that takes longer is given up and counts as failed; for a listing this is the wait for one object."""

    def wait_s(self, failures: int, chance: float) -> float:
        """How long to wait after so many failures; ``chance`` from 0 to 1 draws from the upper half of the range."""
        full = min(self.wait_max_s, self.first_wait_s * 2.0 ** (failures - 1))
        return full * (0.5 + chance / 2)


def can_help(error: Exception) -> bool:
    """Whether trying the same call again soon can help.

    A store that takes no writes will not change by waiting, and a computer that is off is told when it comes back.
    """
    return isinstance(error, SkepError) and error.retryable and not isinstance(error, StoreReadOnly | StoreOffline)


class RetryStore(ForwardingStore):
    """Retries what ``can_help``. All verbs of a store are safe to repeat: keys name immutable values.

    ``on_retry(verb, error)`` is told of each failure that is tried again.
    """

    def __init__(
        self,
        inner: Store,
        *,
        clock: Clock,
        random: random.Random,
        pace: Pace | None = None,
        on_retry: Callable[[str, SkepError], None] = lambda verb, error: None,
    ) -> None:
        super().__init__(inner)
        self._clock = clock
        self._random = random
        self._pace = pace or Pace()
        self._on_retry = on_retry
        self._get_ready = ready(inner)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self._trying("put", lambda: self.inner.put(key, parts))

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return await self._trying("get", lambda: self.inner.get(key, offset, length))

    def get_ready(self, key: str, offset: int, length: int) -> Buffer | None:
        """See ``Ready``: there is nothing to try again."""
        return None if self._get_ready is None else self._get_ready(key, offset, length)

    def filling(self) -> FillReady | None:
        """See ``FillReady``: there is nothing to try again."""
        return filling(self.inner)

    async def stat(self, key: str) -> ObjectInfo:
        return await self._trying("stat", lambda: self.inner.stat(key))

    async def delete(self, key: str) -> None:
        await self._trying("delete", lambda: self.inner.delete(key))

    async def delete_many(self, keys: Sequence[str]) -> None:
        forward = super().delete_many
        await self._trying("delete", lambda: forward(keys))

    async def usage(self) -> Usage:
        return await self._trying("usage", self.inner.usage)

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        """A listing that breaks goes on after the last key it gave; each key that comes renews the tries."""
        failures, started_s = 0, self._clock.monotonic_s()
        while True:
            listing = self.inner.list(prefix, after)
            try:
                while (info := await self._timed(lambda: anext(listing, None))) is not None:  # noqa: B023 - called here
                    yield info
                    after, failures, started_s = info.key, 0, self._clock.monotonic_s()
                return
            except SkepError as error:
                failures += 1
                await self._wait_or_raise("list", error, failures, started_s)
            finally:
                await _close_listing(listing)

    async def _trying(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        started_s = self._clock.monotonic_s()
        for failures in range(1, self._pace.tries + 1):
            try:
                return await self._timed(call)
            except SkepError as error:
                await self._wait_or_raise(verb, error, failures, started_s)
        raise AssertionError("the last failure is raised")

    async def _timed(self, call: Callable[[], Awaitable[T]]) -> T:
        limit_s = self._pace.try_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await call()
        except TimeoutError:
            raise TimedOut(f"a store did not answer within {limit_s:g} s", timeout_s=limit_s) from None

    async def _wait_or_raise(self, verb: str, error: SkepError, failures: int, started_s: float) -> None:
        """Raises ``error`` when it is final, else waits. The store's own wish for a pause is respected."""
        if failures >= self._pace.tries or not can_help(error):
            raise error
        wait_s = self._pace.wait_s(failures, self._random.random())
        asked_s = error.details.get("retry_after_s")
        if isinstance(asked_s, int | float):
            wait_s = max(wait_s, float(asked_s))
        if self._clock.monotonic_s() - started_s + wait_s > self._pace.total_s:
            raise error
        self._on_retry(verb, error)
        await self._clock.sleep(wait_s)


async def _close_listing(listing: AsyncIterator[ObjectInfo]) -> None:
    close = getattr(listing, "aclose", None)
    if close is not None:
        await close()
