"""Memory of the server, idle and under eight uploads at once, and how soon it is ready."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from bench.figures import Figure, Row, median
from bench.hive import BenchHive, running_hive
from bench.plan import MIB, Plan
from bench.processes import Cost, forget_peak, resident_bytes

UPLOADS = 8
SETTLE_S = 2.0


def memory(plan: Plan) -> list[Row]:
    """Start to ready, resident memory when idle, and the most of it with eight uploads at once."""
    with plan.room() as place, running_hive(place / "hive") as hive:
        starts = [_restart(hive) for _ in range(plan.starts)]
        time.sleep(SETTLE_S)
        idle = resident_bytes(hive.pid)
        forget_peak(hive.pid)
        before = hive.cost()
        _uploads(hive, plan.parallel_bytes)
        cost = hive.cost() - before
        peak = resident_bytes(hive.pid, peak=True)
        time.sleep(SETTLE_S)
        after = resident_bytes(hive.pid)
    total = UPLOADS * plan.parallel_bytes
    loaded = (
        f"{UPLOADS} x {plan.parallel_bytes / MIB:.0f} MiB at {total / cost.wall_s / 1e6:.0f} MB/s together, "
        f"{cost.per_gb(total)}; {after / 1e6:.0f} MB afterwards"
    )
    return [
        _start(starts),
        Figure("memory, idle", idle / 1e6, "MB", f"{SETTLE_S:.0f} s after a start", at_most=120),
        Figure("memory, eight uploads at once", peak / 1e6, "MB", loaded, at_most=400),
    ]


def _restart(hive: BenchHive) -> Cost:
    """The wall time until the hive is ready, and what its process has used until then."""
    hive.stop()
    wall_s = hive.start()
    used = hive.cost()
    return Cost(wall_s, used.user_s, used.system_s, used.faults)


def _start(starts: list[Cost]) -> Figure:
    processor_s = median([cost.processor_s for cost in starts])
    detail = f"process start to /readyz, {len(starts)} starts; {processor_s:.2f} s of processor time each"
    return Figure("start to ready", median([cost.wall_s for cost in starts]), "s", detail, at_most=1.5)


def _uploads(hive: BenchHive, size_bytes: int) -> None:
    """Streams of noise from as many processes, each another file."""
    environment = {**os.environ, "BENCH_TOKEN": hive.token}
    senders = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bench.client",
                "noise",
                hive.data_url(f"/noise-{number}"),
                "--bytes",
                str(size_bytes),
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for number in range(UPLOADS)
    ]
    statuses = [sender.wait() for sender in senders]
    if any(statuses):
        raise RuntimeError("an upload failed: see the lines above")
