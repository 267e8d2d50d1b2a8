"""Slow stores: reads go round them, writes do not wait for them, and what they do late does no harm.

The stores' delays are on a fake clock, so they last until a test moves it; only the service's own
patience (hundredths of a second) passes in real time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import QuorumNotReached, StoreUnavailable
from skep.db import schema as s
from skep.durability.member import LATE_MAX_S, LATE_MIN_S, LATE_UNTIL_PASSED_BY
from skep.durability.options import Options
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.clock import FakeClock
from skep.testing.durable import Rig, open_rig

BODY = random.Random(3).randbytes(300_000)
HOUR_S = 3600.0


def quick(**changes: float | bool) -> Options:
    values: dict[str, float | bool] = {"straggler_s": 0.02, "repair_delay_s": 0.0, "hedge_min_s": 0.01} | changes
    return Options(hedge_max_s=0.02, **values)  # type: ignore[arg-type]


async def settled(clock: FakeClock, rig: Rig) -> None:
    """Let the delays pass and everything that was late end."""
    await clock.advance(2 * HOUR_S)
    await rig.chunks.room.drain()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def mirrors(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Rig]:
    async with open_rig(tmp_path, "ec(2,2)", stores=4, clock=clock, options=quick()) as rig:
        yield rig
        await settled(clock, rig)


@pytest.mark.parametrize("slow", [(0,), (1,), (2,), (0, 1), (1, 3)])
async def test_a_read_goes_round_slow_stores(mirrors: Rig, slow: tuple[int, ...]) -> None:
    content = await mirrors.put(BODY)
    for number in slow:
        mirrors.faults[number].script(Fault("get", Kind.SLOW, times=None, delay_s=HOUR_S))
    assert await asyncio.wait_for(mirrors.get(content), 10) == BODY
    places = await mirrors.chunks.places(mirrors.keys.domain_id, content.manifest)
    data = [name for name, _, _ in places[0].stores[:2]]
    waited = [number for number in slow if f"d{number}" in data]
    counters = mirrors.chunks.counters
    assert (counters.hedged_reads > 0) is (counters.rebuilt_reads > 0) is bool(waited)
    assert await mirrors.chunks.flush_damage() == 0  # slow is not damaged


async def test_a_store_that_keeps_reads_waiting_is_passed_by_and_tried_again(mirrors: Rig, clock: FakeClock) -> None:
    content = await mirrors.put(BODY)
    places = await mirrors.chunks.places(mirrors.keys.domain_id, content.manifest)
    slow = next(member for member in mirrors.chunks.stores if member.name == places[0].stores[0][0])
    fault = mirrors.faults[int(slow.name[1:])]
    fault.script(Fault("get", Kind.SLOW, times=None, delay_s=HOUR_S))
    for _ in range(LATE_UNTIL_PASSED_BY):
        assert not slow.passed_by
        assert await mirrors.get(content) == BODY
    assert slow.passed_by
    asked, hedged = len(fault.calls), mirrors.chunks.counters.hedged_reads
    for _ in range(5):
        assert await mirrors.get(content) == BODY
    assert (len(fault.calls), mirrors.chunks.counters.hedged_reads) == (asked, hedged), "nobody waits for it any more"
    await clock.advance(LATE_MIN_S + 0.1)
    assert not slow.passed_by
    assert await mirrors.get(content) == BODY
    assert (len(fault.calls), slow.passed_by) == (asked + 1, True)
    fault.heal()
    await clock.advance(LATE_MAX_S)
    assert await mirrors.get(content) == BODY
    assert (slow.late, slow.passed_by) == (0, False)


async def test_without_others_a_late_store_is_waited_for(tmp_path: Path, clock: FakeClock) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3, clock=clock, options=quick()) as rig:
        content = await rig.put(BODY)
        for member in rig.chunks.stores:
            member.late, member.late_until_s = 9, float("inf")
        assert await rig.get(content) == BODY


async def test_what_a_late_store_lost_is_not_the_reason_while_others_are_down(tmp_path: Path, clock: FakeClock) -> None:
    """The reader is told to try again, and not that an object is missing, whoever answers last."""
    async with open_rig(tmp_path, "raid1(3)", stores=3, clock=clock, options=quick()) as rig:
        content = await rig.put(BODY[:3000])
        places = await rig.chunks.places(rig.keys.domain_id, content.manifest)
        late = int(places[0].stores[0][0][1:])
        for number, fault in enumerate(rig.faults):
            if number != late:
                fault.script(Fault("get", Kind.GONE, times=None))
        for info in [each async for each in rig.faults[late].list("shards/")]:
            await rig.faults[late].delete(info.key)
        rig.faults[late].script(Fault("get", Kind.SLOW, times=1, delay_s=HOUR_S))
        reading = asyncio.create_task(rig.get(content))
        await asyncio.wait([reading], timeout=0.2)  # the others have been asked meanwhile
        await settled(clock, rig)
        with pytest.raises(StoreUnavailable, match="bring back a store that is down"):
            await reading


async def test_with_hedging_off_a_read_waits(tmp_path: Path, clock: FakeClock) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2, clock=clock, options=quick(hedge=False)) as rig:
        content = await rig.put(BODY)
        for store in rig.faults:
            store.script(Fault("get", Kind.SLOW, times=None, delay_s=HOUR_S))
        reading = asyncio.create_task(rig.get(content))
        done, _ = await asyncio.wait([reading], timeout=0.2)
        assert not done
        for _ in range(1000):
            await clock.advance(HOUR_S)
            done, _ = await asyncio.wait([reading], timeout=0.01)
            if done:
                break
        assert await reading == BODY
        assert rig.chunks.counters.hedged_reads == 0


async def test_a_reader_that_goes_away_leaves_nothing_behind(mirrors: Rig) -> None:
    content = await mirrors.put(BODY)
    for store in mirrors.faults:
        store.script(Fault("get", Kind.SLOW, times=None, delay_s=HOUR_S))
    before = asyncio.all_tasks()
    reading = asyncio.create_task(mirrors.get(content))
    await asyncio.wait([reading], timeout=0.1)
    reading.cancel()
    await asyncio.wait([reading])
    left = asyncio.all_tasks() - before
    _, running = await asyncio.wait(left, timeout=5) if left else (set(), set())
    assert running == set(), running
    assert mirrors.chunks.leases.held == 0


async def test_a_store_that_hangs_is_given_up(tmp_path: Path, clock: FakeClock) -> None:
    async with open_rig(tmp_path, "none", clock=clock, options=quick(read_timeout_s=0.02)) as rig:
        content = await rig.put(BODY)
        rig.faults[0].script(Fault("get", Kind.CANCELLED, times=None))
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            await rig.get(content)
        rig.faults[0].heal()
        assert await rig.get(content) == BODY


async def test_a_write_is_acknowledged_without_its_stragglers(mirrors: Rig, clock: FakeClock) -> None:
    mirrors.faults[2].script(Fault("put", Kind.SLOW, times=None, delay_s=HOUR_S))
    content = await asyncio.wait_for(mirrors.put(BODY), 10)
    states = await mirrors.rows(sa.select(s.shards.c.state))
    assert sorted(row[0] for row in states) == ["missing", "ok", "ok", "ok"]
    assert await mirrors.rows(sa.select(s.packs.c.degraded)) == [(1,)]
    assert await mirrors.repairer.backlog() == 1
    assert await mirrors.get(content) == BODY
    assert mirrors.chunks.room.in_flight == 1  # its memory is in use until the late put ends
    await settled(clock, mirrors)
    assert mirrors.chunks.room.in_flight == 0
    assert [len(keys) for keys in await mirrors.keys_in_stores()] == [1, 1, 1, 1]  # it came, late
    assert await mirrors.sweeper.run() == 0
    mirrors.faults[2].heal()
    assert await mirrors.repairer.run() == 1
    assert await mirrors.rows(sa.select(s.packs.c.degraded)) == [(0,)]
    report = await mirrors.check(read_data=True)
    assert report.clean, report.findings


async def test_a_put_that_ends_after_the_repair_does_no_harm(tmp_path: Path, clock: FakeClock) -> None:
    """The slow store is drained meanwhile, so that repair puts the shard on another one."""
    async with open_rig(tmp_path, "ec(2,2)", stores=5, clock=clock, options=quick()) as rig:
        stores = rig.chunks.stores
        await stores.set_state(stores.by_name("d4"), "readonly")
        rig.faults[2].script(Fault("put", Kind.SLOW, times=None, delay_s=HOUR_S))
        content = await rig.put(BODY)
        await stores.set_state(stores.by_name("d4"), "active")
        await stores.set_state(stores.by_name("d2"), "draining")
        assert await rig.repairer.run() == 1
        assert await rig.get(content) == BODY
        await settled(clock, rig)
        assert [len(keys) for keys in await rig.keys_in_stores()] == [1, 1, 1, 1, 1]
        assert await rig.sweeper.run() == 1  # the late one, which no row places there
        assert [len(keys) for keys in await rig.keys_in_stores()] == [1, 1, 0, 1, 1]
        report = await rig.check(read_data=True)
        assert report.clean, report.findings
        await stores.remove(stores.by_name("d2"))


async def test_below_the_quorum_a_write_fails_and_leaves_no_put_running(tmp_path: Path, clock: FakeClock) -> None:
    async with open_rig(tmp_path, "ec(2,2)", stores=4, clock=clock, options=quick(put_timeout_s=0.05)) as rig:
        for number in (0, 1, 2):
            rig.faults[number].script(Fault("put", Kind.CANCELLED, times=None))
        with pytest.raises(QuorumNotReached, match="1 zones take writes now"):
            await rig.put(BODY)
        assert rig.chunks.room.in_flight == 0
        for store in rig.faults:
            store.heal()
        for member in rig.chunks.stores:
            member.failures = 0
        content = await rig.put(BODY)
        assert await rig.get(content) == BODY


async def test_a_failing_store_is_replaced_by_a_spare_one_at_once(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=5, options=quick()) as rig:
        rig.faults[0].script(Fault("put", Kind.FAIL_BEFORE, times=None))
        for seed in range(8):
            await rig.put(random.Random(seed).randbytes(2000))
        assert await rig.repairer.backlog() == 0
        assert (await rig.check(read_data=True)).clean


async def test_late_puts_make_room_for_writers_and_for_a_stop(tmp_path: Path, clock: FakeClock) -> None:
    """The slow store's clock never moves: nothing may wait for it."""
    options = quick(packs_max=2)
    async with open_rig(tmp_path, "ec(2,2)", stores=4, clock=clock, options=options) as rig:
        rig.faults[1].script(Fault("put", Kind.SLOW, times=None, delay_s=HOUR_S))
        bodies = [random.Random(seed).randbytes(3000) for seed in range(6)]
        contents = [await asyncio.wait_for(rig.put(body), 10) for body in bodies]
        assert [await rig.get(content) for content in contents] == bodies
        assert await rig.repairer.backlog() == 6
        await asyncio.wait_for(rig.chunks.close(), 10)
