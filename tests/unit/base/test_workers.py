"""Workers: when they run, rest, back off, pause, stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from skep.base.errors import AlreadyExists, NotFound
from skep.base.workers import Outcome, Progress, WorkerSet, WorkerStatus
from skep.testing.clock import FakeClock, settle


class Counting:
    """Has ``work`` units to do, each taking ``unit_s``; fails while ``broken``."""

    name = "counting"
    description = "Counts."

    def __init__(self, clock: FakeClock, work: int = 0, unit_s: float = 0.0) -> None:
        self.clock, self.work, self.unit_s = clock, work, unit_s
        self.runs_at_s: list[float] = []
        self.broken = False
        self.cancelled = False

    async def run_once(self, progress: Progress) -> Outcome:
        self.runs_at_s.append(self.clock.monotonic_s())
        if self.broken:
            raise OSError("disk on fire, see postgresql://u:geheim@h/d")
        try:
            await self.clock.sleep(self.unit_s)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.work == 0:
            return Outcome(more_work=False)
        self.work -= 1
        progress.report(queued_units=self.work, fraction=0.5)
        return Outcome(more_work=self.work > 0, done_units=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def workers(clock: FakeClock) -> AsyncIterator[WorkerSet]:
    workers = WorkerSet(clock)
    yield workers
    stopping = asyncio.ensure_future(workers.stop(0))
    await clock.advance(0)
    await stopping


def only(workers: WorkerSet) -> WorkerStatus:
    (status,) = workers.status()
    return status


async def test_runs_while_there_is_work_then_sleeps_for_its_period(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock, work=3)
    workers.add(worker, period_s=60)
    assert only(workers).state == "stopped"
    workers.start()
    await settle()
    status = only(workers)
    assert (status.state, status.done_units, status.queued_units, status.progress) == ("idle", 3, 0, 0.5)
    assert worker.runs_at_s == [0, 0, 0]
    assert status.next_run_us == clock.now_us() + 60_000_000
    await clock.advance(60)
    assert worker.runs_at_s == [0, 0, 0, 60]


async def test_rests_between_units_in_proportion_to_its_work(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock, work=3, unit_s=1)
    workers.add(worker, period_s=60, tranquility=4)
    workers.start()
    await clock.advance(0.5)
    assert only(workers).state == "busy"
    await clock.advance(1)
    assert only(workers).state == "waiting"
    await clock.advance(10)
    assert worker.runs_at_s == [0, 5, 10]
    workers.set_tranquility("counting", 0)
    assert only(workers).tranquility == 0


async def test_a_first_run_can_be_put_off(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock)
    workers.add(worker, period_s=60, first_run_after_s=5)
    workers.start()
    await clock.advance(20)
    assert worker.runs_at_s == [5]


async def test_its_period_can_be_changed(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock)
    workers.add(worker, period_s=5)
    workers.start()
    workers.set_period("counting", 60)
    await clock.advance(70)
    assert worker.runs_at_s == [0, 60]


async def test_backs_off_up_to_a_limit_when_it_fails_and_recovers(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock, work=1)
    worker.broken = True
    workers.add(worker, period_s=60, backoff_max_s=4)
    workers.start()
    await clock.advance(15)
    assert worker.runs_at_s == [0, 1, 3, 7, 11, 15]
    status = only(workers)
    assert (status.state, status.failures) == ("failed", 6)
    assert status.last_error is not None
    assert "disk on fire" in status.last_error
    assert "geheim" not in status.last_error
    worker.broken = False
    workers.trigger("counting")
    await settle()
    assert (only(workers).state, only(workers).last_error, only(workers).done_units) == ("idle", None, 1)


async def test_trigger_ends_a_sleep(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock)
    workers.add(worker, period_s=3600)
    workers.start()
    await clock.advance(10)
    workers.trigger("counting")
    await settle()
    assert worker.runs_at_s == [0, 10]


async def test_a_trigger_during_a_unit_is_not_lost(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock, unit_s=5)
    workers.add(worker, period_s=3600)
    workers.start()
    await clock.advance(1)
    workers.trigger("counting")
    await clock.advance(20)
    assert worker.runs_at_s == [0, 5]


async def test_paused_it_starts_no_unit_until_resumed(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock)
    workers.add(worker, period_s=10, paused=True)
    workers.start()
    await clock.advance(30)
    workers.trigger("counting")
    await settle()
    assert (only(workers).state, worker.runs_at_s) == ("paused", [])
    workers.resume("counting")
    await settle()
    assert worker.runs_at_s == [30]
    workers.pause("counting")
    await clock.advance(100)
    assert (only(workers).state, worker.runs_at_s) == ("paused", [30])


async def test_stop_waits_for_the_unit_in_progress(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock, work=5, unit_s=2)
    workers.add(worker, period_s=10)
    workers.start()
    await clock.advance(1)
    stopping = asyncio.ensure_future(workers.stop(grace_s=5))
    await clock.advance(1)
    await stopping
    assert (worker.cancelled, worker.work, only(workers).state) == (False, 4, "stopped")


async def test_stop_cancels_a_unit_that_outlasts_the_grace(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock, unit_s=100)
    workers.add(worker, period_s=10)
    workers.start()
    await clock.advance(1)
    stopping = asyncio.ensure_future(workers.stop(grace_s=5))
    await clock.advance(5)
    await stopping
    assert (worker.cancelled, only(workers).state) == (True, "stopped")


async def test_run_through_returns_when_there_is_no_more_work(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock, unit_s=1)
    workers.add(worker, period_s=3600, first_run_after_s=3600)
    workers.start()
    await settle()
    worker.work = 3
    through = asyncio.ensure_future(workers.run_through("counting"))
    await clock.advance(2)
    assert not through.done()
    await clock.advance(2)
    assert (await through).done_units == 3


async def test_run_through_that_comes_during_a_unit_waits_for_a_whole_later_one(
    clock: FakeClock, workers: WorkerSet
) -> None:
    worker = Counting(clock, unit_s=10)
    workers.add(worker, period_s=3600)
    workers.start()
    await clock.advance(5)
    through = asyncio.ensure_future(workers.run_through("counting"))
    await clock.advance(6)
    assert not through.done()
    await clock.advance(10)
    assert through.done()


async def test_run_through_returns_when_the_worker_fails_pauses_or_stops(clock: FakeClock, workers: WorkerSet) -> None:
    worker = Counting(clock)
    worker.broken = True
    workers.add(worker, period_s=3600)
    assert (await workers.run_through("counting")).state == "stopped"
    workers.start()
    await settle()
    assert (await workers.run_through("counting")).last_error is not None
    workers.pause("counting")
    assert (await workers.run_through("counting")).failures == 2


async def test_one_failing_worker_does_not_stop_another(clock: FakeClock, workers: WorkerSet) -> None:
    bad, good = Counting(clock), Counting(clock, work=2)
    bad.name, bad.broken = "bad", True
    workers.add(bad, period_s=1)
    workers.add(good, period_s=1)
    workers.start()
    await clock.advance(3)
    assert [status.done_units for status in workers.status()] == [0, 2]
    assert list(workers.names()) == ["bad", "counting"]


async def test_names_are_checked(clock: FakeClock, workers: WorkerSet) -> None:
    workers.add(Counting(clock), period_s=1)
    with pytest.raises(AlreadyExists):
        workers.add(Counting(clock), period_s=1)
    with pytest.raises(NotFound, match="there are counting"):
        workers.trigger("conting")
