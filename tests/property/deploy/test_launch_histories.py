"""Histories of launches: pushes good and bad, hosts that fail, and an HQ that is killed at any outward step.

After each death a new HQ finds what is written down, and what runs is then exactly what was, or exactly what was to be.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from skep.base.errors import LocalFailure
from skep.deploy.launch.records import Plan, Request

from .launch_stacks import ENDS, GOOD, NEVER_WELL, shop
from .launch_world import HQ, Killed, World, check_agreement, quiet, rest, run

DEATHS: Counter[str] = Counter()
ORDERS_PER_HISTORY = 4


class History:
    """One seed's life: orders, with a death in most of them, and a look at what is left after each."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.world = World(seed, folder / "images")
        self.chance = self.world.chance
        self.seed = seed

    async def play(self) -> None:
        hq = self.world.hq()
        await hq.open()
        await quiet(self.deploy(hq))
        await rest(hq)
        await check_agreement(hq)
        for _ in range(ORDERS_PER_HISTORY):
            hq = await self.order(hq)
        await hq.launcher.close()

    async def order(self, hq: HQ) -> HQ:
        """One order under bad luck; the HQ that goes on afterwards, when all is at rest and agrees."""
        self.world.fault_rate = self.chance.choice((0.0, 0.0, 0.02, 0.1))
        before = await self.live(hq)
        hq.plans.clear()
        hq.life.dies_in = self.chance.choice((None, *[self.chance.randrange(1, 160)] * 3))
        try:
            await quiet(self.any_order(hq))
            await hq.launcher.idle()
            if self.chance.random() < 0.3:
                await hq.launcher.tick()
        except Killed:
            pass
        plans = list(hq.plans)
        if not hq.life.is_alive:
            hq = await self.reborn(hq)
        hq.life.dies_in = None
        await self.hosts_recover(hq)
        await rest(hq)
        await check_agreement(hq)
        check_old_or_new(before, await self.live(hq), plans)
        return hq

    async def reborn(self, hq: HQ) -> HQ:
        """The next HQ; some die again while they recover."""
        while True:
            await hq.die()
            hq = self.world.hq()
            hq.life.dies_in = self.chance.choice((None, None, self.chance.randrange(1, 60)))
            try:
                await hq.launcher.recover()
            except (Killed, LocalFailure):
                continue
            if not hq.life.is_alive:
                continue
            hq.life.dies_in = None
            return hq

    async def hosts_recover(self, hq: HQ) -> None:
        self.world.fault_rate = 0.0
        for name, host in self.world.hosts.items():
            host.is_down = False
            if hq.grid.block_state(name) == "lost":
                await quiet(hq.launcher.host_found(name))

    # --- orders ---------------------------------------------------------------------------------

    async def any_order(self, hq: HQ) -> None:
        order = self.chance.choice(
            (
                self.deploy,
                self.deploy,
                self.deploy,
                self.scale,
                self.restore,
                self.restart,
                self.trouble,
                self.kill,
                self.move,
            )
        )
        await order(hq)

    async def deploy(self, hq: HQ) -> None:
        chance = self.chance
        stack = shop(
            chance.randrange(4),
            scale=chance.choice((1, 2, 3)),
            db=chance.choice((1, 1, 1, 2)),
            mail=chance.choice((2, 3)),
            run=chance.choice((GOOD, GOOD, GOOD, ENDS, NEVER_WELL)),
            domain=chance.choice(("a.test", "a.test", "b.test", "refused.test")),
            extra=chance.choice(("", "fixed", "fixed", "files", "no-mail")),
        )
        await hq.launcher.deploy(Request(stack=stack, tree=self.world.tree), hq.say)

    async def scale(self, hq: HQ) -> None:
        await hq.launcher.scale("shop", {"web": self.chance.randrange(4)}, hq.say)

    async def restore(self, hq: HQ) -> None:
        await hq.launcher.rollback("shop", None, hq.say)

    async def restart(self, hq: HQ) -> None:
        await hq.launcher.restart("shop", self.chance.choice(((), ("db",), ("web",))), hq.say)

    async def kill(self, hq: HQ) -> None:
        await hq.launcher.kill("shop", hq.say)

    async def move(self, hq: HQ) -> None:
        """The grid moves a slice to another server."""
        entries = [entry for entry in hq.grid.slices if entry.slice.movable and not entry.slice.ports]
        if entries:
            await hq.grid.move(self.chance.choice(entries).slice.id, self.chance.choice(sorted(self.world.hosts)))

    async def trouble(self, hq: HQ) -> None:
        """A host freezes, or is turned off and on, under a push or without one."""
        name = self.chance.choice(sorted(self.world.hosts))
        host = self.world.hosts[name]
        if self.chance.random() < 0.4:
            host.reboot()
        else:
            host.is_down = True
        if self.chance.random() < 0.5:
            await self.deploy(hq)
        if host.is_down and self.chance.random() < 0.7:
            await hq.launcher.host_lost(name)
            await hq.launcher.tick()

    async def live(self, hq: HQ) -> frozenset[str]:
        return frozenset(one.id for one in await hq.journal.slices() if one.state == "live")


def check_old_or_new(before: frozenset[str], after: frozenset[str], plans: list[Plan]) -> None:
    """Each plan happened whole or not at all."""
    possible = {before}
    for plan in plans:
        possible |= {(state - frozenset(plan.ends)) | frozenset(plan.starts) for state in possible}
    assert after in possible, (sorted(after), [sorted(state) for state in possible])


def play(seed: int) -> None:
    """One history; an AssertionError names what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(seed, Path(folder))
        try:
            run(history.play)
        finally:
            DEATHS.update(history.world.deaths)


@pytest.mark.parametrize("first", range(0, 150, 25))
def test_a_kill_at_any_step_leaves_the_old_or_the_new(first: int) -> None:
    for seed in range(first, first + 25):
        play(seed)
    assert sum(DEATHS.values()) > 10


@pytest.mark.long
@pytest.mark.parametrize("first", range(1_000, 6_000, 250))
def test_thousands_of_histories(first: int) -> None:
    for seed in range(first, first + 250):
        play(seed)


def test_deaths_come_at_every_kind_of_step() -> None:
    if not DEATHS:
        pytest.skip("it counts what the histories before it did: run the whole file")
    kinds = {"journal plan", "journal slice", "grid file", "ensure", "stop", "remove", "route", "drained"}
    assert {kind for kind in kinds if not any(kind in death for death in DEATHS)} == set()


if os.environ.get("SKEP_HISTORY"):

    def test_one_history() -> None:
        play(int(os.environ["SKEP_HISTORY"]))
