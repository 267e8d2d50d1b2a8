"""Lost, corrupt, slow and full stores: every combination that a scheme promises to stand."""

from __future__ import annotations

import asyncio
import random
from itertools import combinations
from pathlib import Path

import pytest

from skep.base.errors import Integrity, QuorumNotReached, StoreFull, StoreUnavailable
from skep.chunks.scheme import Scheme
from skep.durability.options import Options
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig

SCHEMES = ["none", "raid0(2)", "raid0(3)", "raid1(2)", "raid1(3)", "raid5(3)", "raid5(4)", "raid5(5)", "raid5(6)"]
SCHEMES += ["raid6(4)", "raid6(5)", "raid6(6)", "ec(2,1)", "ec(3,2)", "ec(2,3)", "ec(3,3)", "ec(2,4)", "ec(1,5)"]
BODY = random.Random(3).randbytes(700_000)
SMALL = random.Random(4).randbytes(5_000)
GONE = Fault("any", Kind.GONE, times=None)


def losses(scheme: Scheme) -> list[tuple[int, ...]]:
    return list(combinations(range(scheme.total), scheme.parity_shards))


async def forget(rig: Rig) -> None:
    """As after a restart: no failures counted, nothing remembered of packs."""
    for member in rig.chunks.stores:
        member.failures = 0
        member.down_until_s = float("-inf")
    for pack in list(rig.chunks.packs._places):
        rig.chunks.packs.forget(pack)


@pytest.mark.parametrize("name", SCHEMES)
async def test_any_m_stores_may_be_gone(tmp_path: Path, name: str) -> None:
    scheme = Scheme.parse(name)
    async with open_rig(tmp_path, name, stores=scheme.total) as rig:
        contents = [await rig.put(BODY), await rig.put(SMALL)]
        for gone in losses(scheme):
            for number in gone:
                rig.faults[number].script(GONE)
            assert await rig.get(contents[0]) == BODY
            assert await rig.get(contents[1]) == SMALL
            for number in gone:
                rig.faults[number].heal()
            await forget(rig)


@pytest.mark.parametrize("name", SCHEMES)
async def test_any_m_stores_may_lie_and_are_repaired(tmp_path: Path, name: str) -> None:
    scheme = Scheme.parse(name)
    async with open_rig(tmp_path, name, stores=scheme.total) as rig:
        content = await rig.put(BODY)
        for bad in losses(scheme):
            for number in bad:
                await corrupt(rig, number)
            await forget(rig)
            assert await rig.get(content) == BODY
            verdict = await rig.scrubber.run()
            assert verdict.corrupt == len(bad)
            await rig.repairer.run()
            assert (await rig.scrubber.run()).whole


