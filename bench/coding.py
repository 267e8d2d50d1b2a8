"""What a code costs: ``ec(4,2)`` against ``none``, on six directories."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.figures import Figure, Row, alternated, median
from bench.hive import BenchHive, running_hive
from bench.material import write_noise
from bench.plan import Plan
from bench.processes import Cost

STORES = 6
CODE = "ec(4,2)"


def coding(plan: Plan) -> list[Row]:
    """Time of uploads, of downloads, and of downloads when two stores are gone."""
    costs: dict[str, list[Cost]] = defaultdict(list)
    size = plan.file_bytes
    with plan.room() as place, running_hive(place / "hive") as hive:
        for number in range(1, STORES):
            _add_store(hive, place / f"disk{number}", f"disk{number}")
        for number in range(plan.rounds):
            for scheme in ("none", CODE) if number % 2 == 0 else (CODE, "none"):
                # another file for each scheme, or the second would find its chunks there already
                source = write_noise(place / "source", size)
                _upload(hive, source, scheme, f"/{_file_of(scheme)}", costs)
        for scheme in ("none", CODE):
            hive.download(f"/{_file_of(scheme)}")
        alternated(plan.rounds, [_downloaded(hive, scheme, f"out {scheme}", costs) for scheme in ("none", CODE)])
        hive.stop()
        for number in (1, 2):
            (place / f"disk{number}").rename(place / f"gone{number}")
        hive.start()
        alternated(plan.rounds, [_downloaded(hive, CODE, "out gone", costs)])
    return [
        _ratio("ec(4,2) upload, time over none", costs, f"in {CODE}", "in none", size, 1.6),
        _ratio("ec(4,2) download, time over none", costs, f"out {CODE}", "out none", size, 1.2),
        _ratio("ec(4,2) download, two stores gone, over none", costs, "out gone", "out none", size, 2.0),
    ]


def _file_of(scheme: str) -> str:
    return "coded" if scheme == CODE else "plain"


def _add_store(hive: BenchHive, directory: Path, name: str) -> None:
    directory.mkdir()
    hive.call("POST", "/api/admin/stores", {"name": name, "url": f"fs://{directory}", "zone": name})


def _upload(hive: BenchHive, source: Path, scheme: str, path: str, costs: dict[str, list[Cost]]) -> None:
    hive.call("PUT", "/api/admin/scheme", {"scheme": scheme})
    os.sync()
    costs[f"in {scheme}"].append(hive.upload(source, path))


def _downloaded(hive: BenchHive, scheme: str, name: str, costs: dict[str, list[Cost]]) -> Callable[[int], None]:
    return partial(_download, hive, f"/{_file_of(scheme)}", costs[name])


def _download(hive: BenchHive, path: str, costs: list[Cost], _: int) -> None:
    costs.append(hive.download(path))


def _ratio(name: str, costs: dict[str, list[Cost]], ours: str, plain: str, size: int, target: float) -> Figure:
    walls = [median([cost.wall_s for cost in costs[key]]) for key in (ours, plain)]
    work = [median([cost.processor_s for cost in costs[key]]) for key in (ours, plain)]
    rates = [size / wall / 1e6 for wall in walls]
    detail = (
        f"{rates[0]:.0f} against {rates[1]:.0f} MB/s; server processor {work[0] / size * 1e9:.2f} against "
        f"{work[1] / size * 1e9:.2f} s/GB ({work[0] / max(0.01, work[1]):.2f}x)"
    )
    return Figure(name, walls[0] / walls[1], "x", detail, at_most=target)
