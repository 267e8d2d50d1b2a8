"""Measures a store: how long its calls take, how many bytes pass, how often it fails, and whether it is well now."""

from __future__ import annotations

import asyncio
import bisect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from skep.base.clock import Clock
from skep.base.errors import BadInput, NotFound, SkepError
from skep.stores.keys import check_size
from skep.stores.protocol import Buffer, ObjectInfo, Store, Usage
from skep.stores.ready import FillReady, filling, ready
from skep.stores.wrappers.forward import ForwardingStore

T = TypeVar("T")

VERBS = ("put", "get", "stat", "delete", "list", "usage")
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the latency histogram; a last bucket takes the rest."""

_RECENT = 256
_SORT_EVERY = 16


class Latencies:
    """How long one verb takes: a histogram since the start, and quantiles over the last 256 calls."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        """Calls by bucket of ``BUCKETS_S``, not cumulative."""
        self.total = 0
        self.sum_s = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._sorted: Sequence[float] = ()
        self._since_sorted = 0

    def add(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self.total += 1
        self.sum_s += seconds
        self._recent.append(seconds)
        self._since_sorted += 1

    def quantile_s(self, share: float) -> float | None:
        """The latency that this share (0 to 1) of the recent calls stayed within; None before the first call.

        It may lag up to 16 calls behind.
        """
        if self._since_sorted >= _SORT_EVERY or (self._since_sorted and len(self._sorted) < _SORT_EVERY):
            self._sorted, self._since_sorted = sorted(self._recent), 0
        if not self._sorted:
            return None
        return self._sorted[min(len(self._sorted) - 1, int(share * len(self._sorted)))]


@dataclass(slots=True)
class Health:
    """Whether the store works now. What a caller asked wrongly, or what is not there, does not count against it."""

    consecutive_failures: int = 0
    last_error_code: str | None = None
    last_error_message: str | None = None
    last_error_us: int | None = None
    last_success_us: int | None = None


@dataclass(slots=True)
class Meter:
    """The figures of one store. Only the event loop's thread writes them."""

    latencies: Mapping[str, Latencies] = field(default_factory=lambda: {verb: Latencies() for verb in VERBS})
    """By verb; only calls that succeeded, so that quick failures do not make a store look fast."""
    errors: dict[tuple[str, str], int] = field(default_factory=dict)
    """Failures by verb and error code."""
    retries: int = 0
    put_bytes: int = 0
    get_bytes: int = 0
    in_flight: int = 0
    health: Health = field(default_factory=Health)

    def p50_s(self, verb: str = "get") -> float | None:
        return self.latencies[verb].quantile_s(0.50)

    def p95_s(self, verb: str = "get") -> float | None:
        """When a call of this verb is late: time to ask elsewhere too."""
        return self.latencies[verb].quantile_s(0.95)

    def count_retry(self, verb: str, error: SkepError) -> None:
        self.retries += 1

    def failed(self, verb: str, error: SkepError, now_us: int) -> None:
        at = (verb, error.code)
        self.errors[at] = self.errors.get(at, 0) + 1
        if not isinstance(error, BadInput | NotFound):
            self.health.consecutive_failures += 1
            self.health.last_error_code, self.health.last_error_message = error.code, error.message
            self.health.last_error_us = now_us

    def succeeded(self, verb: str, seconds: float, now_us: int) -> None:
        self.latencies[verb].add(seconds)
        self.health.consecutive_failures = 0
        self.health.last_success_us = now_us


class MeterStore(ForwardingStore):
    """Measures every call; ``meter`` has the figures. A cancelled call is counted neither way."""

    def __init__(self, inner: Store, *, clock: Clock, meter: Meter | None = None) -> None:
        super().__init__(inner)
        self.meter = meter or Meter()
        self._clock = clock
        self._get_ready = ready(inner)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self._measured("put", self.inner.put(key, parts))
        self.meter.put_bytes += check_size(key, parts, self.properties.object_size_max_bytes)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        value = await self._measured("get", self.inner.get(key, offset, length))
        self.meter.get_bytes += len(value)
        return value

    def get_ready(self, key: str, offset: int, length: int) -> Buffer | None:
        """See ``Ready``. Counted as a get that took no time, which is what it was to its caller."""
        value = None if self._get_ready is None else self._get_ready(key, offset, length)
        if value is not None:
            self.meter.get_bytes += len(value)
            self.meter.succeeded("get", 0.0, self._clock.now_us())
        return value

    def filling(self) -> FillReady | None:
        """See ``FillReady``. Counted as ``get_ready`` is."""
        inner = filling(self.inner)
        return None if inner is None else FillReady(inner.fill, partial(self._filled, inner.count))

    def _filled(self, count: Callable[[int], None], size_bytes: int) -> None:
        count(size_bytes)
        self.meter.get_bytes += size_bytes
        self.meter.succeeded("get", 0.0, self._clock.now_us())

    async def stat(self, key: str) -> ObjectInfo:
        return await self._measured("stat", self.inner.stat(key))

    async def delete(self, key: str) -> None:
        await self._measured("delete", self.inner.delete(key))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """One call, measured as a delete."""
        await self._measured("delete", super().delete_many(keys))

    async def usage(self) -> Usage:
        return await self._measured("usage", self.inner.usage())

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        """Measured up to the first object; a failure later counts as well."""
        listing = self.inner.list(prefix, after)
        try:
            info = await self._measured("list", anext(listing, None))
            while info is not None:
                yield info
                info = await self._watched("list", lambda: anext(listing, None))
        finally:
            close = getattr(listing, "aclose", None)
            if close is not None:
                await close()

    async def _measured(self, verb: str, call: Awaitable[T]) -> T:
        started_s = self._clock.monotonic_s()
        value = await self._watched(verb, lambda: call)
        self.meter.succeeded(verb, self._clock.monotonic_s() - started_s, self._clock.now_us())
        return value

    async def _watched(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        self.meter.in_flight += 1
        try:
            return await call()
        except asyncio.CancelledError:
            raise
        except SkepError as error:
            self.meter.failed(verb, error, self._clock.now_us())
            raise
        finally:
            self.meter.in_flight -= 1
