"""Users' own stores beside the hive's: what is written, repaired, drained, repacked, balanced and recovered stays
where its owner's policy says."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from skep.base.errors import Conflict, QuorumNotReached
from skep.base.ids import Id, new_id
from skep.db import schema as s
from skep.durability.pools import Placement, Policy
from skep.durability.rebalance import Rebalancer
from skep.durability.terms import Terms
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig, recovered_rig

ADA, BOB = new_id(), new_id()
CHANCE = random.Random(5)


def body(size: int = 300_000) -> bytes:
    return CHANCE.randbytes(size)


@asynccontextmanager
async def shared(
    path: Path, scheme: str = "none", *, hive: int = 2, own: int = 2
) -> AsyncIterator[tuple[Rig, Rig, Rig]]:
    """A hive with stores of its own, of Ada's and of Bob's: (everybody's, Ada's, Bob's) view."""
    async with open_rig(path, scheme, stores=hive) as rig:
        for name, owner_id in (("ada", ADA), ("bob", BOB)):
            for number in range(own):
                await rig.chunks.stores.add(f"{name}{number}", f"memory:{name}{number}", "", owner_id=owner_id)
        yield rig, await as_owner(rig, ADA), await as_owner(rig, BOB)


async def as_owner(rig: Rig, owner_id: Id) -> Rig:
    domain_id = await rig.db.write(lambda tx: rig.chunks.create_domain(tx, owner_id))
    return replace(rig, keys=await rig.chunks.domain(domain_id), held=[])


async def say(rig: Rig, owner_id: Id, placement: Placement, **more: tuple[str, ...]) -> None:
    await rig.chunks.pools.set_policy("user", Policy(placement=placement, **more), owner_id)


async def places(rig: Rig) -> set[tuple[Id | None, str]]:
    """(owner of the pack, store) of every shard."""
    names = {member.id: member.name for member in rig.chunks.stores}
    rows = await rig.rows(
        sa.select(s.packs.c.owner_id, s.shards.c.store_id).join_from(
            s.packs, s.shards, s.shards.c.pack_id == s.packs.c.id
        )
    )
    return {(row[0], names[row[1]]) for row in rows}


async def test_own_stores_first_and_the_hives_for_the_others(tmp_path: Path) -> None:
    async with shared(tmp_path) as (rig, ada, bob):
        hers, his, ours = await ada.put(body()), await bob.put(body()), await rig.put(body())
        small = [await each.put(b"small " + bytes([n])) for n, each in enumerate((ada, bob, rig))]
        owners = {
            owner: {name[:3] for whose, name in await places(rig) if whose == owner} for owner in (ADA, BOB, None)
        }
        assert {owner: {name.rstrip("01") for name in names} for owner, names in owners.items()} == {
            ADA: {"ada"}, BOB: {"bob"}, None: {"d"},
        }  # fmt: skip
        for view, contents in ((ada, [hers, small[0]]), (bob, [his, small[1]]), (rig, [ours, small[2]])):
            for content in contents:
                assert len(await view.get(content)) == content.size_bytes
        rig.held += [*ada.held, *bob.held]
        rows = await rig.rows(sa.select(s.packs.c.id))
        assert len(rows) == 6  # nobody shares a pack


async def test_own_first_falls_back_and_own_does_not(tmp_path: Path) -> None:
    async with shared(tmp_path) as (rig, ada, bob):
        for member in rig.chunks.stores:
            if member.owner_id is not None:
                await rig.chunks.stores.set_state(member, "readonly")
        await ada.put(body())
        assert {name[0] for _, name in await places(rig)} == {"d"}
        await say(rig, BOB, "own")
        with pytest.raises(QuorumNotReached, match="no store takes writes"):
            await bob.put(body())
        for member in rig.chunks.stores:
            if member.owner_id == BOB:
                await rig.chunks.stores.remove(member)
        with pytest.raises(QuorumNotReached, match="no store may hold this"):
            await bob.put(body())


async def test_what_own_stores_cannot_take_goes_to_zones_of_the_hive(tmp_path: Path) -> None:
    async with shared(tmp_path, "ec(2,2)", hive=3, own=1) as (rig, ada, _):
        await ada.put(body())
        names = {name for owner, name in await places(rig) if owner == ADA}
        assert names == {"ada0", "d0", "d1", "d2"}


async def test_a_slow_or_dead_store_of_one_holds_up_nobody_else(tmp_path: Path) -> None:
    async with shared(tmp_path) as (rig, ada, bob):
        await say(rig, ADA, "own")
        for fault in rig.faults[2:4]:
            fault.script(Fault("put", Kind.GONE, times=None))
        kept = await bob.put(b"his small file")
        with pytest.raises(QuorumNotReached):
            await ada.put(b"her small file")
        assert await bob.get(kept) == b"his small file"


async def test_content_that_must_lie_elsewhere_is_stored_anew(tmp_path: Path) -> None:
    async with shared(tmp_path) as (rig, ada, _):
        await say(rig, ADA, "hive")
        same = body()
        before = await ada.put(same)
        assert await places(rig) == {(None, name) for _, name in await places(rig) if name[0] == "d"}
        await say(rig, ADA, "own")
        await ada.put(same)
        await ada.put(same)  # known where it must be: not stored a third time
        assert len(await rig.rows(sa.select(s.packs.c.id).where(s.packs.c.retired_us.is_(None)))) == 1
        await rig.collector.run(grace_s=0.0)
        assert {name[:3] for _, name in await places(rig)} == {"ada"}
        assert await ada.get(before) == same  # the older version came along


async def test_jurisdictions_bind_hive_and_users(tmp_path: Path) -> None:
    async with shared(tmp_path, hive=3) as (rig, ada, _):
        for name, label in (("d0", "DE"), ("d1", "us"), ("ada0", "DE"), ("ada1", "US")):
            await rig.chunks.stores.change(rig.chunks.stores.by_name(name), terms=Terms(jurisdiction=label))
        await say(rig, ADA, "mixed", allowed=("de",))
        await rig.chunks.pools.set_policy("hive", Policy(forbidden=("US",)))
        for _ in range(12):
            await ada.put(body(70_000))
            await rig.put(body(70_000))
        found = await places(rig)
        assert {name for owner, name in found if owner == ADA} == {"ada0", "d0"}
        assert {name for owner, name in found if owner is None} == {"d0", "d2"}


async def test_draining_repairing_and_repacking_keep_to_the_pool(tmp_path: Path) -> None:
    async with shared(tmp_path, "raid1(2)", hive=2, own=3) as (rig, ada, bob):
        await say(rig, ADA, "own")
        views = [
            (view, await view.put(small)) for _ in range(6) for view in (ada, bob, rig) for small in [body(40_000)]
        ]
        await rig.chunks.stores.set_state(rig.chunks.stores.by_name("ada0"), "draining")
        await rig.chunks.stores.set_state(rig.chunks.stores.by_name("bob0"), "lost")
        await rig.repairer.run()
        assert await lawful(rig) == {ADA: {"ada1", "ada2"}, BOB: {"bob1", "bob2"}, None: {"d0", "d1"}}
        repacked = await rig.repacker.run()
        assert repacked.packs == 18
        assert len(await rig.rows(sa.select(s.packs.c.id).where(s.packs.c.retired_us.is_(None)))) == 3
        assert await lawful(rig) == {ADA: {"ada1", "ada2"}, BOB: {"bob1", "bob2"}, None: {"d0", "d1"}}
        for view, content in views:
            assert len(await view.get(content)) == content.size_bytes


async def lawful(rig: Rig) -> dict[Id | None, set[str]]:
    """By the owner of packs that live: the stores of their good shards."""
    names = {member.id: member.name for member in rig.chunks.stores}
    rows = await rig.rows(
        sa.select(s.packs.c.owner_id, s.shards.c.store_id)
        .join_from(s.packs, s.shards, s.shards.c.pack_id == s.packs.c.id)
        .where(s.packs.c.retired_us.is_(None), s.shards.c.state == "ok")
    )
    found: dict[Id | None, set[str]] = {}
    for owner, store_id in rows:
        found.setdefault(owner, set()).add(names[store_id])
    return found


async def test_the_last_own_store_cannot_be_drained_into_the_hives(tmp_path: Path) -> None:
    async with shared(tmp_path, own=1) as (rig, ada, _):
        await say(rig, ADA, "own")
        content = await ada.put(body())
        await rig.chunks.stores.set_state(rig.chunks.stores.by_name("ada0"), "draining")
        assert await rig.repairer.run() == 0
        assert await lawful(rig) == {ADA: {"ada0"}}
        await say(rig, ADA, "own-first")
        assert await rig.repairer.run() == 1
        assert {name[0] for name in (await lawful(rig))[ADA]} == {"d"}
        assert len(await ada.get(content)) == content.size_bytes


async def test_balancing_moves_nothing_between_owners(tmp_path: Path) -> None:
    async with shared(tmp_path, hive=1, own=1) as (rig, ada, _):
        for _ in range(12):
            await ada.put(body(60_000))
            await rig.put(body(60_000))
        for name, owner_id in (("ada9", ADA), ("d9", None)):
            await rig.chunks.stores.add(name, f"memory:{name}", "", owner_id=owner_id)
        balance = Rebalancer(rig.db, rig.chunks, rig.clock)
        plan, moves = await balance.propose()
        names = {member.id: member.name for member in rig.chunks.stores}
        assert {(names[move.source], names[move.target]) for move in moves} == {("ada0", "ada9"), ("d0", "d9")}
        assert (await balance.run(plan.version)).state == "done"
        assert await lawful(rig) == {ADA: {"ada0", "ada9"}, None: {"d0", "d9"}}
        plan, _ = await balance.propose()
        await say(rig, ADA, "hive")
        with pytest.raises(Conflict, match="changed"):
            await balance.start(plan.version)


async def test_metadata_lies_on_the_hives_stores_alone_and_recovery_knows_whose_all_is(tmp_path: Path) -> None:
    async with shared(tmp_path) as (rig, ada, _):
        await say(rig, ADA, "own")
        before = await ada.put(body())
        await rig.snapshotter.take()
        since = body()
        later = await ada.put(since)  # in a pack that the snapshot does not know
        for url, store in rig.stores.items():
            found = [info.key async for info in store.list("snapshots/")]
            assert bool(found) == url.startswith("memory:d")
        (tmp_path / "again").mkdir()
        async with recovered_rig(ada, tmp_path / "again", rig.stores) as (again, _):
            assert await again.get(before) == await ada.get(before)
            owners = {row[0] for row in await again.rows(sa.select(s.packs.c.owner_id))}
            assert owners == {ADA}
            assert again.chunks.pools.rule_of(ADA).placement == "own"
            assert again.chunks.pools.any_owned
            assert await again.get(later) == since
            assert {name[:3] for _, name in await places(again)} == {"ada"}


async def test_fsck_notices_a_pack_with_content_of_others(tmp_path: Path) -> None:
    async with shared(tmp_path) as (rig, ada, _):
        await ada.put(body())
        rig.held = ada.held
        assert [each.kind for each in (await ada.check()).findings] == []
        await rig.change(sa.update(s.packs).values(owner_id=BOB))
        assert "chunks of others" in (await ada.check()).findings[0].message


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_nothing_lies_where_it_must_not(tmp_path: Path, seed: int) -> None:
    """Writes, releases, drains, losses, repairs, repacks and rebalances in any order; then every byte is read."""
    chance = random.Random(seed)
    async with shared(tmp_path, "raid1(2)", hive=3, own=3) as (rig, ada, bob):
        await say(rig, ADA, "own")
        held: list[tuple[Rig, bytes, object]] = []
        balance = Rebalancer(rig.db, rig.chunks, rig.clock)
        for _ in range(30):
            match chance.choice(["put", "put", "put", "release", "state", "repair", "repack", "balance", "gc"]):
                case "put":
                    view, data = chance.choice([ada, bob, rig]), chance.randbytes(chance.choice([900, 90_000]))
                    held.append((view, data, await view.put(data)))
                case "release" if held:
                    view, _, content = held.pop(chance.randrange(len(held)))
                    await view.release(content)  # type: ignore[arg-type]
                case "state":
                    for group in ("ada", "bob", "d"):
                        member = rig.chunks.stores.by_name(f"{group}{chance.randrange(3)}")
                        others = [e for e in rig.chunks.stores if e.name.startswith(group) and e.state != "active"]
                        if not others:
                            await rig.chunks.stores.set_state(member, chance.choice(["draining", "readonly"]))
                        else:
                            await rig.chunks.stores.set_state(others[0], "active")
                case "repair":
                    await rig.repairer.run()
                case "repack":
                    await rig.repacker.run()
                case "balance":
                    plan, _ = await balance.propose()
                    await balance.run(plan.version)
                case "gc":
                    await rig.collector.run(grace_s=0.0)
            for owner, names in (await lawful(rig)).items():
                own = {ADA: ("ada",), BOB: ("bob", "d"), None: ("d",)}[owner]
                assert all(name.startswith(own) for name in names), (owner, names)
        for view, data, content in held:
            assert await view.get(content) == data  # type: ignore[arg-type]
