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
from contextlib import AbstractContextManager


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

    def hold(self) -> AbstractContextManager[int]:
        """Hold a lease for the body of the ``with`` statement."""
        return _Lease(self._held, self._epoch)


class _Lease(AbstractContextManager[int]):
    """One lease. It has the epoch in which it was asked for; every small upload takes one."""

    __slots__ = ("_epoch", "_held")

    def __init__(self, held: Counter[int], epoch: int) -> None:
        self._held = held
        self._epoch = epoch

    def __enter__(self) -> int:
        self._held[self._epoch] += 1
        return self._epoch

    def __exit__(self, *failure: object) -> None:
        self._held[self._epoch] -= 1
        if not self._held[self._epoch]:
            del self._held[self._epoch]
