"""Audits and reputations: honest, forgetful, lying and silent stores."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.workers import Progress
from skep.db import schema as s
from skep.durability.audit import Auditor
from skep.durability.placement import place
from skep.durability.reputation import SUSPECT_BELOW, Reputation, after_audit
from skep.durability.storeset import StoreSet
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import HIVE_ID, Places, Rig, open_rig

BODY = random.Random(3).randbytes(3_000_000)


def auditor(rig: Rig) -> Auditor:
    return Auditor(rig.db, rig.chunks, rig.clock, seed=7)


def test_one_failure_is_forgiven_and_several_are_not() -> None:
    known = Reputation()
    for _ in range(100):
        known = after_audit(known, "passed", 1)
    known = after_audit(known, "failed", 2)
    assert not known.suspect
    assert known.last_failure_us == 2
    for _ in range(4):
        known = after_audit(known, "failed", 3)
    assert known.suspect
    for _ in range(400):
        known = after_audit(known, "passed", 4)
    assert known.honesty > 0.99
    assert (known.audits, known.failed) == (505, 5)


def test_silence_is_no_lie_but_costs_new_shards() -> None:
    known = Reputation()
    for _ in range(200):
        known = after_audit(known, "unanswered", 1)
    assert known.honesty == 1.0
    assert not known.suspect
    assert known.factor < 0.15


async def test_a_good_store_passes_and_an_empty_one_is_not_asked(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        assert (await auditor(rig).run_once(Progress())).done_units == 0
        await rig.put(BODY)
        assert (await auditor(rig).run_once(Progress())).done_units == 1
        member = next(iter(rig.chunks.stores))
        assert (member.reputation.audits, member.reputation.failed) == (1, 0)
        members = StoreSet(rig.db, rig.master.hive_keys(), HIVE_ID, Places(dict(rig.stores)).open, clock=rig.clock)
        await members.load()
        assert next(iter(members)).reputation == member.reputation  # it outlives a restart
        await members.close()


@pytest.mark.parametrize("harm", ["wipe", "corrupt", "cut"])
async def test_what_a_store_does_not_have_any_more_is_found_and_repaired(tmp_path: Path, harm: str) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        content = await rig.put(BODY)
        if harm == "wipe":
            await rig.wipe(0)
        elif harm == "corrupt":
            for at in range(100):
                await rig.corrupt(0, at / 100)
        else:
            rig.faults[0].script(Fault("get", Kind.SHORT, times=None))
        worker = auditor(rig)
        for _ in range(6):
            await worker.run_once(Progress())
        rig.faults[0].heal()
        bad, good = rig.chunks.stores
        assert bad.reputation.failed >= 1
        assert (good.reputation.failed, good.reputation.suspect) == (0, False)
        assert len(await rig.rows(sa.select(s.repairs.c.pack_id))) >= 1
        await rig.repairer.run()
        assert await rig.get(content) == BODY
        assert (await rig.check(read_data=True)).clean


async def test_a_store_that_does_not_answer_is_not_called_a_liar(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        await rig.put(BODY)
        rig.faults[0].script(Fault("get", Kind.GONE, times=None))
        await auditor(rig).run_once(Progress())
        away, well = rig.chunks.stores
        assert (away.reputation.unanswered, away.reputation.failed) == (1, 0)
        assert well.reputation.unanswered == 0
        assert await rig.rows(sa.select(s.repairs.c.pack_id)) == []


async def test_a_suspect_store_gets_new_shards_only_where_no_other_will_do(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=3) as rig:
        suspect = next(iter(rig.chunks.stores))
        for _ in range(8):
            await rig.chunks.stores.note_audit(suspect, "failed")
        assert suspect.reputation.honesty < SUSPECT_BELOW
        candidates = await rig.chunks.stores.candidates()
        packs = [random.Random(seed).randbytes(32) for seed in range(300)]
        chosen = [place(pack, 2, 100, candidates).stores for pack in packs]
        assert sum(suspect.id in stores for stores in chosen) <= 3
        assert all(suspect.id in place(pack, 3, 100, candidates).stores for pack in packs[:20])
