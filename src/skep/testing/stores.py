"""Stores for tests: in memory, failing and slow on demand."""

from __future__ import annotations

from skep.base.clock import Clock
from skep.stores.drivers.memory import MemoryConfig, MemoryStore
from skep.stores.protocol import Store
from skep.stores.wrappers.fault import Fault, FaultStore, Kind


def memory_store(capacity_bytes: int | None = None) -> MemoryStore:
    """An empty store of its own."""
    return MemoryStore(MemoryConfig(capacity_bytes=capacity_bytes))


def faulty_store(*faults: Fault, inner: Store | None = None, clock: Clock | None = None) -> FaultStore:
    """A store (in memory if none is given) that fails by a script."""
    return FaultStore(inner or memory_store(), clock=clock, faults=faults)


def slow_store(delay_s: float, *, verb: str = "get", inner: Store | None = None, clock: Clock) -> FaultStore:
    """A store that takes ``delay_s`` of ``clock`` for each call of a verb."""
    return faulty_store(Fault(verb, Kind.SLOW, times=None, delay_s=delay_s), inner=inner, clock=clock)
