"""One run from one number: setting up, living, dying and living on until everything has healed and been looked at."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from skep.auth.records import Principal
from skep.auth.users import NewUser, insert_user
from skep.base.chance import chance_from
from skep.base.clock import Clock
from skep.base.ids import Id, ids_from
from skep.base.logs import configure_logs
from skep.chunks.scheme import Scheme
from skep.crypto.keys import MasterKey
from skep.db import Database, Transaction, migrate
from skep.db.units import Delivery, Limits
from skep.db.urls import DatabaseUrl
from skep.durability.pools import PLACEMENTS, Placement, Policy
from skep.filesystem import SpaceHooks
from skep.server.compose import Hive, open_hive
from skep.server.identity import make_identity
from skep.stores.protocol import Store
from skep.testing.hive import test_settings
from skep.testing.simulation.database import SimulatedEngine
from skep.testing.simulation.history import check_empty, check_rows, settle
from skep.testing.simulation.house import (
    CRASH_SPOILS,
    clear,
    come_back,
    house_deaths,
    last_hours,
    spoil,
    spoil_now_and_then,
)
from skep.testing.simulation.loop import Died, SimulatedLoop
from skep.testing.simulation.places import Place, SimulatedStore
from skep.testing.simulation.sabotage import sabotaged
from skep.testing.simulation.trouble import GENTLE, HARSH, WORN, Trouble
from skep.testing.simulation.users import Client, Pool
from skep.testing.simulation.world import Bound, Broken, World, WorldClock

SCHEMES = (
    ("ec(2,1)", 4), ("ec(2,1)", 3), ("raid1(2)", 3), ("raid1(3)", 4), ("ec(2,2)", 5), ("ec(3,2)", 6), ("ec(3,3)", 8),
    ("none", 2),
)  # fmt: skip
"""A scheme, and how many stores there are at first."""
SCOPES = frozenset({"files:read", "files:write"})


@dataclass(frozen=True)
class Owns:
    """Who has stores of their own, how many at first, and where that user's content may lie."""

    user: str = ""
    placement: Placement = "hive"
    stores: int = 0
    alone_id: Id | None = None
    """The user whose content may lie on their own stores alone."""


@dataclass
class Report:
    """What a run came to."""

    seed: int
    digest: str
    """The same for every run of the seed by the same code."""
    lives: int = 0
    deaths: int = 0
    turns: int = 0
    simulated_s: float = 0.0
    done: dict[str, int] = field(default_factory=dict)
    happened: dict[str, int] = field(default_factory=dict)
    """Failures, by kind, where a run counts them."""
    kept: dict[str, int] = field(default_factory=dict)
    """Units of work of the workers that keep files, where a run counts them."""
    failure: str | None = None
    tail: list[str] = field(default_factory=list)


