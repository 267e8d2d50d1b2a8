"""The four thresholds: what is accepted, when a write is acknowledged, when repair begins, and whose turn it is."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import InvalidScheme, QuorumNotReached
from skep.base.workers import Progress
from skep.chunks.scheme import Scheme
from skep.db import schema as s
from skep.durability.damage import DEFERRED_REASON
from skep.durability.repair import COURTESY_MAX_S, Repairer
from skep.durability.thresholds import ThresholdBook, Thresholds, chosen, usual
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.clock import FakeClock
from skep.testing.durable import Rig, open_rig

BODY = random.Random(17).randbytes(200_000)
GONE = Fault("any", Kind.GONE, times=None)
WIDE = Scheme.parse("ec(2,4)")
_r = s.repairs.c


@pytest.mark.parametrize(
    ("name", "expected"),
    [("none", (1, 1, 1, 1)), ("raid0(3)", (3, 3, 3, 3)), ("raid1(2)", (1, 2, 2, 2)), ("ec(4,2)", (4, 5, 5, 6)),
     ("ec(4,3)", (4, 6, 6, 7)), ("ec(8,4)", (8, 10, 10, 12))],
)  # fmt: skip
def test_the_usual(name: str, expected: tuple[int, ...]) -> None:
    scheme = Scheme.parse(name)
    assert usual(scheme) == Thresholds(*expected) == chosen(scheme)


@pytest.mark.parametrize(
    ("repair_at", "wanted", "expected"),
    [(5, None, (5, 6)), (None, 8, (6, 8)), (None, 5, (5, 5)), (8, None, (8, 8)), (7, 8, (7, 8)), (5, 5, (5, 5))],
)
def test_choices_that_fit(repair_at: int | None, wanted: int | None, expected: tuple[int, int]) -> None:
    made = chosen(Scheme.parse("ec(4,4)"), repair_at, wanted)
    assert (made.repair_at, made.wanted) == expected


@pytest.mark.parametrize(
    ("repair_at", "wanted"), [(4, None), (0, None), (None, 4), (7, 6), (9, None), (None, 9), (-1, 5)]
)
def test_choices_that_do_not(repair_at: int | None, wanted: int | None) -> None:
    with pytest.raises(InvalidScheme, match="4 < repair at <= wanted <= 8"):
        chosen(Scheme.parse("ec(4,4)"), repair_at, wanted)


def test_without_parity_there_is_nothing_to_choose() -> None:
    with pytest.raises(InvalidScheme, match="no parity"):
        chosen(Scheme.parse("raid0(3)"), wanted=2)


async def test_they_outlive_a_restart_and_go_by_counts_not_names(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        await rig.chunks.thresholds.choose(Scheme.parse("raid1(3)"), chosen(Scheme.parse("raid1(3)"), 2, 3))
        book = ThresholdBook(rig.db)
        await rig.db.read(book.load)
        assert book.of(Scheme.parse("ec(1,2)")) == Thresholds(1, 2, 3, 3)
        await book.choose(Scheme.parse("ec(1,2)"), usual(Scheme.parse("ec(1,2)")))
        again = ThresholdBook(rig.db)
        await rig.db.read(again.load)
        assert again.schemes == []


async def test_a_write_is_acknowledged_when_as_many_are_durable_as_are_wanted(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(4,2)", stores=6) as rig:
        rig.faults[3].script(GONE)
        await rig.put(BODY)
        await rig.chunks.thresholds.choose(rig.chunks.scheme, chosen(rig.chunks.scheme, wanted=6))
        rig.faults[3].heal()
        await rig.put(BODY[::-1])
        for number, fault in enumerate(rig.faults):  # each takes its own shard and no other's
            fault.script(Fault("put", Kind.GONE, times=None, skip=0 if number == 3 else 1))
        with pytest.raises(QuorumNotReached, match="needs 6"):
            await rig.put(BODY[1:])


async def lose(rig: Rig, repairer: Repairer, *numbers: int) -> None:
    """Stores forget what they hold, and a scrub notices."""
    for number in numbers:
        await rig.wipe(number)
    await rig.scrubber.run()
    for fault in rig.faults:
        fault.calls.clear()


def puts(rig: Rig) -> int:
    return sum(verb == "put" for fault in rig.faults for verb, _ in fault.calls)


async def test_repair_begins_at_its_threshold_and_makes_all_good(tmp_path: Path) -> None:
    async with open_rig(tmp_path, WIDE.name, stores=6) as rig:
        await rig.chunks.thresholds.choose(WIDE, chosen(WIDE, repair_at=3, wanted=4))
        content, repairer = await rig.put(BODY), rig.repairer
        await lose(rig, repairer, 0, 1)
        while (await repairer.run_once(Progress())).more_work:
            pass
        assert (puts(rig), await rig.rows(sa.select(_r.reason, _r.spare))) == (0, [(DEFERRED_REASON, 2)])
        report = await rig.check()
        assert "4 of 6 shards are good and 2 needed: it is repaired when 3 are left" in report.findings[-1].message
        await lose(rig, repairer, 2)
        while (await repairer.run_once(Progress())).more_work:
            pass
        assert (puts(rig), await repairer.backlog()) == (3, 0)
        assert await rig.get(content) == BODY
        assert (await rig.check(read_data=True)).clean


async def test_by_hand_and_with_another_threshold_it_begins_at_once(tmp_path: Path) -> None:
    async with open_rig(tmp_path, WIDE.name, stores=6) as rig:
        content, repairer = await rig.put(BODY), rig.repairer
        await lose(rig, repairer, 0)
        await repairer.run_once(Progress())
        assert (await repairer.run_once(Progress())).done_units == 0
        await rig.chunks.thresholds.choose(WIDE, chosen(WIDE, repair_at=5))
        assert (await repairer.run_once(Progress())).done_units == 1
        await rig.chunks.thresholds.choose(WIDE, usual(WIDE))
        await lose(rig, repairer, 1)
        await repairer.run_once(Progress())
        assert await repairer.backlog() == 1
        assert await repairer.run() == 1
        assert await rig.get(content) == BODY


@pytest.mark.parametrize("state", ["lost", "draining"])
async def test_a_store_that_goes_gives_up_its_shards_whatever_is_left(tmp_path: Path, state: str) -> None:
    async with open_rig(tmp_path, WIDE.name, stores=7) as rig:
        await rig.put(BODY)
        held = next(number for number, keys in enumerate(await rig.keys_in_stores()) if keys)
        member = list(rig.chunks.stores)[held]
        repairer = rig.repairer
        await lose(rig, repairer, held)
        await repairer.run_once(Progress())
        assert await rig.rows(sa.select(_r.reason)) == [(DEFERRED_REASON,)]
        await rig.chunks.stores.set_state(member, state)
        while (await repairer.run_once(Progress())).more_work:
            pass
        assert await repairer.backlog() == 0
        await rig.chunks.stores.remove(member)


async def test_a_store_that_is_briefly_away_moves_nothing_and_a_lost_one_all_it_had(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, "ec(2,1)", stores=4, clock=clock) as rig:
        contents = [await rig.put(random.Random(seed).randbytes(50_000)) for seed in range(8)]
        repairer = Repairer(rig.db, rig.chunks, clock, 3600.0)
        held = [len(keys) for keys in await rig.keys_in_stores()]
        away = held.index(max(held))
        rig.faults[away].script(GONE)
        for fault in rig.faults:
            fault.calls.clear()
        for _ in range(3):
            for content in contents:
                await rig.get(content)
        await rig.scrubber.run()
        for _ in range(20):
            await repairer.run_once(Progress())
            await clock.advance(60)
        assert (puts(rig), await repairer.backlog()) == (0, 0)
        await rig.chunks.stores.set_state(list(rig.chunks.stores)[away], "lost")
        while (await repairer.run_once(Progress())).more_work:
            pass
        assert (puts(rig), await repairer.backlog()) == (max(held), 0)


@pytest.mark.parametrize("reads", [True, False])
async def test_repair_rests_while_somebody_reads_and_not_else(tmp_path: Path, reads: bool) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, "ec(2,1)", stores=3, clock=clock) as rig:
        content, repairer = await rig.put(BODY), rig.repairer
        await lose(rig, repairer, 0)
        for fault in rig.faults:
            fault.script(Fault("put", Kind.SLOW, times=None, delay_s=2.0))
        task = asyncio.create_task(repairer.run_once(Progress()))
        while not puts(rig):
            await asyncio.sleep(0)  # until a store is asked
        if reads:
            assert await rig.get(content) == BODY
        await clock.advance(2.0)
        if reads:
            done, _ = await asyncio.wait([task], timeout=0.2)
            assert not done
            await clock.advance(COURTESY_MAX_S)
        assert (await asyncio.wait_for(task, 10)).done_units == 1


async def test_what_can_lose_least_has_its_turn_first(tmp_path: Path) -> None:
    async with open_rig(tmp_path, WIDE.name, stores=6) as rig:
        await rig.put(BODY)
        await rig.put(BODY[::-1], scheme=Scheme.parse("raid1(2)"))
        packs = dict(await rig.rows(sa.select(s.packs.c.scheme, s.packs.c.id)))
        shards = sorted(await rig.rows(sa.select(s.shards.c.pack_id, s.shards.c.number, s.shards.c.store_id)))
        for pack_id, count in ((packs[WIDE.name], 3), (packs["raid1(2)"], 1)):
            for _, number, store_id in [each for each in shards if each[0] == pack_id][:count]:
                rig.chunks.note_damage(pack_id, number, store_id, "corrupt")
                await rig.chunks.flush_damage()
        assert sorted(await rig.rows(sa.select(_r.spare, _r.lost))) == [(0, 1), (1, 3)]
        assert await rig.repairer.repair_next() == "repaired"
        assert [row[0] for row in await rig.rows(sa.select(_r.pack_id))] == [packs[WIDE.name]]
