"""What lies in the hive's own house, its data directory: a read cache that spoils, and all of it, which may be lost.

The cache may be short, wrong or gone at any moment; nobody may notice but by the time that a read takes. The whole
directory is lost after a snapshot of the metadata, and after more of what moves shards and packs about without changing
what anybody has. Whatever was there at the snapshot must come back from the stores and the master key, byte for byte,
though the process may die while it recovers, and up to m stores are found again only later.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from skep.base.errors import AlreadyExists, SkepError
from skep.server.compose import Hive
from skep.server.options import CACHE_DIRECTORY
from skep.server.recovering import rebuild
from skep.testing.simulation.history import check_rows, settle
from skep.testing.simulation.places import CALM
from skep.testing.simulation.world import Broken, World

if TYPE_CHECKING:
    from skep.testing.simulation.run import Run

SPOILS_S = 10.0
"""Mean time until something happens to the cache."""
CRASH_SPOILS = 3
"""Blocks that a crash leaves torn: nothing of the cache is synced."""
MOVES = 3


def spoil(directory: Path, world: World, blocks: int) -> None:
    """Damage some blocks of the cache: bits turn, ends are missing, files are gone."""
    found = sorted((directory / CACHE_DIRECTORY).glob("??/*"))
    for path in world.house.sample(found, min(blocks, len(found))):
        raw = bytearray(path.read_bytes())
        match world.house.randrange(3):
            case 0 if raw:
                raw[world.house.randrange(len(raw))] ^= 1 << world.house.randrange(8)
                path.write_bytes(raw)
            case 1:
                path.write_bytes(raw[: world.house.randrange(len(raw) + 1)])
            case _:
                path.unlink()
        world.note("the cache is spoiled at", path.name)


async def spoil_now_and_then(directory: Path, world: World) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(world.house.expovariate(1 / SPOILS_S))
        spoil(directory, world, 1)


def clear(directory: Path) -> None:
    """Lose the data directory's content."""
    shutil.rmtree(directory)
    directory.mkdir(mode=0o700)


def house_deaths(run: Run) -> int:
    """How many recoveries are cut short."""
    return run.world.house.choice((0, 1, 1, 2))


async def last_hours(run: Run) -> None:
    """All is well and a snapshot is taken; then shards and packs still move, and that is the end of the directory."""
    house = run.world.house
    hive = await run.open()
    run.connect(hive)
    await settle(run, hive)
    run.bound.closed = True
    for place in run.places:
        place.capacity_bytes = None
    await hive.keepers.snapshotter.take()
    run.world.note("a snapshot is taken")
    run.away, run.recoveries = [], 0
    if house.random() < 0.6:
        for _ in range(MOVES):
            await _move_about(run, hive, house)
    else:  # what is away was not moved, and has what the snapshot says
        run.away = house.sample([each for each in run.places if not each.dead], run.scheme.parity_shards)
    await hive.close()
    run.world.note("the data directory is lost")


async def _move_about(run: Run, hive: Hive, house: random.Random) -> None:
    """What the snapshot does not know: it changes where things lie, and nothing else."""
    keepers, what = hive.keepers, house.choice(("drain", "repack", "rebalance", "collect"))
    run.world.note("after the snapshot:", what)
    try:
        match what:
            case "drain":
                member = house.choice([each for each in hive.stores if each.state == "active"])
                await hive.stores.set_state(member, "draining")
                await keepers.repairer.run()
            case "repack":
                await keepers.repacker.run()
                await asyncio.sleep(run.grace_s + 1)
                await keepers.collector.run()
            case "rebalance":
                plan, _ = await keepers.rebalancer.propose()
                await keepers.rebalancer.start(plan.version)
                await asyncio.sleep(60)
            case _:
                await keepers.collector.run(grace_s=0.0)
    except SkepError as error:
        run.world.note("operator is refused:", error.code)


async def come_back(run: Run) -> None:
    """Recover from what stores there are, and look whether everything is as it was. Raises Broken."""
    for place in run.places:
        place.mood = CALM
    urls = [place.url for place in run.places if not place.dead and place not in run.away]
    run.recoveries += 1
    try:
        await rebuild(
            run.settings,
            run.master,
            urls,
            clock=run.clock,
            report=lambda step, done, total: None,
            driver=run.driver,
            engine=run.engine,
        )
    except AlreadyExists as error:  # the process died after the end of the last try
        if run.recoveries == 1:
            raise Broken(f"nothing was there to recover into, and the hive says: {error.message}") from error
    run.world.note("the hive is recovered")
    check_rows(run)
    hive = await run.open()
    run.connect(hive)
    try:
        for client in run.clients:
            await client.look()
    except SkepError as error:
        raise Broken(f"what was there at the snapshot cannot be read any more: {error.message}") from error
    await settle(run, hive)
    await hive.close()
