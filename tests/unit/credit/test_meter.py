"""The meter: what passes is counted once, limits hold, credit is never overdrawn, and a crash loses nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from skep.base.errors import CreditExhausted, TimedOut, TrafficExceeded
from skep.credit import Credit, PlanTerms
from skep.credit.costs import CLASSIC, FREE, Costs
from skep.credit.journal import RECORD_BYTES, Journal, Used, records
from skep.credit.limits import Limits
from skep.credit.meter import Meter
from skep.credit.months import month_of
from skep.testing.accounts import AuthBench

MB = 1 << 20


class Flow:
    """Somebody's transfers through one meter."""

    def __init__(self, meter: Meter, owner_id: bytes) -> None:
        self.meter = meter
        self.owner_id = owner_id

    async def __call__(self, size: int, direction: str = "out", *, known: bool = True, counts: bool = True) -> None:
        passage = await self.meter.admit("personal", self.owner_id, direction, size if known else None)
        try:
            for start in range(0, size, MB):
                await passage.take(min(MB, size - start))
        finally:
            passage.end(counts=counts)


@pytest.fixture
async def ann(bench: AuthBench) -> bytes:
    return (await bench.user("ann")).id


async def flow_of(bench: AuthBench, tmp_path: Path, owner_id: bytes, **given) -> Flow:
    meter = Meter(bench.db, bench.clock, tmp_path / "meter", **given)
    await meter.start()
    return Flow(meter, owner_id)


async def used(credit: Credit, bench: AuthBench) -> tuple[int, int, int]:
    month = (await credit.usage(bench.root, "user:ann"))[0]
    return month.in_bytes, month.out_bytes, month.requests


async def has(credit: Credit, bench: AuthBench) -> tuple[int, int]:
    holder = await credit.holder(bench.root, "user:ann")
    return holder.balances[0].amount, holder.balances[0].held


async def test_nothing_is_counted_where_nothing_is_limited(bench, credit, ann, tmp_path) -> None:
    flow = await flow_of(bench, tmp_path, ann)
    assert not flow.meter.active
    await credit.put_plan(bench.root, "plus", PlanTerms(traffic_bytes=5))
    await flow.meter.refresh()
    assert flow.meter.active


async def test_what_passes_is_posted_once(bench, credit, ann, tmp_path) -> None:
    flow = await flow_of(bench, tmp_path, ann, always=True)
    await flow(3 * MB + 5)
    await flow(7, "in")
    await flow(9, known=False)
    assert await flow.meter.post() == 3
    assert await flow.meter.post() == 0
    assert await used(credit, bench) == (7, 3 * MB + 14, 3)
    await flow.meter.close()
    assert list((tmp_path / "meter").iterdir()) == []


async def test_what_was_not_posted_is_posted_by_the_next_life(bench, credit, ann, tmp_path) -> None:
    flow = await flow_of(bench, tmp_path, ann, always=True)
    await flow(100)
    await flow.meter.post()
    await flow(11)
    await flow(5, "in")  # and here the process is killed
    path = next((tmp_path / "meter").iterdir())
    path.write_bytes(path.read_bytes() + b"\0" * (RECORD_BYTES - 1))  # with half a record
    for _ in range(2):
        await flow_of(bench, tmp_path, ann)
        assert await used(credit, bench) == (5, 111, 3)
    assert list((tmp_path / "meter").iterdir()) == []


async def test_a_post_that_was_done_and_not_heard_of_counts_once(bench, credit, ann, tmp_path, monkeypatch) -> None:
    flow = await flow_of(bench, tmp_path, ann, always=True)
    await flow(10)
    write, lost = bench.db.write, [True]

    async def losing(work):
        result = await write(work)
        if lost.pop() if lost else False:
            raise TimedOut("the answer was lost")
        return result

    monkeypatch.setattr(bench.db, "write", losing)
    with pytest.raises(TimedOut):
        await flow.meter.post()
    await flow(5)
    await flow.meter.post()
    await flow(2)
    await flow.meter.post()
    assert await used(credit, bench) == (0, 17, 3)
    assert flow.meter._by_account[next(iter(flow.meter._by_account))].unposted == {}


