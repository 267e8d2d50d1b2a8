"""Token buckets that slow down guessing, in bounded memory.

Every key (a login name, a client's address) starts with a full bucket; an attempt takes one, time
gives one back each ``refill_s``, and an attempt that turned out good is given back at once. A
bucket that would be full again is not worth remembering. When more keys are live than fit, the
one touched longest ago is forgotten. The empty key is no key: it is never limited.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict

from skep.base.clock import Clock
from skep.base.errors import RateLimited


class Buckets:
    """Attempts left per key. Used on the event loop's thread only."""

    def __init__(self, clock: Clock, *, capacity: int, refill_s: float, keys_max: int = 20_000) -> None:
        self._clock = clock
        self._capacity = float(capacity)
        self._refill_s = refill_s
        self._keys_max = keys_max
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (tokens, at monotonic s)

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str) -> None:
        """Take one attempt. Raises RateLimited with ``retry_after_s`` when none is left."""
        if not key:
            return
        level = self._level(key)
        if level < 1.0:
            wait_s = max(1, math.ceil((1.0 - level) * self._refill_s))
            raise RateLimited(f"too many attempts: try again in {wait_s} s", retry_after_s=wait_s, reason="attempts")
        self._store(key, level - 1.0)

    def give_back(self, key: str) -> None:
        """Return an attempt that was good."""
        if key:
            self._store(key, self._level(key) + 1.0)

    def _level(self, key: str) -> float:
        tokens, at_s = self._levels.get(key, (self._capacity, 0.0))
        return min(self._capacity, tokens + (self._clock.monotonic_s() - at_s) / self._refill_s)

    def _store(self, key: str, level: float) -> None:
        if level >= self._capacity:
            self._levels.pop(key, None)
            return
        self._levels[key] = (level, self._clock.monotonic_s())
        self._levels.move_to_end(key)
        while len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)


class Familiar:
    """From which addresses each name has signed in: whoever guesses at a name elsewhere does not lock those out.

    At most ``pairs_max`` are remembered; the one used longest ago is forgotten. Used on the event loop's thread only.
    """

    def __init__(self, *, pairs_max: int = 20_000) -> None:
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._pairs_max = pairs_max

    def bucket(self, login: str, client: str) -> str:
        """The key whose attempts count: the name's, or one of this address alone where the name signed in before."""
        return f"{login}\0{client}" if (login, client) in self._pairs else login

    def remember(self, login: str, client: str) -> None:
        """A right password was given for the name from there."""
        if not login or not client:
            return
        self._pairs[login, client] = None
        self._pairs.move_to_end((login, client))
        while len(self._pairs) > self._pairs_max:
            self._pairs.popitem(last=False)


def address_key(address: str) -> str:
    """The key of a client's address: IPv4 whole, IPv6 its /64, which is one customer's. Other text as it is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
