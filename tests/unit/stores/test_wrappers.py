from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from skep.base.errors import ObjectNotFound, RateLimited, StoreFull, StoreReadOnly, StoreUnavailable, TimedOut
from skep.stores.drivers.fs.config import FsConfig
from skep.stores.drivers.fs.store import FsStore
from skep.stores.protocol import Buffer
from skep.stores.ready import filling
from skep.stores.stack import stacked
from skep.stores.wrappers.fault import Fault, Kind
from skep.stores.wrappers.forward import ForwardingStore
from skep.stores.wrappers.limit import Limits, LimitStore
from skep.stores.wrappers.meter import BUCKETS_S, Latencies, MeterStore
from skep.stores.wrappers.retry import Pace, RetryStore
from skep.testing.clock import FakeClock, settle
from skep.testing.stores import faulty_store, memory_store, slow_store


def test_the_pace_grows_has_jitter_and_a_limit() -> None:
    pace = Pace(first_wait_s=0.1, wait_max_s=1.0)
    assert [pace.wait_s(failures, 1.0) for failures in range(1, 7)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert pace.wait_s(2, 0.0) == pytest.approx(0.1)
    assert pace.wait_s(2_000_000 % 900, 0.5) == pytest.approx(0.75)


async def test_retries_wait_by_the_pace_and_the_same_seed_waits_the_same() -> None:
    slept = []
    for _ in range(2):
        clock = FakeClock(auto=True)
        store = RetryStore(faulty_store(Fault("put", Kind.FAIL_BEFORE, times=3)), clock=clock, random=random.Random(7))
        await store.put("a", [b"1"])
        slept.append(clock.slept_s)
    assert slept[0] == slept[1]
    assert [0.05 / 2 <= slept[0][0] <= 0.05, 0.05 <= slept[0][1] <= 0.1, 0.1 <= slept[0][2] <= 0.2] == [True] * 3


async def test_no_try_begins_after_the_total_time() -> None:
    clock = FakeClock(auto=True)
    inner = faulty_store(Fault("get", Kind.GONE, times=None))
    pace = Pace(tries=1_000, first_wait_s=1.0, wait_max_s=4.0, total_s=20.0)
    with pytest.raises(StoreUnavailable):
        await RetryStore(inner, clock=clock, random=random.Random(1), pace=pace).get("a")
    assert clock.monotonic_s() <= 20.0
    assert 5 < len(inner.calls) < 12


class AsksForPatience(ForwardingStore):
    calls = 0

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.calls += 1
        if self.calls == 1:
            raise RateLimited("slow down", retry_after_s=7)
        return b"here"


async def test_a_store_that_names_a_wait_gets_it() -> None:
    clock = FakeClock(auto=True)
    assert await RetryStore(AsksForPatience(memory_store()), clock=clock, random=random.Random(1)).get("a") == b"here"
    assert clock.slept_s == [7.0]


@pytest.mark.parametrize("kind", [Kind.FULL, Kind.READ_ONLY])
async def test_what_waiting_does_not_change_is_not_retried(kind: Kind) -> None:
    inner = faulty_store(Fault("put", kind, times=None))
    with pytest.raises((StoreFull, StoreReadOnly)):
        await RetryStore(inner, clock=FakeClock(), random=random.Random(1)).put("a", [b""])
    assert len(inner.calls) == 1


async def test_a_broken_listing_goes_on_where_it_broke() -> None:
    inner = faulty_store(Fault("list", Kind.FAIL_AFTER, times=3))
    names = [f"{number:02d}" for number in range(40)]
    for name in names:
        await inner.put(name, [b""])
    store = RetryStore(inner, clock=FakeClock(auto=True), random=random.Random(1))
    assert [info.key async for info in store.list()] == names
    assert len(inner.struck) == 3


class Watched(ForwardingStore):
    """Counts the calls in flight; each ends when ``gate`` opens."""

    def __init__(self) -> None:
        super().__init__(memory_store())
        self.now = self.most = 0
        self.gate = asyncio.Event()

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1


async def test_calls_in_flight_are_limited_and_the_queue_too() -> None:
    watched = Watched()
    store = LimitStore(watched, clock=FakeClock(), limits=Limits(concurrency=3, queue_max=4))
    puts = [asyncio.ensure_future(store.put(f"{number}", [b""])) for number in range(7)]
    await settle()
    assert watched.now == 3
    with pytest.raises(TimedOut):
        await store.put("one-too-many", [b""])
    puts[5].cancel()
    watched.gate.set()
    await asyncio.gather(*puts, return_exceptions=True)
    assert (watched.now, watched.most) == (0, 3)
    await store.put("again", [b""])


async def test_bandwidth_holds_over_time_each_way() -> None:
    clock = FakeClock(auto=True)
    store = LimitStore(memory_store(), clock=clock, limits=Limits(put_bytes_per_s=1_000, get_bytes_per_s=500))
    for _ in range(11):
        await store.put("a", [b"x" * 1_000])
    assert clock.monotonic_s() == pytest.approx(10.0)
    await store.get("a")
    await store.get("a")
    assert clock.monotonic_s() == pytest.approx(10.0 + 2 * 2 - 1)


def test_quantiles_are_of_recent_calls_and_the_histogram_of_all() -> None:
    latencies = Latencies()
    assert latencies.quantile_s(0.95) is None
    latencies.add(3.0)
    assert latencies.quantile_s(0.5) == 3.0
    for number in range(1, 1_001):
        latencies.add(number / 1_000)
    assert latencies.quantile_s(0.50) == pytest.approx(0.872, abs=0.02)
    assert latencies.quantile_s(0.95) == pytest.approx(0.987, abs=0.02)
    assert latencies.total == sum(latencies.counts) == 1_001
    assert latencies.counts[BUCKETS_S.index(0.1)] == 50
    assert latencies.sum_s == pytest.approx(503.5)


async def test_the_meter_counts_bytes_errors_and_health() -> None:
    clock = FakeClock(auto=True)
    inner = faulty_store(Fault("get", Kind.GONE, times=2))
    store = MeterStore(inner, clock=clock)
    await store.put("a", [b"123", memoryview(bytes(8)).cast("I")[:1], b"45"])
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.get("a")
    assert store.meter.health.consecutive_failures == 2
    assert store.meter.health.last_error_code == "store-unavailable"
    with pytest.raises(ObjectNotFound):
        await store.get("missing")
    assert store.meter.health.consecutive_failures == 2, "an object that is missing says nothing of the store"
    assert await store.get("a", 1, 4) == b"23\0\0"
    assert store.meter.health.consecutive_failures == 0
    assert (store.meter.put_bytes, store.meter.get_bytes) == (9, 4)
    assert store.meter.errors == {("get", "store-unavailable"): 2, ("get", "object-not-found"): 1}
    assert store.meter.latencies["get"].total == 1


async def test_the_stack_measures_what_its_caller_waits_for() -> None:
    clock = FakeClock(auto=True)
    inner = slow_store(1.0, clock=clock)
    inner.script(Fault("get", Kind.FAIL_BEFORE))
    store = stacked(inner, clock=clock, random=random.Random(1), limits=Limits(concurrency=1))
    await store.put("a", [b"x"])
    await asyncio.gather(store.get("a"), store.get("a"), store.get("a"))
    assert store.meter.p50_s() == pytest.approx(2.0)
    assert store.meter.p95_s() == pytest.approx(3.0)


async def test_a_clock_that_moves_itself_wakes_sleepers_in_order() -> None:
    clock, woken = FakeClock(auto=True), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic_s()))

    await asyncio.gather(*(sleeper(seconds) for seconds in (30.0, 0.5, 7_200.0)))
    assert woken == [(0.5, 0.5), (30.0, 30.0), (7_200.0, 7_200.0)]