async def test_a_post_that_failed_counts_later(bench, credit, ann, tmp_path, monkeypatch) -> None:
    flow = await flow_of(bench, tmp_path, ann, always=True)
    await flow(10)
    write, fails = bench.db.write, [True]

    async def failing(work):
        if fails.pop() if fails else False:
            raise TimedOut("the database is gone")
        return await write(work)

    monkeypatch.setattr(bench.db, "write", failing)
    with pytest.raises(TimedOut):
        await flow.meter.post()
    await flow(5)
    await flow.meter.post()
    assert await used(credit, bench) == (0, 15, 2)


async def test_traffic_ends_where_the_plan_says(bench, credit, ann, tmp_path) -> None:
    await credit.put_plan(bench.root, "plus", PlanTerms(traffic_bytes=10 * MB))
    await credit.choose_plan(bench.root, "plus", who="user:ann")
    flow = await flow_of(bench, tmp_path, ann)
    done = await asyncio.gather(*(flow(MB) for _ in range(64)), return_exceptions=True)
    assert sum(isinstance(one, TrafficExceeded) for one in done) == 54
    await flow(5 * MB, "in")  # what comes in is no traffic of the plan's
    await flow.meter.post()
    with pytest.raises(TrafficExceeded):
        await flow(1)
    await credit.set_limits(bench.root, "user:ann", Limits(traffic_bytes=11 * MB))
    await bench.clock.advance(11)
    await flow(MB)
    with pytest.raises(TrafficExceeded):
        await flow(1, known=False)


