"""The journal: one plan at a time, one moment of commitment, and all of it in the rows."""

from __future__ import annotations

import pytest

from skep.base.errors import AlreadyExists, CorruptRecord, NotFound
from skep.deploy.engines.records import JobSpec
from skep.deploy.launch.journal import RUNS_KEPT, VERDICTS_KEPT, release_of
from skep.deploy.launch.journal_rows import MemoryJournal, MemoryRows
from skep.deploy.launch.records import CronRun, Deploy, Ensure, Kill, Plan, Release, Scale, SliceRecord, Verdict
from skep.deploy.stack.records import Size, Stack

DONE = Verdict(ok=True, stack="shop", outcome="released")


def record(slice_id: str, **facts: object) -> SliceRecord:
    spec = JobSpec(image="tree:1")
    usual = {"stack": "shop", "job": "web", "kind": "web", "number": 0, "release": 1, "plan": "shop.1", "identity": "x"}
    return SliceRecord(**{"id": slice_id, "spec": spec, "size": Size(), **usual, **facts})  # type: ignore[arg-type]


def release(number: int) -> Release:
    return Release(number=number, stack=Stack(name="shop"))


def plan(number: int, *, starts: tuple[str, ...] = (), ends: tuple[str, ...] = ()) -> Plan:
    instructions = (Deploy(job="web", slices=starts, replaces=ends), Kill(job="web", slices=ends))
    return Plan(id=f"shop.{number}", stack="shop", number=number, before=0, after=number, instructions=instructions)


def test_a_plan_knows_what_it_starts_and_ends() -> None:
    instructions = (
        Ensure(job="db", slice="db2", replaces="db1"),
        Deploy(job="web", slices=("w3", "w4"), replaces=("w1", "w2")),
        Deploy(job="fixed", slices=("f2",), replaces=("f1",), in_place=True),
        Scale(job="mail", count=1, drops=("m2",)),
        Kill(job="web", slices=("w1", "w2")),
        Kill(job="mail", slices=("m2",)),
    )
    made = Plan(id="shop.1", stack="shop", number=1, before=0, after=1, instructions=instructions)
    assert made.starts == ("db2", "w3", "w4", "f2")
    assert made.ends == ("db1", "f1", "w1", "w2", "m2")
    assert made.swaps == (("db1", "db2"), ("f1", "f2"))


async def test_committing_turns_everything_at_once_and_outlives_the_program() -> None:
    rows = MemoryRows()
    journal = MemoryJournal(rows)
    await journal.begin(plan(1, starts=("a",)), release(1), [record("a")])
    with pytest.raises(AlreadyExists):
        await journal.begin(plan(2), release(2), [])
    await journal.before(plan(1), 0)
    reborn = MemoryJournal(rows)
    (opened,) = await reborn.open_plans()
    assert (opened.begun, opened.done, opened.committed) == (0, -1, False)
    assert await reborn.current("shop") is None
    await journal.after(plan(1), 0)
    await journal.commit(plan(1))
    await journal.end(plan(1), DONE)
    second = plan(2, starts=("b",), ends=("a",))
    await journal.begin(second, release(2), [])
    await journal.put_slice(record("b"))
    await journal.commit(second)
    reborn = MemoryJournal(rows)
    assert (await reborn.open_plans())[0].committed
    assert await reborn.current("shop") == release(2)
    assert [(one.id, one.state) for one in await reborn.slices("shop")] == [("a", "old"), ("b", "live")]
    assert await reborn.slices("other") == ()
    assert await reborn.verdicts("shop") == (DONE,)


async def test_releases_are_kept_by_number_and_numbers_are_never_given_twice() -> None:
    journal = MemoryJournal()
    for number in range(1, 5):
        assert await journal.next_number("shop") == number
        await journal.begin(plan(number), release(number), [])
        await journal.commit(plan(number))
        await journal.end(plan(number), DONE)
    await journal.keep("shop", 2)
    assert [one.number for one in await journal.releases("shop")] == [3, 4]
    assert await release_of(journal, "shop", 3) == release(3)
    with pytest.raises(NotFound, match="kept are 3, 4"):
        await release_of(journal, "shop", 1)
    await journal.put_home("shop", "db", "m1")
    assert await journal.home("shop", "db") == "m1"
    assert await journal.stacks() == ("shop",)
    await journal.forget("shop")
    assert (await journal.stacks(), await journal.releases("shop"), await journal.home("shop", "db")) == ((), (), "")
    assert await journal.next_number("shop") == 5
    for number in range(VERDICTS_KEPT + 5):
        await journal.begin(plan(number), None, [])
        await journal.end(plan(number), DONE)
    assert len(await journal.verdicts("shop")) == VERDICTS_KEPT


async def test_rows_that_are_damaged_or_newer_are_told() -> None:
    for key, value, words in (("slice/a", b"{", "damaged"), ("novelty/a", b"1", "newer")):
        rows = MemoryRows()
        rows.rows[key] = value
        with pytest.raises(CorruptRecord, match=words):
            await MemoryJournal(rows).stacks()


async def test_runs_of_cron_jobs_are_kept_told_once_and_forgotten_with_the_stack() -> None:
    rows = MemoryRows()
    journal = MemoryJournal(rows)
    for number in range(RUNS_KEPT + 2):
        run = CronRun(stack="shop", job="tick", slice=f"t{number}", started_us=number, ended_us=number + 1, exit_code=0)
        await journal.put_run(run)
    await journal.put_run(run)  # HQ was killed before the slice was cleared away, and looked again
    kept = await MemoryJournal(rows).runs("shop")
    assert [one.slice for one in kept] == [f"t{number}" for number in range(2, RUNS_KEPT + 2)]
    assert await journal.runs("other") == ()
    assert await journal.stacks() == ()
    await journal.forget("shop")
    assert await MemoryJournal(rows).runs("shop") == ()
