"""``python -m skep.testing.simulation``: run seeds, tell which fail and how to see it again."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable

from skep.testing.simulation.run import Report, run_seed

PROGRESS_EVERY_S = 5.0


def main() -> int:
    """0 when every seed held, 1 when one failed, 2 for a bad command line."""
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of texts must be the same in every run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "skep.testing.simulation", *sys.argv[1:]])  # noqa: S606
    first, _, end = options.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    if options.trace:
        return _traced(seeds)
    return _many(seeds, options.jobs, options.keep_going)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m skep.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:100", help="FIRST:END, or one seed (default 0:100)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--keep-going", action="store_true", help="go on after a seed that failed")
    return parser.parse_args()


def _traced(seeds: Iterable[int]) -> int:
    failed = 0
    for seed in seeds:
        report = run_seed(seed, keep_trace=True)
        _say("\n".join(report.tail))
        _say(_told(report))
        failed += report.failure is not None
    return int(failed > 0)


def _many(seeds: range, jobs: int, keep_going: bool) -> int:
    started_s = told_s = time.monotonic()
    done = failed = deaths = turns = 0
    simulated_s = 0.0
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=2000) as pool:
        for report in pool.imap_unordered(run_seed, seeds, chunksize=4):
            done, deaths, turns = done + 1, deaths + report.deaths, turns + report.turns
            simulated_s += report.simulated_s
            if report.failure is not None:
                failed += 1
                _say(_told(report))
                if not keep_going:
                    pool.terminate()
                    break
            if time.monotonic() - told_s > PROGRESS_EVERY_S:
                told_s = time.monotonic()
                _say(f"{done} of {len(seeds)} seeds, {done / (told_s - started_s):.1f} a second")
    _say(
        f"{done} seeds, {failed} failed: {deaths} deaths, {turns} turns, {simulated_s / 3600:.0f} simulated hours "
        f"in {time.monotonic() - started_s:.0f} s"
    )
    return int(failed > 0)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _told(report: Report) -> str:
    head = (
        f"seed {report.seed}: {report.lives} lives, {report.turns} turns, {report.simulated_s:.0f} s, {report.digest}"
    )
    if report.failure is None:
        return f"{head}: {report.done}"
    again = f"python -m skep.testing.simulation --seeds {report.seed} --trace"
    return f"{head}\n  FAILED: {report.failure}\n  see it again: {again}"


if __name__ == "__main__":
    sys.exit(main())