class Run:
    """One run."""

    def __init__(self, seed: int, directory: Path, *, keep_trace: bool = False) -> None:
        self.world = World(seed, keep_trace=keep_trace)
        self.directory = directory
        self.clock: Clock = WorldClock(self.world)
        self.places: list[Place] = []
        self.owns = Owns()
        self.far = 0.0
        """The part of the stores that are not on the hive's machine."""
        self.directories_left = 0
        """How often the data directory may be lost."""
        self.away: list[Place] = []
        """Stores that are not found when the hive is recovered."""
        self.recoveries = 0
        """Tries since the directory was lost."""
        self.master: MasterKey | None = None
        self.truth: dict[str, bytes] = {}
        self.trouble_chance = self.world.chance_of("trouble")
        self.pool = Pool(self.world.chance_of("pool"))
        self.people: dict[str, Principal] = {}
        self._engines: list[SimulatedEngine] = []
        self.report = Report(seed, "")
        self.arrange(self.world.plan, directory)

    def arrange(self, plan: random.Random, directory: Path) -> None:
        """Choose scheme, stores, users, settings and the trouble to come."""
        self.set_scheme(*plan.choice(SCHEMES))
        for _ in range(self.places_max - 4 + plan.randrange(2)):
            self.new_place(plan.choice((None, None, None, 3 << 20)))
        self.profile = plan.choice((GENTLE, HARSH, HARSH, HARSH, WORN))
        self.pause_s = plan.choice((4.0, 15.0, 60.0))
        self.add_clients(4, lambda: plan.randrange(6, 16))
        self.think_s = plan.choice((0.2, 2.0, 10.0))
        self.deaths_left = plan.choice((0, 1, 2, 2, 3, 4))
        self.grace_s = plan.choice((1.0, 60.0, 600.0))
        self.settings = test_settings(
            directory,
            storage__grace_s=self.grace_s,
            storage__lost_after_s=plan.choice((60.0, 600.0, 3600.0)),
            storage__reserve_bytes=0,
            storage__hedge=plan.random() < 0.8,
            storage__store_timeout_s=plan.choice((5.0, 30.0)),
            workers__repair_period_s=plan.choice((2.0, 30.0)),
            workers__gc_period_s=plan.choice((3.0, 30.0, 900.0)),
            workers__scrub_period_s=plan.choice((60.0, 86_400.0)),
            workers__snapshot_period_s=plan.choice((30.0, 600.0, 3600.0)),
            workers__audit_period_s=plan.choice((20.0, 600.0)),
            workers__health_period_s=plan.choice((15.0, 60.0)),
            workers__digests_after_s=plan.choice((60.0, 600.0)),
            workers__snapshots_max=3,
            log__level="error",
            **self._house(),
        )

    def _house(self) -> dict[str, object]:
        """Choose whose stores there are, which are far, what is cached of them, and what becomes of the directory."""
        house = self.world.house
        self.far = house.choice((0.0, 0.0, 0.6, 1.0))
        for place in self.places:
            place.scheme = self._scheme_of_url()
        if house.random() < 0.4:
            placement = house.choice(PLACEMENTS[1:])
            count = self.scheme.total if placement == "own" else house.randrange(1, self.scheme.total + 1)
            self.owns = Owns("u0", placement, count)
            self.places_max += count
            for _ in range(count):
                self.new_place(owner=self.owns.user)
        self.directories_left = house.choice((0, 0, 1))
        return {"storage__cache_bytes": house.choice((0, 600_000, 10_000_000))}

    def _scheme_of_url(self) -> str:
        return "far" if self.world.house.random() < self.far else "memory"

    def set_scheme(self, name: str, stores: int) -> None:
        """Code with this scheme, over so many stores at first and some that replace them."""
        self.scheme = Scheme.parse(name)
        self.bound = Bound(self.scheme)
        self.places_max = stores + 4

    def add_clients(self, count: int, operations: Callable[[], int]) -> None:
        """Two clients for each user, with so many operations each."""
        self.clients = [
            Client(f"c{number}", f"u{number // 2}", self.world, self.pool, operations()) for number in range(count)
        ]

    def new_place(self, capacity_bytes: int | None = None, owner: str | None = None) -> Place:
        """One more store, not yet known to the hive."""
        name = f"s{len(self.places)}"
        place = Place(
            name, self.world, self.bound, capacity_bytes, truth=self.truth, scheme=self._scheme_of_url(), owner=owner
        )
        self.places.append(place)
        return place

    def place(self, url: str) -> Place:
        """The store of a URL."""
        return next(place for place in self.places if place.url == url)

    def named(self, name: str) -> Place:
        """The store of a name."""
        return next(place for place in self.places if place.name == name)

    def go(self) -> Report:
        """Run to the end. Raises Broken."""
        self._live(self._set_up(), None)
        while True:
            if self.directories_left and self.world.house.random() < 0.4:
                self.directories_left -= 1
                self._lose_directory()
            dies_after = self.next_death() if self.deaths_left else None
            self.deaths_left -= 1
            if self._live(self._life(), dies_after):
                break
        self.report.digest = self.world.digest
        self.report.simulated_s = self.world.monotonic_s
        for client in self.clients:
            for kind, count in client.done.items():
                self.report.done[kind] = self.report.done.get(kind, 0) + count
        return self.report

    def _lose_directory(self) -> None:
        """The machine burns, stores and key do not: what they give back must be what there was. Raises Broken."""
        self._live(last_hours(self), None)
        clear(self.directory)
        shutil.copyfile(_template(), self.directory / "skep.db")
        for tries_left in range(house_deaths(self), -1, -1):
            if self._live(come_back(self), self.next_death() if tries_left else None):
                break

    def next_death(self) -> int:
        """After how many turns the next life ends: soon after the start as often as late."""
        return round(10 ** self.world.plan.uniform(1.5, 4.5))

    def _live(self, doing: Coroutine[Any, Any, None], dies_after: int | None) -> bool:
        """One life of the process; False when it died. Raises Broken."""
        loop = SimulatedLoop(self.world, dies_after)
        self._engines = []
        self.report.lives += 1

        def body() -> bool:
            with chance_from(self.world.random_bytes), ids_from(self.world.id_maker()):
                try:
                    loop.run_until_complete(doing)
                    return True
                except Died:
                    return False

        try:
            survived = contextvars.copy_context().run(body)
        finally:
            self.report.turns += loop.turns
            for place in self.places:
                for request in list(place.on_the_way):
                    request.abandon(self.world.luck)
            loop.end()
            for engine in self._engines:
                engine.cut()
        spoil(self.directory, self.world, CRASH_SPOILS)
        check_rows(self)
        if loop.complaints:
            raise Broken(f"left to the event loop: {loop.complaints[0]}")
        if not survived:
            self.report.deaths += 1
            self.world.note("the process dies after turn", loop.turns)
        return survived

    def engine(self, url: DatabaseUrl, clock: Clock, delivery: Delivery, limits: Limits) -> SimulatedEngine:
        """The hive's database engine of this life."""
        self._engines.append(SimulatedEngine(url, clock, delivery, limits))
        return self._engines[-1]

    def driver(self, url: str, secret: bytes | None) -> Store:
        """This life's connection to the store of a URL."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        return SimulatedStore(self.place(url), loop)

    async def open(self) -> Hive:
        """The hive of this life."""
        return await open_hive(self.settings, clock=self.clock, driver=self.driver, engine=self.engine)

    async def _set_up(self) -> None:
        self.master = MasterKey.create()
        self.master.write_file(self.settings.master_key_path())
        db = await Database.open(self.settings.database_url(), clock=self.clock, engine=self.engine)
        await make_identity(db, self.settings)
        await db.close()
        hive = await self.open()
        for place in self.places:
            if place.owner is None:
                await hive.stores.add(place.name, place.url, zone=place.name)
        await hive.chunks.set_scheme(self.scheme)
        hooks = SpaceHooks(hive.filesystem)
        for name in sorted({client.user for client in self.clients}):

            def work(tx: Transaction, name: str = name) -> Id:
                user_id = insert_user(tx, NewUser(name, "", "", None, False)).id
                hooks.user_created(tx, user_id, name)
                return user_id

            user_id = await hive.db.write(work)
            self.people[name] = Principal(user_id, name, False, frozenset(), SCOPES, "token")
        await self._settle_owner(hive)
        await hive.close()

    async def _settle_owner(self, hive: Hive) -> None:
        """Give the one who has stores of their own these stores, and say where their content may lie."""
        if not self.owns.stores:
            return
        owner_id = self.people[self.owns.user].user_id
        assert owner_id is not None
        if self.owns.placement == "own":
            self.owns = replace(self.owns, alone_id=owner_id)
        await hive.chunks.pools.set_policy("user", Policy(placement=self.owns.placement), owner_id)
        await self.add_new(hive)

    async def add_new(self, hive: Hive) -> None:
        """Tell the hive of the stores that it does not know."""
        for place in self.places:
            if not place.dead and hive.stores.of_url(place.url) is None:
                owner_id = None if place.owner is None else self.people[place.owner].user_id
                await hive.stores.add(place.name, place.url, zone=place.name, owner_id=owner_id)
                self.world.note("operator adds", place.name)

    async def _life(self) -> None:
        """Users and trouble until the users are done; then everything heals and is looked at."""
        hive = await self.open()
        self.connect(hive)
        if self.world.plan.random() < 0.3:
            await settle(self, hive)
        around = [asyncio.ensure_future(each) for each in self.around(Trouble(self, hive))]
        await asyncio.gather(*(client.run(self.think_s) for client in self.clients))
        for task in around:
            task.cancel()
        outcomes = await asyncio.gather(*around, return_exceptions=True)
        for outcome in outcomes:
            if not isinstance(outcome, asyncio.CancelledError):
                raise Broken(f"trouble ended with {outcome!r}")
        self.world.note("all users are done")
        await settle(self, hive)
        await check_empty(self, hive)
        await hive.close()

    def connect(self, hive: Hive) -> None:
        """Let the users use this life's hive."""
        for client in self.clients:
            collect = partial(hive.keepers.collector.run, grace_s=0.0)
            client.connect(hive.filesystem, self.people[client.user], collect)

    def around(self, trouble: Trouble) -> list[Coroutine[Any, Any, None]]:
        """What goes on while users work."""
        return [trouble.go_on(self.pause_s), trouble.post(), spoil_now_and_then(self.directory, self.world)]

    async def replace_dead(self, hive: Hive) -> None:
        """Give up stores that have died, and add new ones."""
        for place in [each for each in self.places if each.dead and not each.given_up]:
            member = hive.stores.by_name(place.name)
            if member.state != "lost":
                await hive.stores.set_state(member, "lost")
            place.given_up = True
            self.world.note("operator gives up", place.name)
        for owner in (None, self.owns.user) if self.owns.placement == "own" else (None,):
            while sum(not each.dead and each.owner == owner for each in self.places) < self.scheme.total:
                self.new_place(owner=owner)
        await self.add_new(hive)