async def test_what_is_at_hand_passes_the_wrappers_and_is_counted() -> None:
    store = stacked(memory_store(), clock=FakeClock(auto=True), random=random.Random(1))
    await store.put("a", [b"0123456789"])
    assert store.get_ready("a", 2, 3) == b"234"
    assert store.get_ready("a", 8, 3) is None
    assert store.get_ready("b", 0, 1) is None
    assert store.meter.get_bytes == 3
    assert store.meter.latencies["get"].total == 1


async def test_what_fills_memory_passes_the_wrappers_and_is_counted(tmp_path: Path) -> None:
    store = stacked(FsStore(FsConfig(tmp_path)), clock=FakeClock(auto=True), random=random.Random(1))
    await store.put("a", [b"0123456789"])
    await store.get("a")
    before = store.meter.get_bytes
    power, memory = filling(store), bytearray(3)
    assert power is not None
    power.fill("a", 2, [memoryview(memory)])
    assert store.meter.get_bytes == before
    power.count(3)
    assert store.meter.get_bytes == before + 3
    assert store.meter.latencies["get"].total == 2
    await store.close()


async def test_nothing_is_filled_past_a_rate_or_by_one_who_meddles(tmp_path: Path) -> None:
    inner = FsStore(FsConfig(tmp_path))
    limited = LimitStore(inner, clock=FakeClock(auto=True), limits=Limits(get_bytes_per_s=1000))
    assert filling(limited) is None
    limited.set_rates(None, None)
    assert filling(limited) is not None
    assert filling(stacked(faulty_store(), clock=FakeClock(auto=True), random=random.Random(1))) is None
    await inner.close()


async def test_what_is_at_hand_waits_its_turn_where_bytes_have_a_rate() -> None:
    limited = LimitStore(memory_store(), clock=FakeClock(auto=True), limits=Limits(get_bytes_per_s=1000))
    await limited.put("a", [b"0123456789"])
    assert limited.get_ready("a", 0, 10) is None
    limited.set_rates(None, None)
    assert limited.get_ready("a", 0, 10) == b"0123456789"
    limited.set_rates(None, 1)
    assert limited.get_ready("a", 0, 10) is None


async def test_a_wrapper_that_meddles_has_nothing_at_hand() -> None:
    store = stacked(faulty_store(), clock=FakeClock(auto=True), random=random.Random(1))
    await store.put("a", [b"1"])
    assert store.get_ready("a", 0, 1) is None
    assert await store.get("a", 0, 1) == b"1"
