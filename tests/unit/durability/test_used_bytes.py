"""What a store is counted to hold, when a shard's row changes while repair or collection is at work on its pack."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from skep.base.workers import Progress
from skep.db import schema as s
from skep.durability.audit import Auditor
from skep.durability.catalog import pack_places
from skep.durability.damage import note_damage
from skep.durability.moving import move_shard
from skep.durability.records import PackPlaces
from skep.durability.repairplan import RepairPlan
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig

HELD = (
    sa.select(s.stores.c.name, s.stores.c.used_bytes, sa.func.coalesce(sa.func.sum(s.shards.c.size_bytes), 0))
    .select_from(s.stores)
    .join(s.shards, sa.and_(s.shards.c.store_id == s.stores.c.id, s.shards.c.state != "missing"), isouter=True)
    .group_by(s.stores.c.name, s.stores.c.used_bytes)
)


async def the_sums_are_right(rig: Rig) -> None:
    rows = await rig.rows(HELD)
    assert len(rows) == len(list(rig.chunks.stores))
    assert [(name, used) for name, used, _ in rows] == [(name, held) for name, _, held in rows]


async def only_pack(rig: Rig) -> PackPlaces:
    ((pack_id,),) = await rig.rows(sa.select(s.packs.c.id))
    pack = await rig.db.read(lambda tx: pack_places(tx, pack_id))
    assert pack is not None
    return pack


def spare(rig: Rig, pack: PackPlaces) -> bytes:
    return next(member.id for member in rig.chunks.stores if member.id not in {each.store_id for each in pack.shards})


async def test_a_shard_that_is_found_missing_while_repair_replaces_it(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        await rig.put(b"a" * 90_000)
        pack = await only_pack(rig)
        todo = RepairPlan((0,), (spare(rig, pack),), True)
        damage = {(pack.pack_id, 0): (pack.shards[0].store_id, "missing")}
        await rig.db.write(lambda tx: note_damage(tx, damage))
        await rig.repairer._rewrite(pack, todo)  # which was planned before
        await the_sums_are_right(rig)


async def test_a_shard_that_is_moved_while_repair_replaces_it(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        await rig.put(b"a" * 90_000)
        pack = await only_pack(rig)
        todo = RepairPlan((0,), (pack.shards[0].store_id,), True)
        assert await move_shard(rig.db, rig.chunks, pack.pack_id, 0, spare(rig, pack))
        await rig.repairer._rewrite(pack, todo)
        await the_sums_are_right(rig)
        assert sum(map(len, await rig.keys_in_stores())) == 3


async def test_repair_of_a_pack_that_was_collected_meanwhile_leaves_no_row(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        content = await rig.put(b"a" * 90_000)
        pack = await only_pack(rig)
        put, target = rig.repairer._put, rig.chunks.stores.get(spare(rig, pack))
        assert target is not None
        await rig.release(content)

        async def collect_then_put(*where: object) -> object:
            await rig.collector.run()
            return await put(*where)  # type: ignore[arg-type]

        repairer = rig.repairer
        repairer._put = collect_then_put  # type: ignore[method-assign,assignment]
        await repairer._rewrite(pack, RepairPlan((0,), (target.id,), True))
        assert await rig.rows(sa.select(s.packs.c.id)) == await rig.rows(sa.select(s.shards.c.number)) == []
        await the_sums_are_right(rig)
        await rig.sweeper.run()
        assert await rig.keys_in_stores() == [[], [], [], []]


async def test_a_shard_that_is_moved_while_its_pack_is_collected(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        content = await rig.put(b"a" * 90_000)
        pack = await only_pack(rig)
        target = spare(rig, pack)
        await rig.release(content)
        collector = rig.collector
        delete = collector._delete_shards
        moves = 0

        async def move_then_delete(packs: object) -> object:
            nonlocal moves
            if not moves:
                moves = await move_shard(rig.db, rig.chunks, pack.pack_id, 0, target)
            return await delete(packs)  # type: ignore[arg-type]

        collector._delete_shards = move_then_delete  # type: ignore[method-assign,assignment]
        await collector.run()
        assert moves > 0
        await the_sums_are_right(rig)
        await rig.collector.run()
        await the_sums_are_right(rig)
        assert await rig.rows(sa.select(s.packs.c.id)) == []
        assert await rig.keys_in_stores() == [[], [], [], []]


async def test_audits_leave_packs_alone_that_are_being_collected(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        content = await rig.put(b"a" * 90_000)
        await rig.release(content)
        rig.faults[0].script(Fault("delete", Kind.FAIL_BEFORE, times=None))
        await rig.collector.run()  # two of the three shards are gone
        assert len(await rig.rows(sa.select(s.packs.c.id))) == 1
        outcome = await Auditor(rig.db, rig.chunks, rig.clock, seed=1).run_once(Progress())
        assert outcome.done_units == 0
        assert all(not member.reputation.audits for member in rig.chunks.stores)
