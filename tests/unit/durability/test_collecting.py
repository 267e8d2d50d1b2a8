"""Collection asks stores in batches, remembers what is gone, and goes on where it was broken off."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.db import schema as s
from skep.durability.collect import STEP_PACKS, delete_shards
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig

CHANCE = random.Random(41)


async def garbage(rig: Rig, packs: int) -> None:
    """So many packs that nothing needs."""
    contents = [await rig.put(CHANCE.randbytes(200)) for _ in range(packs)]
    await rig.release(*contents)
    for fault in rig.faults:
        fault.calls.clear()


def deletes(rig: Rig) -> list[int]:
    """Delete calls that each store has seen."""
    return [sum(verb == "delete" for verb, _ in fault.calls) for fault in rig.faults]


async def left(rig: Rig) -> int:
    return sum([len(keys) for keys in await rig.keys_in_stores()])


async def test_many_packs_cost_each_store_a_few_calls(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(3)", stores=3) as rig:
        await garbage(rig, 120)
        collected = await rig.collector.run()
        assert (collected.removed_packs, await left(rig)) == (120, 0)
        assert max(deletes(rig)) <= -(-120 // STEP_PACKS) + 1
        assert (await rig.check()).clean
        assert [used for (used,) in await rig.rows(sa.select(s.stores.c.used_bytes))] == [0, 0, 0]


async def test_a_store_without_batches_is_asked_once_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_rig(tmp_path, "none") as rig:
        monkeypatch.setattr(type(next(iter(rig.stores.values()))), "delete_batch_max", 1)
        await garbage(rig, 30)
        await rig.collector.run()
        assert (deletes(rig), await left(rig)) == ([30], 0)


@pytest.mark.parametrize("kind", [Kind.GONE, Kind.FAIL_AFTER])
async def test_a_store_that_fails_is_asked_again_and_the_others_are_not(tmp_path: Path, kind: Kind) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        await garbage(rig, 10)
        rig.faults[1].script(Fault("delete", kind, times=None))
        assert (await rig.collector.run()).removed_packs == 0
        assert next(len(keys) for keys in await rig.keys_in_stores()) == 0
        seen = deletes(rig)[0]
        await rig.collector.run()
        assert deletes(rig)[0] == seen, "what is gone is not asked for twice"
        assert (await rig.check()).clean
        rig.faults[1].heal()
        for member in rig.chunks.stores:
            member.failures, member.down_until_s = 0, float("-inf")
        assert (await rig.collector.run()).removed_packs == 10
        assert await left(rig) == 0
        assert [used for (used,) in await rig.rows(sa.select(s.stores.c.used_bytes))] == [0, 0]


async def test_a_store_that_is_away_holds_up_no_packs_of_others(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=3) as rig:
        await garbage(rig, 40)
        held = [len(keys) for keys in await rig.keys_in_stores()]
        rig.faults[0].script(Fault("any", Kind.GONE, times=None))
        assert (await rig.collector.run()).removed_packs == 40 - held[0]
        assert [len(keys) for keys in await rig.keys_in_stores()] == [held[0], 0, 0]


async def test_what_a_crash_broke_off_is_finished(tmp_path: Path) -> None:
    """The stores have deleted, and the rows are as they were."""
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        await garbage(rig, 12)
        stores = list(rig.chunks.stores)
        for member, keys in zip(stores, await rig.keys_in_stores(), strict=True):
            assert set(await delete_shards(rig.chunks, member, keys)) == set(keys)
        assert (await rig.collector.run()).removed_packs == 12
        assert (await rig.check()).clean


async def test_the_sweep_removes_strangers_in_batches(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none") as rig:
        await rig.put(b"kept")
        store = next(iter(rig.stores.values()))
        for number in range(50):
            name = number.to_bytes(32, "big").hex()
            await store.put(f"shards/{name[:2]}/{name}.0", [b"?"])
        for fault in rig.faults:
            fault.calls.clear()
        assert await rig.sweeper.run() == 50
        assert deletes(rig) == [1]
        assert await left(rig) == 1
