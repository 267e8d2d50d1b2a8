"""One store of a hive: its row, its opened driver, its health and its room.

A store that fails three times in a row is taken as down: writes pass it by and reads leave it for
last, until a call succeeds again, which is tried after a back-off that doubles up to five minutes.

One that keeps reads waiting is *late*: others answered before it, time and again, and its calls were given
up before they failed. Reads pass it by at once, and try it again after a back-off of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.base.clock import Clock
from skep.base.ids import Id
from skep.durability.pools import Offer
from skep.durability.reputation import Reputation
from skep.durability.terms import Terms
from skep.stores.protocol import Store, Usage

FAILURES_UNTIL_DOWN = 3
DOWN_MIN_S = 2.0
DOWN_MAX_S = 300.0
LATE_UNTIL_PASSED_BY = 3
LATE_MIN_S = 1.0
LATE_MAX_S = 60.0
LOCAL_URLS = ("fs:", "memory:")
"""What such URLs name is as near as the cache would be."""
RESERVE_BYTES = 64 << 20
"""Kept free on each store, so that repair and the file system itself can still move."""


@dataclass(slots=True)
class Member:
    """One store of the set. Mutable: the set alone changes it, on the event loop's thread."""

    id: Id
    name: str
    url: str
    zone: str
    capacity_bytes: int | None
    state: str
    clock: Clock = field(repr=False)
    reserve_bytes: int = RESERVE_BYTES
    owner_id: Id | None = None
    secret: bytes | None = field(default=None, repr=False)
    store: Store | None = None
    error: str | None = None
    usage: Usage = field(default_factory=lambda: Usage(None, None))
    usage_at_s: float = float("-inf")
    used_bytes: int = 0
    reputation: Reputation = field(default_factory=Reputation)
    terms: Terms = field(default_factory=Terms)
    failures: int = 0
    down_until_s: float = float("-inf")
    late: int = 0
    """Reads in a row that others had to answer because it did not."""
    late_until_s: float = float("-inf")
    latency_s: float = 0.005
    """Smoothed 95th percentile of the time to the answer of a read, in seconds."""

    @property
    def kind(self) -> str:
        """The scheme of its URL."""
        return self.url.partition(":")[0]

    @property
    def offer(self) -> Offer:
        """What pools need to know of it."""
        return Offer(self.owner_id, self.kind, self.terms.jurisdiction)

    @property
    def down(self) -> bool:
        """Whether calls are likely to fail now."""
        return self.store is None or self.failures >= FAILURES_UNTIL_DOWN

    @property
    def cached(self) -> bool:
        """Whether what is read from it is kept in the read cache: by its terms, else if it is not on this machine."""
        return self.terms.cache if self.terms.cache is not None else not self.url.startswith(LOCAL_URLS)

    @property
    def resting(self) -> bool:
        """Whether it is down and not yet due for another try."""
        return self.down and self.clock.monotonic_s() < self.down_until_s

    @property
    def passed_by(self) -> bool:
        """Whether reads should not even try it now, where others can answer."""
        return self.late >= LATE_UNTIL_PASSED_BY and self.clock.monotonic_s() < self.late_until_s

    def note_late(self) -> None:
        """A read did not wait for it; from the third in a row on it is passed by, twice as long each time."""
        if self.passed_by:
            return  # it was asked before that
        self.late += 1
        doubled = LATE_MIN_S * 2.0 ** min(10, max(0, self.late - LATE_UNTIL_PASSED_BY))
        self.late_until_s = self.clock.monotonic_s() + min(LATE_MAX_S, doubled)

    @property
    def free_bytes(self) -> int | None:
        """What we may still write; None when nobody knows."""
        limits = []
        if self.usage.free_bytes is not None:
            limits.append(self.usage.free_bytes - self.reserve_bytes)
        if self.capacity_bytes is not None:
            limits.append(self.capacity_bytes - self.used_bytes)
        return max(0, min(limits)) if limits else None

    @property
    def weight(self) -> float:
        """Its size for placement: capacity in GiB where known, else used and free together."""
        size = self.capacity_bytes
        if size is None and self.usage.free_bytes is not None:
            size = self.usage.free_bytes + self.used_bytes
        return max(1.0, (size or 100 << 30) / (1 << 30))

    def back_off(self) -> None:
        """Note a failure; from the third in a row on it rests, twice as long each time."""
        self.failures += 1
        doubled = DOWN_MIN_S * 2.0 ** min(12, max(0, self.failures - FAILURES_UNTIL_DOWN))
        self.down_until_s = self.clock.monotonic_s() + min(DOWN_MAX_S, doubled)

    def note_latency(self, seconds: float) -> None:
        """Track the 95th percentile by stochastic approximation (Robbins and Monro 1951)."""
        step = max(self.latency_s, 0.0005) * 0.1
        self.latency_s = max(0.0002, self.latency_s + (step * 0.95 if seconds > self.latency_s else -step * 0.05))

    def wrote(self, size_bytes: int) -> None:
        """Count bytes just written against the room until the store is asked again."""
        self.used_bytes += size_bytes
        free = self.usage.free_bytes
        if free is not None:
            self.usage = Usage(self.usage.used_bytes, max(0, free - size_bytes))
