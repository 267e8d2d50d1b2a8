"""The set of stores: adding, recognising, probing, back-off, states, removal."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import (
    AlreadyExists,
    Conflict,
    CorruptRecord,
    InUse,
    InvalidName,
    StoreFull,
    StoreNotFound,
    StoreReadOnly,
    StoreUnavailable,
)
from skep.base.ids import new_id
from skep.crypto.keys import MasterKey
from skep.db import schema as s
from skep.durability.member import DOWN_MAX_S, FAILURES_UNTIL_DOWN, Member
from skep.durability.storeset import StoreSet
from skep.stores.drivers.memory import MemoryStore
from skep.stores.identity import StoreIdentity
from skep.stores.protocol import Usage
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.clock import FakeClock
from skep.testing.durable import HIVE_ID, Places, Rig, open_rig
from skep.testing.stores import memory_store

BODY = random.Random(2).randbytes(50_000)


async def reopened(rig: Rig, places: Places, *, hive_id: bytes = HIVE_ID, master: MasterKey | None = None) -> StoreSet:
    """As after a restart."""
    stores = StoreSet(rig.db, (master or rig.master).hive_keys(), hive_id, places.open, clock=rig.clock)
    await stores.load()
    return stores


async def test_what_is_added_is_there_after_a_restart(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        added = await rig.chunks.stores.add("disk2", "memory:disk2", "cellar", 1 << 40, b"s3cret")
        stores = await reopened(rig, Places(rig.stores))
        member = stores.by_name("disk2")
        assert (member.id, member.url, member.zone, member.capacity_bytes) == (
            added.id,
            "memory:disk2",
            "cellar",
            1 << 40,
        )
        assert (member.secret, member.state, member.down) == (b"s3cret", "active", False)
        assert "s3cret" not in repr(member)
        assert [each.name for each in stores] == ["d0", "disk2"]
        await stores.close()


async def test_secrets_are_sealed_at_rest(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.chunks.stores.add("disk2", "memory:disk2", "", secret=b"s3cret")
        ((sealed, zone),) = await rig.rows(
            sa.select(s.stores.c.sealed_secret, s.stores.c.zone).where(s.stores.c.name == "disk2")
        )
        assert zone == "disk2"  # its own, unless one is named
        assert b"s3cret" not in sealed
        with pytest.raises(CorruptRecord):
            await reopened(rig, Places(rig.stores), master=MasterKey.create())


@pytest.mark.parametrize("name", ["", "a b", "ä/b", "x" * 65, "né\n"])
async def test_names_are_words(tmp_path: Path, name: str) -> None:
    async with open_rig(tmp_path) as rig:
        with pytest.raises(InvalidName):
            await rig.chunks.stores.add(name, "memory:new", "z")


async def test_a_store_is_added_once(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        for name, url in (("d0", "memory:other"), ("other", "memory:d0")):
            with pytest.raises(AlreadyExists):
                await rig.chunks.stores.add(name, url, "z")
        with pytest.raises(StoreNotFound):
            rig.chunks.stores.by_name("other")


async def test_another_hives_place_is_refused(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        foreign = memory_store()
        await foreign.claim(new_id(), new_id())
        rig.stores["memory:foreign"] = foreign
        with pytest.raises(Conflict, match="another hive"):
            await rig.chunks.stores.add("foreign", "memory:foreign", "z")
        assert len(rig.chunks.stores) == 1
        assert await rig.rows(sa.select(s.stores.c.name)) == [("d0",)]


async def test_a_place_that_is_not_mounted_or_someone_elses_is_not_used(tmp_path: Path) -> None:
    async with open_rig(tmp_path, stores=3) as rig:
        foreign = memory_store()
        await foreign.claim(new_id(), new_id())
        shelves = {**rig.stores, "memory:d1": memory_store(), "memory:d2": foreign}
        stores = await reopened(rig, Places(shelves))
        assert [member.down for member in stores] == [False, True, True]
        assert "is the disk mounted?" in (stores.by_name("d1").error or "")
        assert "another store" in (stores.by_name("d2").error or "")
        assert [each.store_id for each in await stores.candidates()] == [stores.by_name("d0").id]
        await stores.close()


async def test_a_store_that_comes_back_is_found_by_the_probe(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, stores=2, clock=clock) as rig:
        shelves = {**rig.stores, "memory:d1": memory_store()}
        places = Places(shelves)
        stores = await reopened(rig, places)
        member = stores.by_name("d1")
        assert await stores.probe() == []
        places.behind["memory:d1"] = rig.stores["memory:d1"]  # mounted now
        assert member.resting
        assert await stores.probe() == []  # it has its pause
        await clock.advance(DOWN_MAX_S)
        assert await stores.probe() == [member]
        assert (member.down, member.error) == (False, None)
        await stores.close()


async def test_failures_in_a_row_make_it_rest_longer_and_longer(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_rig(tmp_path, clock=clock) as rig:
        stores, (member,) = rig.chunks.stores, rig.chunks.stores
        rig.faults[0].script(Fault("usage", Kind.GONE, times=None))
        for number in range(FAILURES_UNTIL_DOWN):
            assert not member.down, number
            await stores.refresh_usage(member)
        assert member.down
        assert await stores.candidates() == []
        pauses = []
        for _ in range(12):
            began = clock.monotonic_s()
            pauses.append(member.down_until_s - began)
            await clock.advance(pauses[-1])
            await stores.probe()
        assert pauses[:4] == [2.0, 4.0, 8.0, 16.0]
        assert pauses[-1] == DOWN_MAX_S
        rig.faults[0].heal()
        await clock.advance(DOWN_MAX_S)
        assert await stores.probe() == [member]


async def test_one_success_ends_a_row_of_failures(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        stores, (member,) = rig.chunks.stores, rig.chunks.stores
        rig.faults[0].script(Fault("usage", Kind.GONE, times=FAILURES_UNTIL_DOWN - 1))
        for _ in range(FAILURES_UNTIL_DOWN + 1):
            await stores.refresh_usage(member)
        assert (member.failures, member.down) == (0, False)


async def test_a_call_that_hangs_is_ended_and_counts_as_a_failure(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        stores, (member,) = rig.chunks.stores, rig.chunks.stores
        rig.faults[0].script(Fault("usage", Kind.CANCELLED))
        store = member.store
        assert store is not None
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            await stores.call(member, store.usage, timeout_s=0.02)
        assert member.failures == 1
        assert "did not answer" in (member.error or "")


@pytest.mark.parametrize(("error", "full"), [(StoreFull("full"), True), (StoreReadOnly("read-only"), False)])
async def test_full_and_readonly_are_not_down(tmp_path: Path, error: StoreFull | StoreReadOnly, full: bool) -> None:
    async def refuse() -> None:
        raise error

    async with open_rig(tmp_path) as rig:
        stores, (member,) = rig.chunks.stores, rig.chunks.stores
        member.usage = Usage(0, 10 << 30)
        for _ in range(5):
            with pytest.raises(type(error)):
                await stores.call(member, refuse)
        assert not member.down
        assert (member.free_bytes == 0) is full


def member(**facts: object) -> Member:
    return Member(new_id(), "a", "memory:", "z", None, "active", FakeClock(), **facts)  # type: ignore[arg-type]


def test_room_is_the_least_of_what_limits_it() -> None:
    one = member(reserve_bytes=100)
    assert one.free_bytes is None
    one.usage = Usage(0, 1000)
    assert one.free_bytes == 900
    one.wrote(300)
    assert (one.free_bytes, one.used_bytes) == (600, 300)
    one.capacity_bytes = 500
    assert one.free_bytes == 200
    one.wrote(700)
    assert one.free_bytes == 0


def test_latency_follows_the_slow_tail() -> None:
    chance, one = random.Random(5), member()
    for _ in range(20_000):
        one.note_latency(chance.uniform(0.0, 0.1))
    assert 0.08 < one.latency_s < 0.11


@pytest.mark.parametrize("state", ["readonly", "draining", "lost"])
async def test_only_active_stores_take_shards(tmp_path: Path, state: str) -> None:
    async with open_rig(tmp_path, stores=2) as rig:
        stores = rig.chunks.stores
        await stores.set_state(stores.by_name("d0"), state)
        assert [each.zone for each in await stores.candidates()] == ["zone1"]
        again = await reopened(rig, Places(rig.stores))
        assert again.by_name("d0").state == state
        await again.close()
        with pytest.raises(InvalidName, match="active"):
            await stores.set_state(stores.by_name("d0"), "upside-down")


async def test_a_store_with_shards_stays(tmp_path: Path) -> None:
    async with open_rig(tmp_path, stores=1) as rig:
        content = await rig.put(BODY)
        stores, (only,) = rig.chunks.stores, rig.chunks.stores
        with pytest.raises(InUse, match="draining"):
            await stores.remove(only)
        await rig.release(content)
        await rig.collector.run()
        await stores.remove(only)
        assert (len(stores), await rig.rows(sa.select(s.stores.c.id))) == (0, [])


async def test_a_shard_on_a_store_that_was_removed_meanwhile_is_missing(tmp_path: Path) -> None:
    """The store goes between the put and the commit: the pack is degraded, not lost sight of."""
    async with open_rig(tmp_path, "raid1(2)", stores=3) as rig:
        put = rig.faults[0].put
        stores = rig.chunks.stores

        async def put_and_go(key: str, parts: object) -> None:
            await put(key, parts)  # type: ignore[arg-type]
            await stores.remove(stores.by_name("d0"))

        rig.faults[0].put = put_and_go  # type: ignore[method-assign]
        bodies = [random.Random(seed).randbytes(1000) for seed in range(8)]
        contents = [await rig.put(body) for body in bodies]  # one of them has a shard on d0
        assert len(stores) == 2
        assert await rig.repairer.backlog() == 1
        assert await rig.repairer.run() == 1
        assert [await rig.get(content) for content in contents] == bodies
        assert (await rig.check(read_data=True)).clean


async def test_used_bytes_are_what_lies_there(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=4) as rig:
        contents = [await rig.put(random.Random(seed).randbytes(70_000)) for seed in range(5)]
        await rig.wipe(0)
        await rig.scrubber.run()
        await rig.repairer.run()
        await rig.release(contents.pop())
        await rig.collector.run()
        await rig.repacker.run()
        await rig.collector.run()
        await rig.chunks.stores.probe()
        for held, store in zip(rig.chunks.stores, rig.stores.values(), strict=True):
            assert held.used_bytes == sum([info.size_bytes async for info in store.list("shards/")])


class Silent(MemoryStore):
    """A store that takes the question whose it is, and never answers."""

    async def identity(self) -> StoreIdentity | None:
        await asyncio.Event().wait()
        raise AssertionError("never")


async def test_a_store_that_never_says_whose_it_is_does_not_hold_up_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skep.durability.storeset.RECOGNISE_TIMEOUT_S", 0.05)
    async with open_rig(tmp_path, stores=2) as rig:
        places = Places({**rig.stores, "memory:d0": Silent()})
        async with asyncio.timeout(10):
            stores = await reopened(rig, places)
            assert (stores.by_name("d0").down, stores.by_name("d1").down) == (True, False)
            assert "did not answer" in str(stores.by_name("d0").error)
            await stores.probe()  # nor the worker that looks after stores
        places.behind["memory:d0"] = rig.stores["memory:d0"]
        await stores.revive(stores.by_name("d0"))
        assert not stores.by_name("d0").down
        await stores.close()
