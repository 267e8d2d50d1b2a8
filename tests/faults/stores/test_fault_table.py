"""What each kind of fault of each call does to a caller behind the stack of wrappers, and what the store holds then."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from skep.base.errors import ObjectNotFound, SkepError, StoreFull, StoreReadOnly, StoreUnavailable, TimedOut
from skep.stores.protocol import ObjectInfo, Usage
from skep.stores.stack import stacked
from skep.stores.wrappers.fault import Fault, FaultStore, Kind
from skep.stores.wrappers.meter import MeterStore
from skep.stores.wrappers.retry import Pace
from skep.testing.clock import FakeClock, settle
from skep.testing.stores import faulty_store

OLD, NEW = b"old value", b"new value"
Call = Callable[[MeterStore], Awaitable[object]]

CALLS: dict[str, Call] = {
    "put": lambda store: store.put("k", [NEW[:3], NEW[3:]]),
    "get": lambda store: store.get("k"),
    "stat": lambda store: store.stat("k"),
    "delete": lambda store: store.delete("k"),
    "list": lambda store: listing(store),
    "usage": lambda store: store.usage(),
}
GOOD: dict[str, object] = {
    "put": None,
    "get": OLD,
    "stat": ObjectInfo("k", 9),
    "delete": None,
    "list": ["a", "b", "k"],
    "usage": Usage(11, None),
}
AFTER: dict[str, bytes | None] = {"put": NEW, "delete": None}
"""What is under the key when a call took effect; other calls change nothing."""


async def listing(store: MeterStore) -> list[str]:
    return [info.key async for info in store.list()]


async def held(store: FaultStore) -> bytes | None:
    try:
        return await store.inner.get("k")
    except ObjectNotFound:
        return None


async def prepared(*faults: Fault, tries: int = 3) -> tuple[FaultStore, MeterStore, FakeClock]:
    clock = FakeClock(auto=True)
    store = faulty_store(clock=clock)
    for key, value in (("a", b"1"), ("b", b"2"), ("k", OLD)):
        await store.put(key, [value])
    store.calls.clear()
    store.script(*faults)
    stack = stacked(store, clock=clock, random=random.Random(1), pace=Pace(tries=tries, try_timeout_s=5))
    return store, stack, clock


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("kind", [Kind.FAIL_BEFORE, Kind.FAIL_AFTER, Kind.GONE])
async def test_a_passing_failure_done_or_not_is_not_seen(verb: str, kind: Kind) -> None:
    store, stack, clock = await prepared(Fault(verb, kind, times=2))
    assert await CALLS[verb](stack) == GOOD[verb]
    assert await held(store) == AFTER.get(verb, OLD)
    assert len(store.struck) == 2
    assert stack.meter.retries == 2
    assert stack.meter.health.consecutive_failures == 0
    assert len(clock.slept_s) == 2


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("kind", [Kind.FAIL_BEFORE, Kind.GONE])
async def test_a_lasting_failure_is_reported_and_nothing_is_done(verb: str, kind: Kind) -> None:
    store, stack, _ = await prepared(Fault(verb, kind, times=None))
    with pytest.raises(StoreUnavailable):
        await CALLS[verb](stack)
    assert await held(store) == OLD
    assert len(store.calls) == 3
    assert stack.meter.errors == {(verb, "store-unavailable"): 1}
    assert stack.meter.health.consecutive_failures == 1


@pytest.mark.parametrize("verb", CALLS)
async def test_a_lasting_failure_may_have_been_done_all_the_same(verb: str) -> None:
    store, stack, _ = await prepared(Fault(verb, Kind.FAIL_AFTER, times=None))
    if verb == "list":  # each try gives half of what was left, and a key that comes renews the tries
        with pytest.raises(StoreUnavailable):
            await listing(stack)
    else:
        with pytest.raises(StoreUnavailable):
            await CALLS[verb](stack)
    assert await held(store) == AFTER.get(verb, OLD)


@pytest.mark.parametrize(("kind", "error"), [(Kind.FULL, StoreFull), (Kind.READ_ONLY, StoreReadOnly)])
@pytest.mark.parametrize("verb", CALLS)
async def test_full_and_read_only_refuse_writes_at_once_and_let_reads_through(
    verb: str, kind: Kind, error: type[SkepError]
) -> None:
    store, stack, clock = await prepared(Fault("any", kind, times=None))
    if verb in ("put", "delete"):
        with pytest.raises(error):
            await CALLS[verb](stack)
        assert await held(store) == OLD
    else:
        assert await CALLS[verb](stack) == GOOD[verb]
    assert clock.slept_s == []
    assert len(store.calls) == 1


@pytest.mark.parametrize("verb", CALLS)
async def test_slow_calls_succeed_and_are_measured(verb: str) -> None:
    store, stack, _ = await prepared(Fault(verb, Kind.SLOW, delay_s=2.0))
    assert await CALLS[verb](stack) == GOOD[verb]
    assert await held(store) == AFTER.get(verb, OLD)
    assert stack.meter.p95_s(verb) == pytest.approx(2.0)


@pytest.mark.parametrize("verb", ["put", "get", "stat", "list"])
async def test_short_answers_pass_the_wrappers(verb: str) -> None:
    """Only who knows the content can tell: the hashes in every block are for that."""
    store, stack, _ = await prepared(Fault(verb, Kind.SHORT))
    short = {"put": None, "get": OLD[:4], "stat": ObjectInfo("k", 4), "list": ["a"]}
    assert await CALLS[verb](stack) == short[verb]
    assert await held(store) == (NEW[:4] if verb == "put" else OLD)
    assert await CALLS[verb](stack) == GOOD[verb]


@pytest.mark.parametrize("verb", ["put", "get"])
async def test_corrupt_bytes_pass_the_wrappers(verb: str) -> None:
    store, stack, _ = await prepared(Fault(verb, Kind.CORRUPT))
    got = await CALLS[verb](stack)
    assert got == (None if verb == "put" else b"old falue")
    assert await held(store) == (b"new falue" if verb == "put" else OLD)


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("kind", [Kind.CANCELLED, Kind.CANCELLED_AFTER])
async def test_a_cancelled_call_ends_at_once_and_frees_its_slot(verb: str, kind: Kind) -> None:
    store, stack, _ = await prepared(Fault(verb, kind))
    task = asyncio.ensure_future(CALLS[verb](stack))
    await settle()
    assert not task.done()
    assert stack.meter.in_flight == 1
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert stack.meter.in_flight == 0
    assert stack.meter.errors == {}
    done = kind is Kind.CANCELLED_AFTER
    assert await held(store) == (AFTER.get(verb, OLD) if done else OLD)
    again = await asyncio.gather(*(CALLS["stat"](stack) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, ObjectInfo | ObjectNotFound) for result in again)


@pytest.mark.parametrize("verb", CALLS)
async def test_a_call_that_is_never_answered_is_given_up_and_tried_again(verb: str) -> None:
    store, stack, _ = await prepared(Fault(verb, Kind.CANCELLED), tries=2)
    stack.inner._pace = Pace(tries=2, try_timeout_s=0.01)  # type: ignore[attr-defined]
    assert await CALLS[verb](stack) == GOOD[verb]
    assert stack.meter.retries == 1
    store.script(Fault(verb, Kind.CANCELLED, times=None))
    with pytest.raises(TimedOut):
        await CALLS[verb](stack)


async def test_scripts_skip_count_select_and_heal() -> None:
    store = faulty_store(Fault("put", Kind.FAIL_BEFORE, times=1, skip=1, key_prefix="shards/"))
    await store.put("a", [b""])
    await store.put("shards/1", [b""])
    with pytest.raises(StoreUnavailable):
        await store.put("shards/2", [b""])
    await store.put("shards/3", [b""])
    assert store.struck == [("put", "shards/2", Kind.FAIL_BEFORE)]
    store.script(Fault("any", Kind.GONE, times=None))
    with pytest.raises(StoreUnavailable):
        await store.usage()
    store.heal()
    await store.usage()
