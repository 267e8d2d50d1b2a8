"""What is remembered for minutes between two requests of one person: the question after a password, a code, a state.

Kept in memory: one process serves a hive, and whoever is in the middle of signing in when it stops begins again. What
always holds: a name is 32 random bytes; an entry ends at its deadline on the monotonic clock, which a clock jump cannot
move; there are at most ``entries_max`` entries, the oldest goes first; ``take`` gives an entry once.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import Generic, TypeVar

from skep.base.chance import random_bytes
from skep.base.clock import Clock

T = TypeVar("T")


class ShortLived(Generic[T]):
    """Entries by unguessable names. Used on the event loop's thread only."""

    def __init__(self, clock: Clock, *, lasts_s: float, prefix: str, entries_max: int = 10_000) -> None:
        self._now_s = clock.monotonic_s
        self._lasts_s = lasts_s
        self._prefix = prefix
        self._entries_max = entries_max
        self._entries: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def lasts_s(self) -> float:
        """How long an entry is good, in seconds."""
        return self._lasts_s

    def put(self, entry: T) -> str:
        """Remember something; its name."""
        name = self._prefix + base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
        self.put_as(name, entry)
        return name

    def put_as(self, name: str, entry: T) -> None:
        """Remember something under a name of the caller's."""
        self._entries.pop(name, None)
        self._entries[name] = (self._now_s() + self._lasts_s, entry)
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def get(self, name: str) -> T | None:
        """What has this name, if it has not ended."""
        found = self._entries.get(name)
        if found is None:
            return None
        if found[0] > self._now_s():
            return found[1]
        del self._entries[name]
        return None

    def take(self, name: str) -> T | None:
        """What has this name, for the last time."""
        entry = self.get(name)
        if entry is not None:
            del self._entries[name]
        return entry
