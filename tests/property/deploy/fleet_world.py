"""A fleet as the grid's handlers see it: servers, what runs on them, failures, and pictures taken at every step."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from skep.base.errors import Unavailable
from skep.deploy.grid import BlockFacts, CreateOrder, ServerType, Size, Slice, SliceGrid
from skep.testing.clock import FakeClock

GIB = 1 << 30
TYPE = ServerType("small", Size(cpu_millis=2_000, memory_bytes=2 * GIB), price=1.0)


class World:
    """``running`` has server id -> ids of what runs there. ``failing`` decides, by event, whether a call fails, and
    whether it had its effect when it does."""

    def __init__(self, chance: random.Random, fault_rate: float = 0.0) -> None:
        self.running: dict[str, set[str]] = {}
        self.chance = chance
        self.fault_rate = fault_rate
        self.calls: list[str] = []
        self.gone: set[str] = set()
        """Servers that do not answer: what is asked of them fails and has no effect."""
        self.at_step: Callable[[], None] = lambda: None

    def grid(self, file: Path | None, clock: FakeClock, **options: object) -> SliceGrid:
        """A grid whose handlers change this world."""
        settings = {"autosize": True, "max": 6, "linger_s": 50.0, "gap_s": 20.0, "cooldown_s": 20.0, **options}
        grid = SliceGrid(file=file, clock=clock, types=(TYPE,), **settings)

        @grid.on("create")
        async def create(order: CreateOrder) -> dict[str, object]:
            await self._step("create", order.id, lambda: self.running.setdefault(order.id, set()))
            return {"address": f"address of {order.id}"}

        @grid.on("destroy")
        async def destroy(block: BlockFacts) -> None:
            await self._step("destroy", block.id, lambda: self.running.pop(block.id, None))

        @grid.on("added")
        async def added(block: BlockFacts, item: Slice) -> None:
            self._answers(block.id)
            await self._step("added", f"{block.id} {item.id}", lambda: self.running[block.id].add(item.id))

        @grid.on("removed")
        async def removed(block: BlockFacts, item: Slice) -> None:
            self._answers(block.id)
            await self._step("removed", f"{block.id} {item.id}", lambda: self.running[block.id].discard(item.id))

        return grid

    def lose(self, server: str) -> None:
        """The server is gone with all that ran there."""
        self.gone.add(server)
        self.running[server].clear()

    def _answers(self, server: str) -> None:
        if server in self.gone:
            raise Unavailable(f"{server} does not answer")

    async def _step(self, event: str, what: str, effect: Callable[[], object]) -> None:
        self.calls.append(f"{event} {what}")
        self.at_step()
        fails = self.chance.random() < self.fault_rate
        if not fails or self.chance.random() < 0.5:
            effect()
        self.at_step()
        if fails:
            raise Unavailable(f"{event} {what} failed")

    def picture(self, file: Path, place: Path) -> tuple[Path, World]:
        """The file and the world as they are now, as a crash would leave them."""
        if file.exists():
            shutil.copy(file, place)
        twin = World(random.Random(0))
        twin.running = copy.deepcopy(self.running)
        return place, twin


def check_agreement(grid: SliceGrid, world: World) -> None:
    """What the grid believes is what there is: no orphan, no double, no server that nobody knows."""
    believed: dict[str, set[str]] = {block.facts.id: set() for block in grid.blocks}
    for entry in grid.slices:
        assert entry.state == "running", entry
        believed[entry.block].add(entry.slice.id)
    assert believed == world.running
    for block in grid.blocks:
        assert set(block.slices) == believed[block.facts.id]
        assert min(block.cpu, block.memory, block.disk) >= 0
