"""Bandwidth limits: so many bytes a second, with debts. A debt is paid by waiting, so that no burst is ever refused."""

from __future__ import annotations

from skep.base.clock import Clock

SLEEP_MAX_S = 5.0


class Pacer:
    """One direction's limit, shared by everything that goes that way. ``rate`` in bytes a second; None: no limit."""

    def __init__(self, clock: Clock, rate: int | None) -> None:
        self._clock = clock
        self._rate = rate
        self._free_s = clock.monotonic_s()

    @property
    def rate(self) -> int | None:
        """Bytes a second, or None."""
        return self._rate

    def limit(self, rate: int | None) -> None:
        """Another limit from now on; what is owed stays owed."""
        self._rate = rate

    async def spend(self, size_bytes: int) -> None:
        """Count these bytes, then wait until they, and all counted before, were allowed."""
        if self._rate is None:
            return
        self._free_s = max(self._free_s, self._clock.monotonic_s()) + size_bytes / self._rate
        until_s = self._free_s
        while self._rate is not None and (rest_s := until_s - self._clock.monotonic_s()) > 0:
            await self._clock.sleep(min(rest_s, SLEEP_MAX_S))
