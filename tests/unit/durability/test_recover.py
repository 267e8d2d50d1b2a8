"""Recovery: from the stores and the master key alone, whatever happened since the snapshot."""

from __future__ import annotations

import asyncio
import random
from itertools import combinations
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import Conflict, DataLost, KeyWrong
from skep.base.ids import new_id
from skep.chunks.scheme import Scheme
from skep.crypto.keys import MasterKey
from skep.db import prepared
from skep.db import schema as s
from skep.durability.snapshots import PREFIX, head_key, parse_snapshot_key
from skep.stores.protocol import Store
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig, pieces, recovered_rig

BODIES = [random.Random(seed).randbytes(50_000 * (seed + 1)) for seed in range(4)]


def place(directory: Path, name: str) -> Path:
    path = directory / name
    path.mkdir()
    return path


def moved(stores: dict[str, Store]) -> dict[str, Store]:
    """The same stores, mounted elsewhere."""
    return {f"{url}-moved": store for url, store in stores.items()}


async def snapshot_objects(store: Store) -> list[tuple[bytes, str]]:
    return [found async for info in store.list(PREFIX) if (found := parse_snapshot_key(info.key)) is not None]


async def check_all(rig: Rig) -> None:
    for body, content in zip(BODIES, rig.held, strict=False):
        assert await rig.get(content) == body
    await rig.repairer.run()
    report = await rig.check(read_data=True)
    assert report.clean, report.findings


@pytest.mark.parametrize("name", ["none", "raid1(2)", "ec(2,1)", "ec(2,2)"])
async def test_any_m_stores_may_be_lost_with_the_database(tmp_path: Path, name: str) -> None:
    scheme = Scheme.parse(name)
    async with open_rig(tmp_path, name, stores=scheme.total) as rig:
        for body in BODIES:
            await rig.put(body)
        await rig.snapshotter.take()
        for trial, gone in enumerate(combinations(range(scheme.total), scheme.parity_shards)):
            left = {url: store for number, (url, store) in enumerate(rig.stores.items()) if number not in gone}
            async with recovered_rig(rig, place(tmp_path, str(trial)), moved(left)) as (other, result):
                assert sorted(result.stores_absent) == [f"d{number}" for number in gone]
                assert result.unreadable == []
                assert {member.url for member in other.chunks.stores if member.store} >= set(moved(left))
                for body, content in zip(BODIES, other.held, strict=True):
                    assert await other.get(content) == body
                assert (await other.check()).clean is not bool(gone)


async def test_content_stored_since_the_snapshot_is_found_by_content(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        await rig.put(BODIES[0])
        await rig.snapshotter.take()
        late = await rig.put(BODIES[1])
        rig.held.remove(late)
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, result):
            assert (result.packs_added, result.chunks_moved) == (1, 0)
            assert result.chunks_added == len(late.manifest.chunks)
            await check_all(other)
            assert await other.get(late) == BODIES[1]
            before = other.chunks.counters.stored_bytes
            await other.put(BODIES[1])
            assert other.chunks.counters.stored_bytes == before


@pytest.mark.parametrize("collected", [False, True])
async def test_what_was_repacked_since_the_snapshot_is_found_again(tmp_path: Path, collected: bool) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        for body in BODIES:
            await rig.put(body)
        await rig.snapshotter.take()
        assert (await rig.repacker.run()).packs > 1
        if collected:
            await rig.collector.run()
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, result):
            assert result.packs_added == 1
            assert (result.chunks_moved > 0) is collected
            await check_all(other)
            await other.collector.run()
            await check_all(other)


async def test_a_repack_whose_old_packs_are_half_deleted(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        for body in BODIES:
            await rig.put(body)
        await rig.snapshotter.take()
        old = {row[0].hex() for row in await rig.rows(sa.select(s.packs.c.id))}
        await rig.repacker.run()
        for store in list(rig.stores.values())[:2]:
            for info in [each async for each in store.list("shards/")]:
                if info.key.rpartition("/")[2].partition(".")[0] in old:
                    await store.delete(info.key)
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, result):
            assert result.chunks_moved > 0
            for body, content in zip(BODIES, other.held, strict=True):
                assert await other.get(content) == body
            await other.collector.run()
            await check_all(other)


async def test_shards_that_are_gone_are_queued_and_moved_ones_found(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        for body in BODIES:
            await rig.put(body)
        await rig.snapshotter.take()
        stores = rig.chunks.stores
        await stores.set_state(stores.by_name("d0"), "draining")
        await rig.repairer.run()
        await rig.wipe(1)
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, result):
            assert result.shards_missing == await other.repairer.backlog() > 0
            used = dict(
                await other.db.read(lambda tx: tx.rows(prepared(sa.select(s.stores.c.name, s.stores.c.used_bytes))))
            )
            assert used["d0"] == used["d1"] == 0 < used["d2"], "drained and wiped stores are counted as empty"
            await check_all(other)