async def test_two_processes_share_one_limit(bench, credit, ann, tmp_path) -> None:
    await credit.put_plan(bench.root, "plus", PlanTerms(traffic_bytes=100 * MB))
    await credit.choose_plan(bench.root, "plus", who="user:ann")
    flows = [await flow_of(bench, tmp_path / name, ann) for name in ("a", "b")]
    passed = 0
    for _ in range(40):  # each posts every 5 s and looks every 10 s
        for flow in flows:
            for _ in range(3):
                try:
                    await flow(MB // 2)
                    passed += MB // 2
                except TrafficExceeded:
                    pass
            await flow.meter.post()
        await bench.clock.advance(5)
    assert 100 * MB <= passed <= 101 * MB + 6 * MB // 2
    assert (await used(credit, bench))[1] == passed


async def test_a_month_is_over_and_a_clock_that_jumps_back_meets_the_old_one(bench, credit, ann, tmp_path) -> None:
    await credit.put_plan(bench.root, "plus", PlanTerms(traffic_bytes=10))
    await credit.choose_plan(bench.root, "plus", who="user:ann")
    flow = await flow_of(bench, tmp_path, ann)
    await flow(10)
    with pytest.raises(TrafficExceeded):
        await flow(1)
    bench.clock.jump(31 * 86_400)
    await flow(7)
    bench.clock.jump(-31 * 86_400)
    with pytest.raises(TrafficExceeded):
        await flow(1)
    await flow.meter.post()
    bench.clock.jump(31 * 86_400)
    await flow(3)
    with pytest.raises(TrafficExceeded):
        await flow(1)
    await flow.meter.post()
    months = await credit.usage(bench.root, "user:ann")
    assert [month.out_bytes for month in months] == [10, 10]
    assert months[0].month == month_of(bench.clock.now_us())


async def test_credit_pays_and_is_never_overdrawn(bench, credit, ann, tmp_path) -> None:
    await credit.deposit(bench.root, "user:ann", "bytes", 10 * MB)
    flow = await flow_of(bench, tmp_path, ann, costs=CLASSIC)
    done = await asyncio.gather(*(flow(MB) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(one, CreditExhausted) for one in done) == 15
    with pytest.raises(CreditExhausted):
        await flow(1)
    await flow.meter.post()
    assert await has(credit, bench) == (0, 0)
    await credit.deposit(bench.root, "user:ann", "bytes", 9 * MB)
    await flow(MB, "in", counts=False)  # it failed
    await flow(2 * MB, "in")
    await flow.meter.post()
    assert await has(credit, bench) == (MB, MB)  # set aside for what comes
    await flow.meter.close()
    assert await has(credit, bench) == (MB, 0)
    assert await credit.audit(bench.root) == []


async def test_what_a_killed_process_set_aside_comes_back(bench, credit, ann, tmp_path) -> None:
    await credit.deposit(bench.root, "user:ann", "bytes", 10 * MB)
    flow = await flow_of(bench, tmp_path, ann, costs=CLASSIC)
    await flow(MB)
    assert await has(credit, bench) == (10 * MB, 10 * MB)
    other = await flow_of(bench, tmp_path, ann, costs=FREE)  # the next life
    assert await has(credit, bench) == (8 * MB, 0)
    assert not other.meter.active
    assert await credit.audit(bench.root) == []


async def test_a_rate_slows_down(bench, credit, ann, tmp_path) -> None:
    await credit.set_limits(bench.root, "user:ann", Limits(rate_bytes_s=MB))
    flow = await flow_of(bench, tmp_path, ann)
    await flow(1)
    task = asyncio.create_task(flow(5 * MB))
    before = bench.clock.monotonic_s()
    while not task.done():
        await bench.clock.advance(0.5)
    assert 3.5 <= bench.clock.monotonic_s() - before <= 5


async def test_prepaid_time_begins_with_the_first_transfer(bench, credit, ann, tmp_path) -> None:
    await credit.put_plan(bench.root, "plus", PlanTerms(traffic_bytes=100))
    await credit.prepay_plan(bench.root, "user:ann", "plus", 30 * 86_400_000_000)
    flow = await flow_of(bench, tmp_path, ann)
    await flow(1)
    ((one, _),) = await credit.subscriptions(bench.root, "user:ann")
    assert (one.state, one.starts_us) == ("in-use", bench.clock.now_us())


async def test_it_says_so_at_80_and_95_percent_once_a_month(bench, credit, ann, tmp_path) -> None:
    told = []
    await credit.set_limits(bench.root, "user:ann", Limits(traffic_bytes=100))
    flow = await flow_of(bench, tmp_path, ann, tell=lambda kind, **facts: told.append(facts["percent"]))
    for _ in range(2):
        for size in (79, 1, 14, 1, 5):
            await flow(size)
            await flow.meter.post()
        bench.clock.jump(31 * 86_400)
    assert told == [80, 95, 80, 95]


def test_a_journal_ends_where_it_is_damaged(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    written = [Used(bytes([n] * 16), 202611, n % 2 == 1, n * 1000, n) for n in range(5)]
    for one in written:
        journal.append(one)
    assert records(journal.path, 0, 10) == (written, 5 * RECORD_BYTES)
    assert records(journal.path, 2 * RECORD_BYTES, 2) == (written[2:4], 4 * RECORD_BYTES)
    raw = bytearray(journal.path.read_bytes())
    raw[16 + 3 * RECORD_BYTES + 20] ^= 1
    journal.path.write_bytes(raw)
    assert records(journal.path, 0, 10) == (written[:3], 3 * RECORD_BYTES)
    journal.path.write_bytes(b"SKEP")
    assert records(journal.path, 0, 10) == ([], 0)


def test_a_long_journal_begins_anew(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("skep.credit.journal.RESTART_BYTES", 2 * RECORD_BYTES)
    journal = Journal(tmp_path)
    one = Used(b"a" * 16, 202611, True, 5, 0)
    journal.append(one)
    journal.append(one)
    journal.restart_if_long(RECORD_BYTES)
    assert journal.path.stat().st_size == 16 + 2 * RECORD_BYTES
    journal.restart_if_long(journal.position)
    assert journal.path.stat().st_size == 16
    journal.append(one)
    assert records(journal.path, 2 * RECORD_BYTES, 10) == ([one], 3 * RECORD_BYTES)
    assert records(journal.path, 0, 10) == ([one], 3 * RECORD_BYTES)


@pytest.mark.parametrize(("direction", "size", "cost"), [("in", 3, 12), ("out", 3, 6), ("in", 0, 0)])
def test_the_classic_costs(direction: str, size: int, cost: int) -> None:
    assert CLASSIC.of(direction, size) == cost
    assert CLASSIC.of("out", size, is_near=True) == size
    assert Costs(in_percent=1).of("in", 101) == 2
