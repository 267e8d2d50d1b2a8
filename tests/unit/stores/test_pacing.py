"""Rates that are set while a store is in use."""

from __future__ import annotations

import random

from skep.stores.pacing import paced
from skep.stores.stack import stacked
from skep.testing.clock import FakeClock
from skep.testing.stores import memory_store


async def test_rates_are_found_behind_wrappers_and_hold_at_once() -> None:
    clock = FakeClock(auto=True)
    store = stacked(memory_store(), clock=clock, random=random.Random(1))
    held = paced(store)
    assert held is not None
    started_s = clock.monotonic_s()
    await store.put("a", [bytes(1000)])
    assert clock.monotonic_s() == started_s
    held.set_rates(100, 1000)
    await store.put("b", [bytes(1000)])
    put_s = clock.monotonic_s() - started_s
    assert 8 <= put_s <= 10  # a second's worth goes at once
    await store.get("b")
    await store.get("b")
    assert 0.9 <= clock.monotonic_s() - started_s - put_s <= 2
    held.set_rates(None, None)
    before_s = clock.monotonic_s()
    await store.put("c", [bytes(10_000)])
    assert clock.monotonic_s() == before_s


def test_a_store_without_rates_has_none() -> None:
    assert paced(memory_store()) is None
    assert paced(None) is None