@lru_cache(maxsize=1)
def _template() -> Path:
    """A migrated database, made once for each process."""
    path = Path(tempfile.mkdtemp(prefix="skep-simulation-")) / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@lru_cache(maxsize=1)
def _leave_the_rest_alone() -> None:
    """What the process needs anyway is not looked at again with every run."""
    gc.collect()
    gc.freeze()


class _Nowhere(io.StringIO):
    """Where the hive's log goes."""

    def write(self, text: str) -> int:
        return len(text)


def _memory_directory() -> str | None:
    """A directory whose files are in memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a directory of its own is made in it


def run_seed(seed: int, *, keep_trace: bool = False, sabotage: str | None = None, kind: type[Run] = Run) -> Report:
    """Run one seed; its failure is in the report. ``sabotage`` names a mistake to be made (sabotage.py)."""
    directory = Path(tempfile.mkdtemp(prefix=f"skep-sim-{seed}-", dir=_memory_directory()))
    shutil.copyfile(_template(), directory / "skep.db")
    run = kind(seed, directory, keep_trace=keep_trace)
    configure_logs(run.settings.log, _Nowhere())
    _leave_the_rest_alone()
    gc.disable()
    hook, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with sabotaged(sabotage):
                    run.go()
            except Exception as error:
                run.report.failure = f"{type(error).__name__}: {error}"
                cause = error.__cause__
                if cause is not None:
                    run.report.failure += f" (from {type(cause).__name__}: {cause})"
                run.report.digest = run.world.digest
            run.report.tail = list(run.world.tail)
            report = run.report
            del run
            gc.collect()
        return report
    finally:
        gc.enable()
        sys.unraisablehook = hook
        shutil.rmtree(directory, ignore_errors=True)
