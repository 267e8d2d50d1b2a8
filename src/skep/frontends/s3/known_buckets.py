"""Buckets as they were a moment ago, so that small uploads need not look for theirs each time.

What always holds: only what is told to a client depends on it (whether it gets a version id); that the bucket is there
is for the commit to say. What this process sets is known at once, what another sets after ``KEPT_S``.
"""

from __future__ import annotations

from skep.base.clock import Clock
from skep.base.ids import Id
from skep.filesystem.keyed import Bucket

KEPT_S = 2.0
BUCKETS_MAX = 10_000
Key = tuple[Id, Id | None, str]


class KnownBuckets:
    """By user, space and name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[Key, tuple[float, Bucket]] = {}

    def get(self, key: Key) -> Bucket | None:
        """The bucket, if it was looked at a moment ago."""
        found = self._known.get(key)
        return found[1] if found is not None and found[0] > self._clock.monotonic_s() else None

    def put(self, key: Key, bucket: Bucket) -> None:
        """Remember what was looked at."""
        if len(self._known) >= BUCKETS_MAX:
            self._known.clear()
        self._known[key] = (self._clock.monotonic_s() + KEPT_S, bucket)

    def forget(self) -> None:
        """Something was set: look again."""
        self._known.clear()
