"""Leases by epoch: how collection knows that nobody still relies on what it wants to remove.

The hive has one epoch number, kept in the database, which only collection raises. Whoever writes
content (until the transaction that references its chunks) or reads it holds a lease, which notes
the epoch it began in. Collection condemns a chunk, or retires a pack, in epoch E and then raises
the epoch to E + 1. A lease begun at E + 1 or later cannot have seen the chunk as usable, nor the
pack as live; so what was condemned or retired in E may go once every lease is younger than E.

Epochs are counters, not times: a clock that jumps shortens a grace period but never removes
anything that a lease protects. Leases live in the memory of the one process that holds the data
directory's lock, so a crash ends them all, along with the work that held them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Leases:
    """The epoch and who still works in which. Used from the event loop's thread only."""

    def __init__(self, epoch: int = 0) -> None:
        self._epoch = epoch
        self._held: Counter[int] = Counter()

    @property
    def epoch(self) -> int:
        """The present epoch."""
        return self._epoch

    def advance(self, epoch: int) -> None:
        """Move to a later epoch, after the transaction that recorded it has been committed."""
        if epoch < self._epoch:
            raise AssertionError(f"the epoch may not go back from {self._epoch} to {epoch}")
        self._epoch = epoch

    def oldest(self) -> int:
        """The oldest epoch with a lease; the present one when there is none."""
        return min(self._held, default=self._epoch)

    @property
    def held(self) -> int:
        """How many leases there are."""
        return self._held.total()

    @contextmanager
    def hold(self) -> Iterator[int]:
        """Hold a lease for the body of the ``with`` statement."""
        epoch = self._epoch
        self._held[epoch] += 1
        try:
            yield epoch
        finally:
            self._held[epoch] -= 1
            if not self._held[epoch]:
                del self._held[epoch]
