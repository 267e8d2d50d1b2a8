"""The grid: what a fleet costs under SliceGrid and under the rules that others ship."""

from __future__ import annotations

import random
import time

from bench.figures import Figure, Missing, Row, median
from bench.grid_optimum import optimum
from bench.grid_rules import first_fit, kubernetes_default, kubernetes_packing, nomad, nomad_full, swarm
from bench.grid_trace import Job, Rule, openb, openb_path, paas, run_grid, run_rule
from bench.plan import Plan
from skep.deploy.grid import Size, Slice
from skep.deploy.grid.layout import Block, Layout
from skep.deploy.grid.place import place
from skep.deploy.grid.records import BlockFacts
from skep.deploy.grid.room import make_room

GIB = 1 << 30
_RULES: tuple[tuple[str, Rule], ...] = (
    ("Swarm", swarm),
    ("Kubernetes as shipped", kubernetes_default),
    ("first fit", first_fit),
    ("Kubernetes MostAllocated", kubernetes_packing),
    ("Nomad as shipped", nomad()),
    ("Nomad's score, every server", nomad_full),
)
_SNAPSHOTS = 12


def grid(plan: Plan) -> list[Row]:
    """Server time over the fluid bound for each trace and rule; optima at snapshots; how long a decision takes."""
    quick = plan.rounds == 1
    rows: list[Row] = [*_decisions()]
    path = openb_path()
    for name, capacity, target in (
        ("openb on 32 cores", Size(cpu_millis=32_000, memory_bytes=128 * GIB), 1.07),
        ("openb on 64 cores", Size(cpu_millis=64_000, memory_bytes=256 * GIB), 1.03),
    ):
        if path is None:
            rows.append(Missing(name, "SKEP_OPENB names no openb_pod_list_default.csv (see bench/grid_trace.py)"))
            continue
        jobs = openb(path, capacity)
        rows += _trace(name, jobs[:1_000] if quick else jobs, capacity, target)
    small = Size(cpu_millis=4_000, memory_bytes=8 * GIB)
    for name, seed, count in (("paas, 4,000 jobs", 1, 4_000), ("paas, 8,000 jobs", 2, 8_000)):
        rows += _trace(name, paas(seed, count // 10 if quick else count), small, None)
    return rows


def _trace(name: str, jobs: list[Job], capacity: Size, target: float | None) -> list[Row]:
    rows: list[Row] = []
    ours = run_grid(jobs, capacity, snapshots=_SNAPSHOTS)
    detail = f"{len(jobs)} jobs; times are in units of the fluid bound"
    rows.append(Figure(f"grid, {name}: server time", ours.ratio, "x", detail, at_most=target))
    rows.append(Figure(f"grid, {name}: moves per departure", ours.moves_per_departure, "", "", at_most=0.25))
    for rule_name, rule in _RULES:
        rows.append(Figure(f"{rule_name}, {name}", run_rule(jobs, capacity, rule).ratio, "x", "never moves a job"))
    gaps = []
    for servers, sizes in ours.snapshots:
        best = optimum(sizes, capacity)
        gaps.append(f"{servers}/{best.at_least}-{min(servers, best.at_most)}")
    rows.append(
        Figure(
            f"grid, {name}: over the optimum",
            median([int(gap.partition("/")[0]) / max(1, int(gap.partition("/")[2].partition("-")[0])) for gap in gaps]),
            "x",
            f"servers / fewest possible (certified - packed) at {len(gaps)} instants: {' '.join(gaps)}",
        )
    )
    return rows


def _decisions() -> list[Row]:
    """Placing one job, and making room for a large one, on 200 servers that are nearly full."""
    layout, chance = Layout(), random.Random(7)
    for number in range(200):
        facts = BlockFacts(id=f"block-{number}", size=Size(cpu_millis=32_000, memory_bytes=128 * GIB), number=number)
        layout.open(Block(facts))
        for piece in range(100):
            item = Slice(id=f"{number}.{piece}", size=_size(chance))
            if layout.block(facts.id).refusal(item):
                break
            layout.put(item, facts.id)
    placed, roomed = [], []
    for number in range(2_000):
        item = Slice(id=f"new-{number}", size=_size(chance))
        began_s = time.perf_counter()
        block = place(layout, item)
        placed.append(time.perf_counter() - began_s)
        if block is None:
            began_s = time.perf_counter()
            make_room(layout, item, worth=2.0)
            roomed.append(time.perf_counter() - began_s)
    return [
        Figure("grid: a decision at 200 servers", median(placed) * 1e3, "ms", "median of 2,000", at_most=1.0),
        Figure(
            "grid: making room at 200 servers", median(roomed) * 1e3, "ms", f"median of {len(roomed)} that fit nowhere"
        ),
    ]


def _size(chance: random.Random) -> Size:
    return Size(
        cpu_millis=chance.choice((500, 1_000, 2_000, 4_000, 8_000, 12_000)),
        memory_bytes=chance.choice((1, 2, 4, 8, 16, 32, 48)) * GIB,
    )
