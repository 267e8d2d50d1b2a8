"""Scrub: which pack is due when, and what is left alone. Damage itself is in tests/faults."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.workers import Progress
from skep.db import schema as s
from skep.durability.scrub import Scrubber
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.clock import FakeClock
from skep.testing.durable import Rig, open_rig

DAY_S = 86_400.0


async def verified(rig: Rig) -> int:
    """How many packs have been verified once."""
    rows = await rig.rows(sa.select(s.packs.c.verified_us))
    return sum(row[0] is not None for row in rows)


async def drained(scrubber: Scrubber) -> int:
    """Units until there is nothing due."""
    done = 0
    while (await scrubber.run_once(Progress())).more_work:
        done += 1
    return done


async def test_every_pack_is_verified_once_in_a_period(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        scrubber = Scrubber(rig.db, rig.chunks, clock, 30 * DAY_S)
        for seed in range(4):
            await rig.put(random.Random(seed).randbytes(1000))
            clock.jump(DAY_S)
        assert await drained(scrubber) == 0  # what is new has been hashed a moment ago
        clock.jump(26 * DAY_S + 1)
        assert await drained(scrubber) == 1
        clock.jump(2 * DAY_S)
        assert await drained(scrubber) == 2
        clock.jump(DAY_S)
        assert (await drained(scrubber), await verified(rig)) == (1, 4)
        assert await drained(scrubber) == 0
        clock.jump(27 * DAY_S)
        assert await drained(scrubber) == 1  # the one that was verified first
        assert rig.chunks.counters.scrubbed_packs == 5


async def test_the_one_that_was_verified_longest_ago_is_first(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        for seed in range(3):
            await rig.put(random.Random(seed).randbytes(1000))
        packs = [row[0] for row in await rig.rows(sa.select(s.packs.c.id))]
        for number, pack_id in enumerate(packs):
            await rig.change(sa.update(s.packs).where(s.packs.c.id == pack_id).values(verified_us=100 - number))
        await Scrubber(rig.db, rig.chunks, clock, DAY_S).run_once(Progress())
        rows = dict(await rig.rows(sa.select(s.packs.c.id, s.packs.c.verified_us)))
        assert [rows[pack_id] == clock.now_us() for pack_id in packs] == [False, False, True]


@pytest.mark.parametrize("kind", [Kind.GONE, Kind.CANCELLED])
async def test_a_store_that_does_not_answer_does_not_stop_the_round(tmp_path: Path, kind: Kind) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        for seed in range(3):
            await rig.put(random.Random(seed).randbytes(1000))
        object.__setattr__(rig.chunks.options, "read_timeout_s", 0.05)
        rig.faults[0].script(Fault("get", kind, times=None))
        verdict = await rig.scrubber.run()
        assert (verdict.good, verdict.unreachable, verdict.whole) == (3, 3, False)
        assert await rig.repairer.backlog() == 0
        rig.faults[0].heal()


async def test_packs_that_are_about_to_go_are_left_out(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.put(b"gone soon")
        await rig.release(content)
        with rig.chunks.leases.hold():
            await rig.collector.run()
        await rig.collector.step(grace_s=3600.0)
        assert len(await rig.rows(sa.select(s.packs.c.id).where(s.packs.c.retired_us.is_not(None)))) == 1
        await rig.wipe(0)
        assert (await rig.scrubber.run()).missing == 0
        assert (await rig.check(read_data=True)).clean
        assert await drained(rig.scrubber) == 0
