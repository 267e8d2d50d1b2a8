"""Whole histories of a grid: failing servers and jobs, and a crash at every step of each history."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from skep.base.errors import GridFull, InUse, NotFound, SkepError
from skep.deploy.grid import SliceGrid
from skep.testing.clock import FakeClock

from .fleet_world import World, check_agreement


async def play(grid: SliceGrid, world: World, clock: FakeClock, known: dict[str, bool], steps: int) -> None:
    """Random orders, some at the same time. ``known``: what the caller was told of each slice; absent while asked."""
    chance, numbers = world.chance, iter(range(1_000_000))

    async def add() -> None:
        slice_id = f"app{chance.randrange(3)}.web.{next(numbers)}"
        try:
            await grid.add(slice_id, chance.choice((128, 256, 512, 1024, 1500)), group=slice_id[:4])
        except SkepError:
            return
        known[slice_id] = True

    async def remove() -> None:
        alive = [slice_id for slice_id, there in known.items() if there]
        if not alive:
            return
        slice_id = chance.choice(alive)
        del known[slice_id]
        try:
            await grid.remove(slice_id)
        except (InUse, NotFound):
            known[slice_id] = True
            return
        except SkepError:
            return
        known[slice_id] = False

    for _ in range(steps):
        orders = [chance.choice((add, add, remove))() for _ in range(chance.choice((1, 1, 3)))]
        await asyncio.gather(*orders)
        clock.jump(chance.choice((1, 10, 60)))
        if chance.random() < 0.5:
            await grid.tick()


async def remove_at_last(grid: SliceGrid, slice_id: str, known: dict[str, bool]) -> None:
    """Remove it, as far as that succeeds."""
    known.pop(slice_id, None)
    try:
        await grid.remove(slice_id)
    except SkepError:
        return
    known[slice_id] = False


async def settle(grid: SliceGrid, world: World, clock: FakeClock) -> None:
    """With no more failures, care brings the grid to rest."""
    world.fault_rate = 0.0
    for _ in range(6):
        clock.jump(60)
        await grid.tick()


@pytest.mark.parametrize("seed", range(25))
async def test_failing_handlers_leave_no_orphan_and_no_double(seed: int, tmp_path: Path) -> None:
    world, clock = World(random.Random(seed), fault_rate=0.15), FakeClock()
    grid = world.grid(tmp_path / "grid.json", clock)
    await grid.open()
    known: dict[str, bool] = {}
    await play(grid, world, clock, known, 40)
    await settle(grid, world, clock)
    check_agreement(grid, world)
    there = {entry.slice.id for entry in grid.slices}
    assert {slice_id for slice_id, alive in known.items() if alive} <= there
    assert not {slice_id for slice_id, alive in known.items() if not alive} & there
    again = world.grid(tmp_path / "grid.json", clock)
    await again.open()
    check_agreement(again, world)


@pytest.mark.parametrize("seed", range(15))
async def test_lost_servers_lose_no_job_and_start_none_twice(seed: int, tmp_path: Path) -> None:
    world, clock = World(random.Random(500 + seed), fault_rate=0.1), FakeClock()
    grid = world.grid(tmp_path / "grid.json", clock)
    await grid.open()
    known: dict[str, bool] = {}
    lost = 0
    for _ in range(8):
        await play(grid, world, clock, known, 6)
        there = [block.facts.id for block in grid.blocks if grid.block_state(block.facts.id) == "open"]
        if there:
            server = world.chance.choice(there)
            world.lose(server)
            await grid.lost(server)
            lost += 1
        if world.chance.random() < 0.5:
            await grid.tick()
    await settle(grid, world, clock)
    for server in [block.facts.id for block in grid.blocks if grid.block_state(block.facts.id) == "lost"]:
        await grid.forget(server)
    await settle(grid, world, clock)
    check_agreement(grid, world)
    there_now = {entry.slice.id for entry in grid.slices}
    assert lost > 3
    assert {slice_id for slice_id, alive in known.items() if alive} <= there_now
    assert not {slice_id for slice_id, alive in known.items() if not alive} & there_now


@pytest.mark.parametrize("seed", range(6))
async def test_a_crash_at_any_step_leaves_the_old_or_the_new(seed: int, tmp_path: Path) -> None:
    world, clock, file = World(random.Random(1000 + seed), fault_rate=0.05), FakeClock(), tmp_path / "grid.json"
    grid = world.grid(file, clock)
    await grid.open()
    known: dict[str, bool] = {}
    pictures: list[tuple[Path, World, dict[str, bool], str]] = []

    def take() -> None:
        place, twin = world.picture(file, tmp_path / f"crash-{len(pictures)}.json")
        pictures.append((place, twin, dict(known), world.calls[-1]))

    world.at_step = take
    await play(grid, world, clock, known, 30)
    for entry in grid.slices:
        await remove_at_last(grid, entry.slice.id, known)
    for _ in range(4):
        clock.jump(60)
        await grid.tick()
    assert len(pictures) > 60
    assert any("destroy" in last for *_, last in pictures)
    for place, twin, told, last in pictures:
        reborn = twin.grid(place, FakeClock(clock.now_us()))
        await reborn.open()
        check_agreement(reborn, twin)
        there = {entry.slice.id for entry in reborn.slices}
        assert {slice_id for slice_id, alive in told.items() if alive} <= there, last
        assert not {slice_id for slice_id, alive in told.items() if not alive} & there, last


async def test_moves_happen_and_servers_are_given_back(tmp_path: Path) -> None:
    """The histories above are worth something only if drains and moves occur in them."""
    moved = destroyed = made_room = 0
    for seed in range(6):
        world, clock = World(random.Random(seed)), FakeClock()
        grid = world.grid(None, clock)
        await grid.open()
        await play(grid, world, clock, {}, 60)
        destroyed += sum(call.startswith("destroy") for call in world.calls)
        made_room += sum(decision.what == "make-room" for decision in grid.decisions)
        moved += sum(len(decision.moves) for decision in grid.decisions)
    assert destroyed > 3
    assert moved > 3
    assert made_room > 0


async def test_with_no_credit_and_no_autosize_nothing_moves() -> None:
    world, clock = World(random.Random(3)), FakeClock()
    grid = world.grid(None, clock, autosize=False, moves_per_departure=0.0)
    await grid.open()
    grid._ledger.state.move_credit = 0.0
    await play(grid, world, clock, {}, 60)
    assert not any(decision.moves for decision in grid.decisions)


async def test_full_is_said_with_what_to_do() -> None:
    world, clock = World(random.Random(1)), FakeClock()
    grid = world.grid(None, clock, max=1)
    await grid.open()
    await grid.add("a.web.1", 1500)
    with pytest.raises(GridFull, match="raise max"):
        await grid.add("a.web.2", 1500)
    with pytest.raises(GridFull, match="none can be rented"):
        await grid.add("a.web.3", 99_000)
    check_agreement(grid, world)
