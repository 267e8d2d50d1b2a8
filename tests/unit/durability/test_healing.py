"""Lost packs: declared, healed by an upload of the same content, found again when a store returns."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import DataLost, StoreUnavailable
from skep.base.workers import Progress
from skep.db import schema as s
from skep.durability.damage import LOST_REASON
from skep.durability.repair import CROWDED_WAIT_S, Repairer
from skep.durability.service import ChunkService
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.clock import FakeClock
from skep.testing.durable import Rig, open_rig

BODY = random.Random(7).randbytes(300_000)
GONE = Fault("any", Kind.GONE, times=None)
_r = s.repairs.c


async def reasons(rig: Rig) -> list[str]:
    return [row[0] for row in await rig.rows(sa.select(_r.reason))]


def rested(chunks: ChunkService) -> None:
    """As if every back-off were over."""
    for member in chunks.stores:
        member.down_until_s = float("-inf")
        member.failures = 0


@pytest.mark.parametrize("name", ["none", "raid1(2)", "ec(2,1)"])
async def test_an_upload_of_the_same_content_heals_every_use(tmp_path: Path, name: str) -> None:
    async with open_rig(tmp_path, name, stores=3) as rig:
        first = await rig.put(BODY)
        await rig.reference(first)
        for number in range(3):
            await rig.wipe(number)
        with pytest.raises(DataLost):
            await rig.get(first)
        assert await rig.repairer.run() == 0
        assert await reasons(rig) == [LOST_REASON]
        assert rig.chunks.counters.lost_packs_found == 1
        again = await rig.put(BODY)
        assert again.manifest == first.manifest
        assert await rig.get(first) == BODY
        for content in (first, first, again):
            await rig.release(content)
        rig.held.append(again)
        await rig.reference(again)
        rig.held.remove(again)
        await rig.collector.run()
        assert await rig.get(again) == BODY
        report = await rig.check(read_data=True)
        assert report.clean, report.findings
        assert await rig.repairer.backlog() == 0


async def test_references_to_lost_content_still_count(tmp_path: Path) -> None:
    """A copy of a lost file neither makes it usable for uploads nor loses a count."""
    async with open_rig(tmp_path) as rig:
        content = await rig.put(BODY)
        await rig.wipe(0)
        await rig.scrubber.run()
        await rig.repairer.run()
        await rig.reference(content)
        await rig.put(BODY)
        assert await rig.get(content) == BODY
        assert (await rig.check()).clean


async def test_lost_content_that_nothing_uses_is_forgotten(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.put(BODY)
        await rig.wipe(0)
        await rig.scrubber.run()
        await rig.repairer.run()
        await rig.release(content)
        await rig.collector.run()
        assert await rig.rows(sa.select(s.packs.c.id)) == []
        assert await rig.repairer.backlog() == 0


async def test_a_store_that_was_given_up_and_returns_makes_packs_readable(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        content = await rig.put(BODY)
        stores = rig.chunks.stores
        for number in (0, 1):
            rig.faults[number].script(GONE)
            await stores.set_state(stores.by_name(f"d{number}"), "lost")
        with pytest.raises(DataLost, match="restore the missing store"):
            await rig.get(content)
        repairer = rig.repairer
        assert await repairer.run() == 0
        assert await reasons(rig) == [LOST_REASON]
        for number in (0, 1):
            rig.faults[number].heal()
            await stores.set_state(stores.by_name(f"d{number}"), "active")
        rested(rig.chunks)
        assert await repairer.run() == 1
        assert await reasons(rig) == []
        assert await rig.get(content) == BODY
        before = rig.chunks.counters.stored_bytes
        await rig.put(BODY)
        assert rig.chunks.counters.stored_bytes == before


async def test_a_store_that_is_away_for_long_makes_uploads_independent_of_it(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, "none", stores=2, clock=clock) as rig:
        content = await rig.put(BODY)
        held = [len(keys) for keys in await rig.keys_in_stores()].index(1)
        rig.faults[held].script(GONE)
        repairer = Repairer(rig.db, rig.chunks, clock, 3600.0)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await rig.get(content)
        await repairer.run_once(Progress())
        assert await repairer.backlog() == 0  # it may be a reboot
        clock.jump(3700)
        await clock.advance(3700)
        await repairer.run()
        assert await reasons(rig) == [LOST_REASON]
        again = await rig.put(BODY)
        assert await rig.get(again) == BODY


async def test_a_pack_that_waits_for_a_zone_is_due_when_there_is_one(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, "ec(2,1)", stores=2, clock=clock) as rig:
        await rig.put(BODY)
        repairer, progress = Repairer(rig.db, rig.chunks, clock, 3600.0), Progress()
        outcome = await repairer.run_once(progress)
        assert (outcome.more_work, outcome.done_units) == (True, 0)
        assert not (await repairer.run_once(progress)).more_work
        ((due,),) = await rig.rows(sa.select(_r.next_try_us))
        assert due >= clock.now_us() + CROWDED_WAIT_S * 1e6
        await rig.chunks.stores.add("d9", "memory:d9", "zone9")
        assert (await repairer.run_once(progress)).done_units == 1
        assert await rig.rows(sa.select(s.packs.c.degraded)) == [(0,)]


async def test_one_pack_that_cannot_be_repaired_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        lost = await rig.put(BODY)
        await rig.wipe(0)
        await rig.wipe(1)
        good = await rig.put(BODY[:1000])
        (key,) = (await rig.keys_in_stores())[0]
        await next(iter(rig.stores.values())).delete(key)
        await rig.scrubber.run()
        repairer, progress = rig.repairer, Progress()
        assert (await repairer.run_once(progress)).done_units == 1
        assert await rig.get(good) == BODY[:1000]
        with pytest.raises(DataLost):
            await rig.get(lost)


async def test_damage_noted_during_a_repair_is_not_forgotten(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(3)", stores=3) as rig:
        content = await rig.put(BODY)
        await rig.wipe(0)
        await rig.scrubber.run()
        ((pack_id,),) = await rig.rows(sa.select(s.packs.c.id))
        second = rig.chunks.stores.by_name("d1")
        put = rig.faults[0].put

        async def put_and_rot(key: str, parts: object) -> None:
            await put(key, parts)  # type: ignore[arg-type]
            await rig.corrupt(1)
            rig.chunks.note_damage(pack_id, _number_on(1, await rig.keys_in_stores()), second.id, "corrupt")
            await rig.chunks.flush_damage()

        rig.faults[0].put = put_and_rot  # type: ignore[method-assign]
        assert await rig.repairer.run() == 0
        rig.faults[0].put = put  # type: ignore[method-assign]
        assert await rig.repairer.backlog() == 1
        assert await rig.repairer.run() == 1
        assert (await rig.check(read_data=True)).clean
        assert await rig.get(content) == BODY


def _number_on(store: int, keys: list[list[str]]) -> int:
    return int(keys[store][0].rpartition(".")[2])


async def test_damage_on_a_store_that_the_shard_has_left_is_passed_over(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=3) as rig:
        await rig.put(BODY)
        ((pack_id, number, store_id),) = await rig.rows(
            sa.select(s.shards.c.pack_id, s.shards.c.number, s.shards.c.store_id).where(s.shards.c.number == 0)
        )
        stores = rig.chunks.stores
        old = stores.get(store_id)
        assert old is not None
        await stores.set_state(old, "draining")
        assert await rig.repairer.run() == 1
        rig.chunks.note_damage(pack_id, number, store_id, "missing")
        assert await rig.chunks.flush_damage() == 0
        assert await rig.repairer.backlog() == 0


async def test_a_read_follows_a_shard_that_was_moved(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=2) as rig:
        content = await rig.put(BODY)
        assert await rig.get(content) == BODY
        remembered = dict(rig.chunks.packs._places)
        held = [len(keys) for keys in await rig.keys_in_stores()].index(1)
        stores = rig.chunks.stores
        await stores.set_state(stores.by_name(f"d{held}"), "draining")
        assert await rig.repairer.run() == 1
        rig.chunks.packs._places.update(remembered)  # a reader that looked it up before
        assert await rig.get(content) == BODY
        await rig.chunks.flush_damage()
        assert await rig.repairer.backlog() == 0


async def test_repack_passes_over_what_it_cannot_read(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        bodies = [random.Random(seed).randbytes(20_000) for seed in range(6)]
        contents = [await rig.put(body) for body in bodies]
        lost = (await rig.keys_in_stores())[0][2]
        await next(iter(rig.stores.values())).delete(lost)
        assert (await rig.repacker.run()).packs == 5
        await rig.collector.run()
        found = 0
        for body, content in zip(bodies, contents, strict=True):
            try:
                found += await rig.get(content) == body
            except DataLost:
                continue
        assert found == 5


async def test_a_run_by_hand_waits_for_what_the_worker_has_in_hand(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        await rig.put(random.Random(3).randbytes(200_000))
        await rig.wipe(1)
        await rig.scrubber.run()
        repairer = rig.repairer
        gate, real = asyncio.Event(), repairer.repair

        async def slow(pack_id: bytes) -> bool:
            await gate.wait()
            return await real(pack_id)

        repairer.repair = slow  # type: ignore[method-assign]
        worker = asyncio.create_task(repairer.run_once(Progress()))
        by_hand = asyncio.create_task(repairer.run())
        left = asyncio.create_task(repairer.left())
        await asyncio.sleep(0.05)  # both are at the pack by now, if they could be
        assert not by_hand.done()
        gate.set()
        await asyncio.gather(worker, by_hand)
        assert await left == 0
        assert await repairer.left() == 0
        assert rig.chunks.counters.repaired_packs == 1
