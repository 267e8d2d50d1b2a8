"""One large file in and out through the API, beside restic, dd and cat."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import peers
from bench.figures import Figure, Missing, Row, alternated, median
from bench.hive import BenchHive, running_hive
from bench.material import write_noise
from bench.plan import Plan
from bench.processes import Cost, drop_caches

Costs = dict[str, list[Cost]]


def upload(plan: Plan) -> list[Row]:
    """PUT with curl, sealed and fsynced, against ``restic backup`` and ``dd conv=fdatasync`` of the same files."""
    costs: Costs = defaultdict(list)
    with plan.room() as place, running_hive(place / "hive") as hive:
        for number in range(plan.rounds):
            source = write_noise(place / "source", plan.file_bytes)
            alternated(1, _rotated(number, _uploads(place, hive, source, number, costs)))
            source.unlink()
    size = plan.file_bytes
    rows: list[Row] = [_rate("upload, curl PUT", size, costs["skep"], of_server=True)]
    for name, target in (("restic", 2.0), ("dd", 0.5)):
        if name in costs:
            rows.append(_rate(f"  {name}", size, costs[name]))
            rows.append(_ratio(f"upload over {name}", costs["skep"], costs[name], target))
        else:
            rows.append(Missing(f"upload over {name}", f"{name} is not installed"))
    return rows


def _uploads(place: Path, hive: BenchHive, source: Path, number: int, costs: Costs) -> list[Callable[[int], None]]:
    def measured(name: str, call: Callable[[], Cost], _: int) -> None:
        os.sync()
        costs[name].append(call())

    calls: dict[str, Callable[[], Cost]] = {"skep": lambda: hive.upload(source, f"/big-{number}")}
    if peers.found("restic"):
        calls["restic"] = lambda: peers.restic_backup(place, source)
    if peers.found("dd"):
        calls["dd"] = lambda: peers.dd_fdatasync(place, source)
    return [partial(measured, name, call) for name, call in calls.items()]


def _rotated(number: int, runs: list[Callable[[int], None]]) -> list[Callable[[int], None]]:
    first = number % len(runs)
    return runs[first:] + runs[:first]


def download(plan: Plan) -> list[Row]:
    """GET with curl, cold and warm, against ``cat``; into a file, and to nowhere."""
    costs: Costs = defaultdict(list)
    with plan.room() as place, running_hive(place / "hive") as hive:
        source = write_noise(place / "source", plan.file_bytes)
        hive.upload(source, "/big")
        hive.download("/big", place / "out")
        _require_same(source, place / "out")
        cold = drop_caches()
        for state, target in itertools.product(("cold", "warm") if cold else ("warm",), (place / "out", None)):
            runs = [partial(_downloads, name, state, target, hive, source, costs) for name in ("skep", "cat")]
            alternated(plan.rounds, runs)
    rows: list[Row] = []
    if not cold:
        rows.append(Missing("download, cold", "only root may drop the page cache"))
    for state, where in itertools.product(("cold", "warm") if cold else ("warm",), ("to a file", "to nowhere")):
        ours, theirs = costs[f"skep {state} {where}"], costs[f"cat {state} {where}"]
        target_ratio = 0.4 if where == "to a file" else None
        rows.append(_rate(f"download, {state}, {where}", plan.file_bytes, ours, of_server=True))
        rows.append(_rate("  cat", plan.file_bytes, theirs))
        rows.append(_ratio(f"download over cat, {state}, {where}", ours, theirs, target_ratio))
    return rows


def _downloads(name: str, state: str, target: Path | None, hive: BenchHive, source: Path, costs: Costs, _: int) -> None:
    if state == "warm" and name == "cat":
        peers.cat(source, None)
    elif state == "warm":
        hive.download("/big")
    if target is not None:  # last, for both alike: a virtual machine gives freed memory back to its host after seconds
        target.unlink(missing_ok=True)
    os.sync()
    if state == "cold":
        drop_caches()
    cost = hive.download("/big", target) if name == "skep" else peers.cat(source, target)
    costs[f"{name} {state} {'to a file' if target else 'to nowhere'}"].append(cost)


def _require_same(one: Path, other: Path) -> None:
    with one.open("rb") as left, other.open("rb") as right:
        while piece := left.read(1 << 20):
            if piece != right.read(len(piece)):
                raise RuntimeError("the download is not what was uploaded")
        if right.read(1):
            raise RuntimeError("the download is longer than what was uploaded")


def _rate(name: str, size: int, costs: list[Cost], *, of_server: bool = False) -> Figure:
    total = sum(costs, Cost())
    each = ", ".join(f"{size / cost.wall_s / 1e6:.0f}" for cost in costs)
    whose = "server " if of_server else ""
    detail = f"rounds {each}; {whose}{total.per_gb(size * len(costs))}"
    return Figure(name, size / median([cost.wall_s for cost in costs]) / 1e6, "MB/s", detail)


def _ratio(name: str, ours: list[Cost], theirs: list[Cost], target: float | None) -> Figure:
    wall = median([cost.wall_s for cost in theirs]) / median([cost.wall_s for cost in ours])
    processor = median([cost.processor_s for cost in theirs]) / max(0.01, median([cost.processor_s for cost in ours]))
    return Figure(name, wall, "x", f"by processor time {processor:.2f}x", at_least=target)
