"""Checked credentials, remembered for a short while so that the next request costs microseconds.

What always holds:
- a key is a hash of the credential, never the credential;
- an entry is believed until its deadline on the monotonic clock, which a clock jump cannot move;
- a verdict found before something was voided is never stored after it: ``put`` takes the count of
  voids that its caller noted before asking the database;
- there are at most ``entries_max`` entries; the oldest goes first.

Used on the event loop's thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from skep.base.clock import Clock
from skep.base.ids import Id


class OfUser(Protocol):
    """What is remembered says whose it is."""

    @property
    def user_id(self) -> Id: ...


T = TypeVar("T", bound=OfUser)


class Verdicts(Generic[T]):
    """Principals by hash of the credential that proved them; or what else a credential gives its user."""

    def __init__(self, clock: Clock, *, entries_max: int = 10_000) -> None:
        self._clock = clock
        self._now_s = clock.monotonic_s
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, tuple[float, T]] = OrderedDict()
        self._by_user: dict[Id, set[bytes]] = {}
        self.voids = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> T | None:
        """The principal that this credential proved, if that is still to be believed."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] > self._now_s():
            return entry[1]
        self._forget(key)
        return None

    def put(self, key: bytes, principal: T, *, for_s: float, voids: int) -> None:
        """Remember a verdict for some seconds, unless anything was voided since ``voids`` was noted."""
        if voids != self.voids or for_s <= 0:
            return
        self._forget(key)
        self._entries[key] = (self._now_s() + for_s, principal)
        self._by_user.setdefault(principal.user_id, set()).add(key)
        while len(self._entries) > self._entries_max:
            self._forget(next(iter(self._entries)))

    def void_user(self, user_id: Id) -> None:
        """Forget every verdict on a user's credentials."""
        self.voids += 1
        for key in tuple(self._by_user.get(user_id, ())):
            self._forget(key)

    def clear(self) -> None:
        """Forget every verdict."""
        self.voids += 1
        self._entries.clear()
        self._by_user.clear()

    def _forget(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        keys = self._by_user[entry[1].user_id]
        keys.discard(key)
        if not keys:
            del self._by_user[entry[1].user_id]