async def test_a_store_added_since_the_snapshot_gets_a_row(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        await rig.put(BODIES[0])
        await rig.snapshotter.take()
        stores = rig.chunks.stores
        await stores.add("d9", "memory:d9", "zone9")
        await stores.set_state(stores.by_name("d0"), "lost")
        await rig.repairer.run()
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, result):
            assert len(result.stores_added) == 1
            member = other.chunks.stores.by_name(result.stores_added[0])
            assert (member.url, member.zone) == ("memory:d9", member.name)
            await check_all(other)


async def test_accounts_made_since_the_snapshot_are_unknown(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none") as rig:
        await rig.put(BODIES[0])
        await rig.snapshotter.take()
        domain_id = await rig.db.write(lambda tx: rig.chunks.create_domain(tx, new_id()))
        stranger = await rig.chunks.domain(domain_id)
        await rig.chunks.write(stranger, pieces(BODIES[1]))
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, result):
            assert result.chunks_unknown > 0
            await check_all(other)
            await other.collector.run()
            assert len((await other.keys_in_stores())[0]) == 1


async def test_a_damaged_newest_snapshot_gives_way_to_an_older_one(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        await rig.put(BODIES[0])
        first = await rig.snapshotter.take()
        await rig.put(BODIES[1])
        second = await rig.snapshotter.take()
        for store in rig.stores.values():
            for snapshot_id, name in await snapshot_objects(store):
                if snapshot_id == second.snapshot_id and name != "head":
                    key = f"{PREFIX}{snapshot_id.hex()}/{name}"
                    raw = bytearray(await store.get(key))
                    raw[-1] ^= 1
                    await store.put(key, [raw])
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, result):
            assert result.snapshot is not None
            assert result.snapshot.snapshot_id == first.snapshot_id
            assert second.snapshot_id.hex() in result.unreadable[0]
            assert await other.get(rig.held[0]) == BODIES[0]
            assert await other.get(rig.held[1]) == BODIES[1]


async def test_a_damaged_head_is_read_from_another_store(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(3)", stores=3) as rig:
        await rig.put(BODIES[0])
        info = await rig.snapshotter.take()
        for damaged in (b"", b"rubbish", bytes(200)):
            await next(iter(rig.stores.values())).put(head_key(info.snapshot_id), [damaged])
            async with recovered_rig(rig, place(tmp_path, f"new{len(damaged)}"), rig.stores) as (other, _):
                await check_all(other)


async def test_the_wrong_key_no_snapshot_and_strangers_are_told(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none") as rig:
        await rig.put(BODIES[0])
        with pytest.raises(DataLost, match="name more of the hive's stores"):
            async with recovered_rig(rig, place(tmp_path, "a"), rig.stores):
                pass
        await rig.snapshotter.take()
        with pytest.raises(KeyWrong):
            async with recovered_rig(rig, place(tmp_path, "b"), rig.stores, master=MasterKey.create()):
                pass
        store = next(iter(rig.stores.values()))
        with pytest.raises(Conflict, match="copies of one store"):
            async with recovered_rig(rig, place(tmp_path, "c"), {"memory:x": store, "memory:y": store}):
                pass


async def test_a_snapshot_while_users_write_is_one_state(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none") as rig:
        contents = await asyncio.gather(*(rig.put(body) for body in BODIES[:2]))
        taken, *_ = await asyncio.gather(rig.snapshotter.take(), *(rig.put(body) for body in BODIES[2:]))
        assert taken.parts == 1
        async with recovered_rig(rig, place(tmp_path, "new"), rig.stores) as (other, _):
            for body, content in zip(BODIES, contents, strict=False):
                assert await other.get(content) == body


async def test_only_the_newest_snapshots_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        snapshotter = rig.snapshotter
        rig.faults[0].script(Fault("put", Kind.GONE, times=None, key_prefix=PREFIX))
        rig.faults[1].script(Fault("put", Kind.GONE, times=1, key_prefix=PREFIX, skip=1))
        taken = []
        for _ in range(2):
            with pytest.raises(Exception, match="snapshot"):
                await snapshotter.take()
        rig.faults[0].heal()
        rig.faults[1].heal()
        for member in rig.chunks.stores:
            member.failures = 0
        for _ in range(5):
            taken.append((await snapshotter.take()).snapshot_id)
            await snapshotter.prune()
        for store in rig.stores.values():
            assert sorted({snapshot_id for snapshot_id, _ in await snapshot_objects(store)}) == taken[-3:]


async def test_an_unfinished_snapshot_is_left_alone_while_a_store_is_down(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2) as rig:
        store = list(rig.stores.values())[1]
        leftover = f"{PREFIX}{bytes(16).hex()}/000000.1"
        await store.put(leftover, [b"part"])
        await rig.snapshotter.take()
        member = rig.chunks.stores.by_name("d0")
        kept, member.store = member.store, None
        await rig.snapshotter.prune()
        assert (await store.stat(leftover)).size_bytes == 4
        member.store = kept
        await rig.snapshotter.prune()
        assert leftover not in [info.key async for info in store.list(PREFIX)]
