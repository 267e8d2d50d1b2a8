"""Plans of moves: proposed, started, carried out, stale; and single moves with every kind of failure."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import Conflict, CorruptShard, NotFound, ObjectNotFound, StoreFull, StoreUnavailable
from skep.base.workers import Progress
from skep.db import schema as s
from skep.durability.moving import move_shard
from skep.durability.rebalance import Rebalancer
from skep.durability.records import shard_key
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig
from skep.testing.stores import memory_store

BODIES = [random.Random(seed).randbytes(400_000) for seed in range(40)]


async def filled(rig: Rig) -> list[tuple[object, bytes]]:
    return [(await rig.put(body), body) for body in BODIES]


async def with_new_store(rig: Rig, name: str = "new") -> None:
    """One more store, empty."""
    rig.stores[f"memory:{name}"] = memory_store()
    await rig.chunks.stores.add(name, f"memory:{name}", name)


def rebalancer(rig: Rig) -> Rebalancer:
    return Rebalancer(rig.db, rig.chunks, rig.clock)


async def test_a_new_store_takes_its_share_and_every_byte_is_there(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=3) as rig:
        written = await filled(rig)
        await with_new_store(rig)
        balance = rebalancer(rig)
        plan, moves = await balance.propose()
        assert plan.state == "proposed"
        assert plan.moves == len(moves) > 0
        assert all(member.used_bytes == 0 for member in rig.chunks.stores if member.name == "new")  # nothing moved yet
        done = await balance.run(plan.version)
        assert (done.state, done.moved, done.skipped) == ("done", plan.moves, 0)
        assert done.moved_bytes == plan.move_bytes
        await rig.chunks.stores.probe()
        used = {member.name: member.used_bytes for member in rig.chunks.stores}
        assert used["new"] == next(each.after_bytes for each in plan.stores if each.name == "new") > 0
        for content, body in written:
            assert await rig.get(content) == body  # type: ignore[arg-type]
        report = await rig.check(read_data=True)
        assert report.clean, report.findings
        again, _ = await balance.propose()
        assert again.moves == 0


async def test_a_plan_is_stale_once_the_stores_change(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        await filled(rig)
        await with_new_store(rig)
        balance = rebalancer(rig)
        plan, _ = await balance.propose()
        await with_new_store(rig, "another")
        with pytest.raises(Conflict, match="have changed"):
            await balance.start(plan.version)
        assert (await balance.plan(plan.version)).state == "stale"
        running, _ = await balance.propose()
        await balance.start(running.version)
        with pytest.raises(Conflict):
            await balance.propose()
        await balance.run_once(Progress())
        await rig.chunks.stores.set_state(rig.chunks.stores.by_name("new"), "readonly")
        assert not (await balance.run_once(Progress())).more_work
        assert (await balance.plan(running.version)).state == "stale"
        assert await rig.rows(sa.select(s.rebalance_moves.c.number)) == []


async def test_cancelling_and_what_is_not_there(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        await filled(rig)
        await with_new_store(rig)
        balance = rebalancer(rig)
        plan, _ = await balance.propose()
        await balance.start(plan.version)
        await balance.run_once(Progress())
        ended = await balance.cancel(plan.version)
        assert (ended.state, ended.moved) == ("cancelled", 1)
        with pytest.raises(Conflict):
            await balance.cancel(plan.version)
        for call in (balance.plan, balance.start, balance.cancel):
            with pytest.raises(NotFound):
                await call(99)


async def test_moves_whose_shards_are_gone_are_skipped(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        written = await filled(rig)
        await with_new_store(rig)
        balance = rebalancer(rig)
        plan, moves = await balance.propose()
        await rig.release(*(content for content, _ in written))  # type: ignore[arg-type]
        await rig.collector.run()
        done = await balance.run(plan.version)
        assert (done.state, done.moved, done.skipped) == ("done", 0, len(moves))


async def one_move(rig: Rig) -> tuple[bytes, bytes]:
    """A pack on the only store, and the id of another store."""
    await rig.put(BODIES[0])
    await with_new_store(rig)
    pack_id = bytes((await rig.rows(sa.select(s.packs.c.id)))[0][0])
    return pack_id, rig.chunks.stores.by_name("new").id


@pytest.mark.parametrize(
    ("kind", "error"),
    [(Kind.GONE, StoreUnavailable), (Kind.FULL, StoreFull), (Kind.FAIL_AFTER, StoreUnavailable)],
)
async def test_a_put_that_fails_leaves_the_shard_where_it_was(
    tmp_path: Path, kind: Kind, error: type[Exception]
) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        pack_id, target = await one_move(rig)
        rig.faults[-1].script(Fault("put", kind, times=None))
        with pytest.raises(error):
            await move_shard(rig.db, rig.chunks, pack_id, 0, target)
        assert await rig.get(rig.held[0]) == BODIES[0]
        rig.faults[-1].heal()
        await rig.sweeper.run()
        assert (await rig.check(read_data=True)).clean


async def test_what_is_corrupt_or_missing_is_noted_and_not_spread(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        pack_id, target = await one_move(rig)
        await rig.corrupt(0)
        with pytest.raises(CorruptShard):
            await move_shard(rig.db, rig.chunks, pack_id, 0, target)
        await rig.wipe(0)
        with pytest.raises(ObjectNotFound):
            await move_shard(rig.db, rig.chunks, pack_id, 0, target)
        await rig.chunks.flush_damage()
        assert len(await rig.rows(sa.select(s.repairs.c.pack_id))) == 1
        assert await move_shard(rig.db, rig.chunks, bytes(32), 0, target) == 0


async def test_a_delete_that_fails_leaves_a_copy_for_the_sweep(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", stores=1) as rig:
        pack_id, target = await one_move(rig)
        rig.faults[0].script(Fault("delete", Kind.GONE, times=None))
        assert await move_shard(rig.db, rig.chunks, pack_id, 0, target) > 0
        assert await rig.get(rig.held[0]) == BODIES[0]
        old = rig.stores[next(iter(rig.stores))]
        assert (await old.stat(shard_key(pack_id, 0))).size_bytes > 0
        rig.faults[0].heal()
        await rig.sweeper.run()
        with pytest.raises(ObjectNotFound):
            await old.stat(shard_key(pack_id, 0))
        assert (await rig.check(read_data=True)).clean


async def test_draining_copies_each_shard_once(tmp_path: Path) -> None:
    """Of ec(2,1) a drained store's shards are read alone: coding anew would read two for each."""
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        written = await filled(rig)
        leaving = next(iter(rig.chunks.stores))
        held = (
            await rig.rows(sa.select(sa.func.count()).select_from(s.shards).where(s.shards.c.store_id == leaving.id))
        )[0][0]
        others = rig.faults[1:]
        for fault in others:
            fault.script(Fault("get", Kind.GONE, times=None))  # whoever reads another store fails
        await rig.chunks.stores.set_state(leaving, "draining")
        assert await rig.repairer.run() == held > 0
        for fault in others:
            fault.heal()
        for member in rig.chunks.stores:
            member.failures, member.down_until_s = 0, float("-inf")
        await rig.chunks.stores.remove(leaving)
        for content, body in written:
            assert await rig.get(content) == body  # type: ignore[arg-type]
