"""What happens to a hive while its users work: weather at its stores, harm within the loss bound, and an operator.

Moods of stores (places.MOODS) take nothing away, so any number of stores may have any of them. What takes shards away
asks the world's bound first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from skep.base.errors import SkepError
from skep.server.compose import Hive
from skep.testing.simulation.history import check_rows
from skep.testing.simulation.places import CALM, MOODS, Place
from skep.testing.simulation.world import World

if TYPE_CHECKING:
    from skep.testing.simulation.run import Run

JUMP_MAX_S = 2 * 86_400.0
"""How far the wall clock is set in one go; all together stay below what the trash keeps."""
JUMPS_MAX_S = 10 * 86_400.0
LATE_POLL_S = 5.0
LOOK_S = 15.0
SWEEPS = 6
"""In a row: one alone seldom meets a pack on its way."""
WORKERS = ("gc", "repair", "scrub", "repack", "sweep", "audit", "snapshot", "stores", "retention", "digests")


class Trouble:
    """Makes trouble in one life of the hive."""

    def __init__(self, run: Run, hive: Hive) -> None:
        self._run = run
        self.hive = hive
        self._world: World = run.world
        self._chance = run.trouble_chance
        self._moods = MOODS

    async def go_on(self, pause_s: float) -> None:
        """One thing after another, until cancelled."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / pause_s))
            action = self._chance.choice(self._run.profile)
            try:
                await _ACTIONS[action](self)
            except SkepError as error:
                self._world.note("operator", action, "refused:", error.code)

    async def post(self, poll_s: float = LATE_POLL_S) -> None:
        """Deliver late requests, and look at the rows now and then."""
        looked_s = self._world.monotonic_s
        while True:
            await asyncio.sleep(poll_s)
            for place in self._run.places:
                place.deliver_late()
            if self._world.monotonic_s - looked_s >= LOOK_S:
                looked_s = self._world.monotonic_s
                check_rows(self._run)

    def _some(self) -> Place:
        alive = [place for place in self._run.places if not place.dead]
        return self._chance.choice(alive)

    async def _mood(self) -> None:
        place = self._some()
        place.mood = self._chance.choice((*self._moods, CALM))
        self._world.note(place.name, "is", place.mood.name)

    async def _storm(self) -> None:
        """Most stores at once, for a while."""
        for place in self._run.places:
            if self._chance.random() < 0.7:
                place.mood = self._chance.choice(self._moods)
                self._world.note(place.name, "is", place.mood.name)
        await asyncio.sleep(self._chance.expovariate(1 / 30))
        await self._calm()

    async def _calm(self) -> None:
        for place in self._run.places:
            place.mood = CALM
        self._world.note("all stores are calm")

    async def _jump(self) -> None:
        by_s = self._chance.uniform(-1, 1) ** 3 * JUMP_MAX_S
        if abs(self._world.jumped_us / 1e6 + by_s) < JUMPS_MAX_S:
            self._world.jump(by_s)
            self._world.note("the clock jumps by", round(by_s))

    async def _rot(self) -> None:
        place = self._some()
        keys = [key for key in place.keys if key.startswith("shards/")]
        if keys and place.bound.may_harm([key := self._chance.choice(keys)]):
            place.rot(key, self._chance)
            self._world.note(place.name, "rots at", key)

    async def _forget(self) -> None:
        place = self._some()
        share = self._chance.choice((0.1, 0.5, 1.0))
        gone = [key for key in place.keys if self._chance.random() < share and place.bound.may_harm([key])]
        for key in gone:
            place.drop(key)
        self._world.note(place.name, "forgets", len(gone))

    async def _old_disk(self) -> None:
        """A disk comes back as it was some time ago."""
        place = self._some()
        if place.backup is None:
            place.backup = dict(place.objects)
            return
        old, place.backup = place.backup, None
        if place.bound.may_harm([key for key in place.keys if key not in old]):
            for key in list(place.keys):
                place.drop(key)
            for key, value in old.items():
                place.set(key, value)
            self._world.note(place.name, "is as it was", len(old))

    async def _die(self) -> None:
        """A disk dies; some time later somebody notices, gives it up and adds another."""
        place = self._some()
        if len(self._run.places) >= self._run.places_max or not place.bound.may_harm(place.keys):
            return
        place.dead = True
        self._world.note(place.name, "dies")
        if self._chance.random() < 0.7:
            await asyncio.sleep(self._chance.expovariate(1 / 60))
            await self._run.replace_dead(self.hive)

    async def _drain(self) -> None:
        """Drain a store, or take one back into use."""
        members = [member for member in self.hive.stores if member.state in ("active", "draining", "readonly")]
        member = self._chance.choice(members)
        state = self._chance.choice(("draining", "readonly")) if member.state == "active" else "active"
        await self.hive.stores.set_state(member, state)
        self._world.note("operator sets", member.name, state)

    async def _rebalance(self) -> None:
        plan, _ = await self.hive.keepers.rebalancer.propose()
        await self.hive.keepers.rebalancer.start(plan.version)
        self._world.note("operator rebalances")

    async def _upkeep(self) -> None:
        """What ``skep gc`` does without a grace period, while everything goes on."""
        keepers, what = self.hive.keepers, self._chance.choice(("collect", "sweep", "repack"))
        self._world.note("operator begins to", what)
        if what == "collect":
            await keepers.collector.run(grace_s=0.0)
        elif what == "sweep":
            for _ in range(SWEEPS):
                await keepers.sweeper.run()
        else:
            await keepers.repacker.run()
        await asyncio.sleep(1.0)
        check_rows(self._run)
        self._world.note("operator ends to", what)

    async def _work(self) -> None:
        name = self._chance.choice(WORKERS)
        self.hive.workers.trigger(name)
        self._world.note("operator triggers", name)


_ACTIONS: dict[str, Callable[[Trouble], Awaitable[None]]] = {
    "mood": Trouble._mood,
    "storm": Trouble._storm,
    "calm": Trouble._calm,
    "jump": Trouble._jump,
    "rot": Trouble._rot,
    "forget": Trouble._forget,
    "old disk": Trouble._old_disk,
    "die": Trouble._die,
    "drain": Trouble._drain,
    "rebalance": Trouble._rebalance,
    "work": Trouble._work,
    "upkeep": Trouble._upkeep,
}
GENTLE = ("mood",) * 4 + ("storm",) * 2 + ("calm",) * 2 + ("work",) * 3 + ("upkeep",) * 3
HARSH = (*GENTLE, *("mood",) * 2, "jump", *("rot",) * 2, "forget", "old disk", "die", "drain", "rebalance", "work")
WORN = ("storm", "rot", "forget", "old disk", "old disk", "die", "die", "work", "upkeep", "calm", "mood")