async def corrupt(rig: Rig, number: int) -> None:
    """Flip one bit in the middle of every shard of a store."""
    store = list(rig.stores.values())[number]
    for info in [each async for each in store.list("shards/")]:
        raw = bytearray(await store.get(info.key))
        raw[len(raw) // 2] ^= 0x10
        await store.put(info.key, [raw])


@pytest.mark.parametrize("name", ["none", "raid0(2)", "raid1(2)", "ec(2,1)", "ec(2,2)"])
async def test_one_store_too_many_is_an_error_not_wrong_bytes(tmp_path: Path, name: str) -> None:
    scheme = Scheme.parse(name)
    async with open_rig(tmp_path, name, stores=scheme.total) as rig:
        content = await rig.put(BODY)
        for number in range(scheme.parity_shards + 1):
            rig.faults[number].script(GONE)
        with pytest.raises(StoreUnavailable, match="store"):
            await rig.get(content)
        for number in range(scheme.parity_shards + 1):
            rig.faults[number].heal()
            await corrupt(rig, number)
        await forget(rig)
        with pytest.raises(Integrity, match=r"restore|not what was written"):
            await rig.get(content)


@pytest.mark.parametrize("name", ["ec(2,1)", "raid1(3)", "raid6(5)"])
async def test_lost_shards_come_back(tmp_path: Path, name: str) -> None:
    scheme = Scheme.parse(name)
    async with open_rig(tmp_path, name, stores=scheme.total) as rig:
        content = await rig.put(BODY)
        store = next(iter(rig.stores.values()))
        for info in [each async for each in store.list("shards/")]:
            await store.delete(info.key)
        assert (await rig.scrubber.run()).missing == 1
        assert await rig.repairer.run() == 1
        assert (await rig.scrubber.run()).whole
        assert await rig.get(content) == BODY


@pytest.mark.parametrize(
    "kind", [Kind.FAIL_BEFORE, Kind.FAIL_AFTER, Kind.GONE, Kind.FULL, Kind.READ_ONLY, Kind.CANCELLED]
)
async def test_a_put_that_fails_degrades_the_pack_and_is_made_good(tmp_path: Path, kind: Kind) -> None:
    options = Options(straggler_s=0.02, repair_delay_s=0.0, put_timeout_s=5.0)
    async with open_rig(tmp_path, "ec(2,2)", stores=4, options=options) as rig:
        rig.faults[1].script(Fault("put", kind, times=None))
        content = await rig.put(BODY)
        assert await rig.get(content) == BODY
        assert await rig.repairer.backlog() == 1
        rig.faults[1].heal()
        await forget(rig)
        for member in rig.chunks.stores:
            await rig.chunks.stores.refresh_usage(member)
        assert await rig.repairer.run() == 1
        assert (await rig.scrubber.run()).whole
        for gone in combinations(range(4), 2):
            for number in gone:
                rig.faults[number].script(GONE)
            await forget(rig)
            assert await rig.get(content) == BODY
            for number in gone:
                rig.faults[number].heal()


@pytest.mark.parametrize("kind", [Kind.SHORT, Kind.CORRUPT])
async def test_a_put_that_lies_is_found_by_the_reader(tmp_path: Path, kind: Kind) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        for store in rig.faults:
            store.script(Fault("put", kind, times=None))
            break
        content = await rig.put(BODY)
        rig.faults[0].heal()
        assert await rig.get(content) == BODY
        await rig.scrubber.run()
        await rig.repairer.run()
        assert (await rig.scrubber.run()).whole


@pytest.mark.parametrize("kind", [Kind.FAIL_BEFORE, Kind.GONE, Kind.SHORT, Kind.CORRUPT, Kind.SLOW])
async def test_a_get_that_fails_is_rebuilt(tmp_path: Path, kind: Kind) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        content = await rig.put(BODY)
        for number in range(3):
            rig.faults[number].script(Fault("get", kind, times=None, delay_s=30.0))
            await forget(rig)
            assert await asyncio.wait_for(rig.get(content), 10) == BODY
            rig.faults[number].heal()


async def test_writing_goes_on_with_a_store_gone_and_stops_below_k(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        rig.faults[0].script(GONE)
        first = await rig.put(BODY)
        assert await rig.get(first) == BODY
        rig.faults[1].script(GONE)
        for _ in range(4):  # before and after the set has noticed that the store is down
            with pytest.raises(QuorumNotReached, match="store ls"):
                await rig.put(random.Random(9).randbytes(1000))
        for store in rig.faults:
            store.heal()
        await forget(rig)
        assert await rig.get(first) == BODY
        await rig.put(SMALL)


async def test_full_stores_say_so_and_lose_nothing(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        kept = await rig.put(SMALL)
        rig.faults[0].script(Fault("put", Kind.FULL, times=None))
        with pytest.raises((StoreFull, QuorumNotReached), match="store"):
            await rig.put(BODY)
        assert await rig.get(kept) == SMALL


async def test_draining_and_losing_a_store(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        contents = [await rig.put(random.Random(seed).randbytes(300_000)) for seed in range(6)]
        stores = rig.chunks.stores
        for state, number in (("draining", 0), ("lost", 1)):
            await stores.set_state(stores.by_name(f"d{number}"), state)
            if state == "lost":
                rig.faults[1].script(GONE)
            await rig.repairer.run()
        held = await rig.keys_in_stores()
        assert held[0] == []
        await stores.remove(stores.by_name("d0"))
        for seed, content in enumerate(contents):
            assert await rig.get(content) == random.Random(seed).randbytes(300_000)


async def test_a_new_zone_takes_its_part_of_crowded_packs(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=2) as rig:
        content = await rig.put(BODY)
        assert await rig.repairer.run() == 0
        assert await rig.repairer.backlog() == 1
        await rig.chunks.stores.add("d9", "memory:d9", "zone9")
        assert await rig.repairer.run() == 1
        assert [len(keys) for keys in await rig.keys_in_stores()] == [1, 1, 1]
        assert await rig.get(content) == BODY


async def test_an_upload_that_lost_all_stores_can_be_sent_again(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        for store in rig.faults:
            store.script(Fault("put", Kind.FAIL_AFTER, times=None))
        with pytest.raises(QuorumNotReached):
            await rig.put(BODY)
        for store in rig.faults:
            store.heal()
        await forget(rig)
        content = await rig.put(BODY)
        await rig.sweeper.run()
        assert await rig.get(content) == BODY
        assert (await rig.scrubber.run()).whole
