"""Jobs that come and go, and what a fleet that holds them costs.

Two kinds of traces. *openb* is a real one (8,152 jobs of a large cluster; processor and memory, its graphics cards
ignored): the table ``cluster-trace-gpu-v2023/csv/openb_pod_list_default.csv`` of the repository alibaba/clusterdata,
free for research and not ours to pass on; name the file with ``SKEP_OPENB`` or put it at bench/data/openb_pods.csv.
The *paas* ones are made here from a seed: small jobs with lives from minutes to months, on servers of 4 cores and
8 GiB.

The cost is server time from a server's opening to its closing, against the fluid bound: at each instant no fleet can
have fewer servers than what is asked for in all, divided by a server's size and rounded up.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skep.deploy.grid import ServerType, Size, Slice, SliceGrid
from skep.deploy.grid.layout import Block, Layout, fits
from skep.deploy.grid.records import BlockFacts
from skep.testing.clock import FakeClock

Rule = Callable[[Layout, Slice], Block | None]
OPENB_SHA256 = "1ee7ed79c27a3b0861cda8ddba86a004c6aba904caafa329a76ae93ca63834a8"
LINGER_S = 600.0
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Job:
    """From ``begin_s`` to ``end_s``, seconds since the trace's start."""

    name: str
    size: Size
    begin_s: int
    end_s: int


@dataclass(slots=True)
class Cost:
    """What a run came to: server seconds, their fluid bound, moves, and how many jobs left."""

    rented_s: float = 0.0
    bound_s: float = 0.0
    moves: int = 0
    departures: int = 0
    decisions_s: list[float] = field(default_factory=list)
    snapshots: list[tuple[int, tuple[Size, ...]]] = field(default_factory=list)
    """At some instants: how many servers there were, and the sizes that lay on them."""

    @property
    def ratio(self) -> float:
        return self.rented_s / self.bound_s

    @property
    def moves_per_departure(self) -> float:
        return self.moves / max(1, self.departures)


def openb_path() -> Path | None:
    """Where the real trace lies, if it is here and is the one that was measured."""
    path = Path(os.environ.get("SKEP_OPENB") or Path(__file__).with_name("data") / "openb_pods.csv")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != OPENB_SHA256:
        return None
    return path


def openb(path: Path, capacity: Size) -> list[Job]:
    """The real jobs that live longer than no time and fit a server at all."""
    with path.open(newline="") as file:
        rows = [
            Job(
                row["name"],
                Size(cpu_millis=int(row["cpu_milli"]), memory_bytes=int(row["memory_mib"]) << 20),
                int(row["creation_time"]),
                int(row["deletion_time"]),
            )
            for row in csv.DictReader(file)
        ]
    return [job for job in rows if job.end_s > job.begin_s and fits(job.size.quantised(), capacity)]


def paas(seed: int, count: int) -> list[Job]:
    """Small jobs over sixty days: sizes in steps, small ones more often; lives lognormal with a median of six hours."""
    chance = random.Random(seed)
    cpus = ((50, 6), (100, 8), (250, 8), (500, 5), (1000, 3), (2000, 1))
    memories = ((64, 3), (128, 5), (256, 8), (512, 8), (1024, 5), (2048, 3), (4096, 1))
    jobs = []
    for number in range(count):
        begin_s = chance.randrange(60 * _DAY_S)
        life_s = max(60, int(chance.lognormvariate(math.log(6 * 3600), 2.0)))
        size = Size(
            cpu_millis=chance.choices(*zip(*cpus, strict=True))[0],
            memory_bytes=chance.choices(*zip(*memories, strict=True))[0] << 20,
        )
        jobs.append(Job(f"paas-{number}", size, begin_s, begin_s + life_s))
    return jobs


def events(jobs: Sequence[Job]) -> list[tuple[int, bool, Job]]:
    """(time, whether it begins, job) in the order of time up to the last arrival; departures first."""
    last_s = max(job.begin_s for job in jobs)
    found = [(job.begin_s, True, job) for job in jobs] + [
        (job.end_s, False, job) for job in jobs if job.end_s <= last_s
    ]
    return sorted(found, key=lambda event: (event[0], event[1], event[2].name))


