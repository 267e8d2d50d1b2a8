"""Thirty days of store failures: disks die, computers are away for weeks, providers are out, bits rot, agents leave.

The rates are those of bad luck rather than of a laboratory: with eleven stores a disk dies about every five days (a
good one lasts years), somebody's computer is off for hours every day and for a week or more now and then, a provider
with two of the stores is out every other day, and a bit rots somewhere every six hours. The hive's workers run by
themselves; nobody calls for repair. What was found whole in the stores themselves may lose m shards again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

from skep.base.errors import SkepError
from skep.base.workers import WorkerStatus
from skep.server.compose import Hive
from skep.testing.hive import test_settings
from skep.testing.simulation.history import whole_packs
from skep.testing.simulation.places import CALM, MOODS, Place
from skep.testing.simulation.run import Run
from skep.testing.simulation.trouble import Trouble

DAY_S = 86_400.0
HOUR_S = 3600.0
DAYS = 30
STORES = 11
OPERATIONS = 90
"""Of each client, spread over the month."""
POLLS_S = HOUR_S
"""How often workers look that otherwise look every few seconds or every minute, mostly in vain: in thirty days of
simulated time that would be nine turns of ten."""
POLLING = ("meter", "mail", "plans", "digests", "rebalance", "departures", "scrub")
COUNTED = ("repair", "scrub", "gc", "audit")
"""Workers whose units are in the report: what keeping the files took."""
_AWAY = next(mood for mood in MOODS if mood.name == "offline")
_OUT = next(mood for mood in MOODS if mood.name == "away")
_LYING = next(mood for mood in MOODS if mood.name == "lying")


class Month(Run):
    """A run of thirty days with ec(4,2)."""

    _hive: Hive | None = None
    """Of the present life."""

    def arrange(self, plan: random.Random, directory: Path) -> None:
        self.set_scheme("ec(4,2)", STORES)
        self.places_max = STORES + 60
        for _ in range(STORES):
            self.new_place()
        self.add_clients(4, lambda: OPERATIONS)
        self.think_s = DAYS * DAY_S / OPERATIONS
        self.deaths_left = 12
        self.grace_s = DAY_S
        self.settings = test_settings(
            directory,
            storage__grace_s=self.grace_s,
            storage__lost_after_s=6 * HOUR_S,
            storage__reserve_bytes=0,
            workers__repair_period_s=1800,
            workers__gc_period_s=2 * HOUR_S,
            workers__scrub_period_s=DAY_S,
            workers__snapshot_period_s=12 * HOUR_S,
            workers__audit_period_s=2 * HOUR_S,
            workers__retention_period_s=6 * HOUR_S,
            workers__health_period_s=HOUR_S,
            workers__snapshots_max=3,
            log__level="error",
        )

    async def open(self) -> Hive:
        self._hive = hive = await super().open()
        for name in POLLING:
            hive.workers.set_period(name, POLLS_S)
        return hive

    def _live(self, doing: Coroutine[Any, Any, None], dies_after: int | None) -> bool:
        try:
            return super()._live(doing, dies_after)
        finally:
            hive, self._hive = self._hive, None
            self._count(hive.workers.status() if hive is not None else ())

    def _count(self, workers: Iterable[WorkerStatus]) -> None:
        for each in workers:
            if each.name in COUNTED:
                self.report.kept[each.name] = self.report.kept.get(each.name, 0) + each.done_units

    def next_death(self) -> int:
        """Every few days."""
        return round(self.world.plan.expovariate(1 / 40_000)) + 1

    def around(self, trouble: Trouble) -> list[Coroutine[Any, Any, None]]:
        """Each kind of failure at its own rate."""
        hive, luck = trouble.hive, _Luck(self, trouble.hive)
        rates = (
            (luck.disk_dies, 5 * DAY_S),
            (luck.computer_is_off, 8 * HOUR_S),
            (luck.computer_is_away_for_long, 6 * DAY_S),
            (luck.provider_is_out, 2 * DAY_S),
            (luck.bit_rots, 6 * HOUR_S),
            (luck.store_lies_for_a_while, 4 * DAY_S),
            (luck.agent_leaves, 9 * DAY_S),
        )
        return [trouble.post(HOUR_S), self._look(hive), *(self._every(mean_s, what) for what, mean_s in rates)]

    async def _every(self, mean_s: float, what: Any) -> None:
        while True:
            await asyncio.sleep(self.trouble_chance.expovariate(1 / mean_s))
            try:
                await what()
            except SkepError as error:
                self.world.note("operator is refused:", error.code)

    async def _look(self, hive: Hive) -> None:
        """Renew the bound of packs that are whole in truth."""
        while True:
            await asyncio.sleep(HOUR_S)
            self.bound.renew(await whole_packs(self, hive))


class _Luck:
    """What can happen."""

    def __init__(self, run: Month, hive: Hive) -> None:
        self._run, self._hive = run, hive
        self._chance = run.trouble_chance
        self._happened = run.report.happened

    def _some(self) -> Place:
        return self._chance.choice([place for place in self._run.places if not place.dead])

    def _count(self, what: str, *where: object) -> None:
        self._happened[what] = self._happened.get(what, 0) + 1
        self._run.world.note(what, *where)

    async def disk_dies(self) -> None:
        """It is given up and replaced within a day; if that would break the bound, it has another day to live."""
        for place in self._chance.sample(self._run.places, len(self._run.places)):
            if not place.dead and place.bound.may_harm(place.keys):
                break
        else:
            self._count("no disk may die")
            return
        place.dead = True
        self._count("a disk dies", place.name, len(place.keys))
        await asyncio.sleep(self._chance.uniform(0, DAY_S))
        await self._run.replace_dead(self._hive)

    async def _away(self, place: Place, seconds: float) -> None:
        place.mood = _AWAY
        await asyncio.sleep(seconds)
        place.mood = CALM

    async def computer_is_off(self) -> None:
        """For hours."""
        place = self._some()
        self._count("a computer is off", place.name)
        await self._away(place, self._chance.expovariate(1 / (4 * HOUR_S)))

    async def computer_is_away_for_long(self) -> None:
        """For a week or two; repair does not wait so long."""
        place = self._some()
        self._count("a computer is away for long", place.name)
        await self._away(place, self._chance.uniform(7, 16) * DAY_S)

    async def provider_is_out(self) -> None:
        """Two stores at once, for minutes to hours."""
        both = self._chance.sample([place for place in self._run.places if not place.dead], 2)
        self._count("a provider is out", *(place.name for place in both))
        for place in both:
            place.mood = _OUT
        await asyncio.sleep(self._chance.expovariate(1 / (2 * HOUR_S)))
        for place in both:
            place.mood = CALM

    async def bit_rots(self) -> None:
        """One bit of one shard."""
        place = self._some()
        keys = [key for key in place.keys if key.startswith("shards/") and place.bound.allows([key])]
        if not keys:
            return
        key = self._chance.choice(keys)
        place.bound.harm([key])
        place.rot(key, self._chance)
        self._count("a bit rots", place.name, key)

    async def store_lies_for_a_while(self) -> None:
        """Wrong bytes, short bytes, success without storing: now and then within some hours."""
        place = self._some()
        self._count("a store lies", place.name)
        place.mood = _LYING
        await asyncio.sleep(self._chance.uniform(1, 12) * HOUR_S)
        place.mood = CALM

    async def agent_leaves(self) -> None:
        """Gracefully: it is drained, and removed when it is empty."""
        members = [member for member in self._hive.stores if member.state == "active" and not member.down]
        member = self._chance.choice(members)
        new = self._run.new_place()
        await self._hive.stores.add(new.name, new.url, zone=new.name)
        await self._hive.stores.set_state(member, "draining")
        self._count("an agent leaves", member.name)