class Fluid:
    """The bound, summed up as time goes on."""

    def __init__(self, capacity: Size) -> None:
        self._capacity = capacity
        self._cpu = self._memory = 0
        self._since_s = 0
        self.bound_s = 0.0

    def at(self, now_s: int) -> None:
        needed = max(-(-self._cpu // self._capacity.cpu_millis), -(-self._memory // self._capacity.memory_bytes))
        self.bound_s += needed * (now_s - self._since_s)
        self._since_s = now_s

    def change(self, size: Size, sign: int) -> None:
        self._cpu += sign * size.cpu_millis
        self._memory += sign * size.memory_bytes


def run_rule(jobs: Sequence[Job], capacity: Size, rule: Rule) -> Cost:
    """A fleet that places by a rule, rents when nothing fits, and gives back what was empty for ten minutes."""
    cost, layout, fluid = Cost(), Layout(), Fluid(capacity)
    opened: dict[str, int] = {}
    empty: dict[str, int] = {}
    now_s = 0
    for now_s, begins, job in events(jobs):
        fluid.at(now_s)
        for block_id, since_s in list(empty.items()):
            if now_s - since_s >= LINGER_S:
                cost.rented_s += since_s + LINGER_S - opened.pop(block_id)
                layout.close(block_id)
                del empty[block_id]
        fluid.change(job.size, 1 if begins else -1)
        if not begins:
            home = layout.home(job.name)
            layout.take(job.name)
            cost.departures += 1
            if not home.slices:
                empty[home.facts.id] = now_s
            continue
        item = Slice(id=job.name, size=job.size)
        began_s = time.perf_counter()
        block = rule(layout, item)
        cost.decisions_s.append(time.perf_counter() - began_s)
        if block is None:
            number = len(cost.decisions_s)
            block = Block(BlockFacts(id=f"block-{number}", size=capacity, number=number))
            layout.open(block)
            opened[block.facts.id] = now_s
        layout.put(item, block.facts.id)
        empty.pop(block.facts.id, None)
    cost.rented_s += sum(now_s - since_s for since_s in opened.values())
    cost.bound_s = fluid.bound_s
    return cost


def run_grid(jobs: Sequence[Job], capacity: Size, *, snapshots: int = 0) -> Cost:
    """The same with SliceGrid itself, its own defaults, on a clock that jumps from event to event."""
    return asyncio.run(_run_grid(jobs, capacity, snapshots))


async def _run_grid(jobs: Sequence[Job], capacity: Size, snapshots: int) -> Cost:
    cost, fluid = Cost(), Fluid(capacity)
    clock = FakeClock(0)
    grid = SliceGrid(clock=clock, autosize=True, max=100_000, types=(ServerType("server", capacity),))
    opened: dict[str, float] = {}

    @grid.on("create")
    async def create(order: object) -> None:
        opened[order.id] = clock.now_us() / 1e6  # type: ignore[attr-defined]

    @grid.on("destroy")
    async def destroy(block: BlockFacts) -> None:
        cost.rented_s += clock.now_us() / 1e6 - opened.pop(block.id)

    started = 0

    @grid.on("added")
    async def added(block: BlockFacts, item: Slice) -> None:
        nonlocal started
        started += 1

    await grid.open()
    happened = events(jobs)
    marks = {happened[(number + 1) * len(happened) // (snapshots + 1)][0] for number in range(snapshots)}
    arrivals = now_s = 0
    for at_s, begins, job in happened:
        fluid.at(at_s)
        while now_s < at_s:  # the owner's loop calls tick; here once a minute while something may still happen
            step_s = min(at_s - now_s, 60 if at_s - now_s < 1_800 else 300)
            now_s += step_s
            clock.jump(step_s)
            await grid.tick()
        if at_s in marks:
            marks.discard(at_s)
            sizes = tuple(entry.slice.size for entry in grid.slices)
            cost.snapshots.append((len(grid.blocks), sizes))
        fluid.change(job.size, 1 if begins else -1)
        began_s = time.perf_counter()
        if begins:
            arrivals += 1
            await grid.add(job.name, job.size)
        else:
            cost.departures += 1
            await grid.remove(job.name)
        cost.decisions_s.append(time.perf_counter() - began_s)
    cost.rented_s += sum(now_s - since_s for since_s in opened.values())
    cost.moves = started - arrivals
    cost.bound_s = fluid.bound_s
    return cost
