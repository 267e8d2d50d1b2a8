"""``python -m skep.testing.simulation``: run seeds, tell which fail and how to see it again."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

from skep.testing.simulation.month import Month
from skep.testing.simulation.run import Report, Run, run_seed
from skep.testing.simulation.sabotage import SABOTAGE

PROGRESS_EVERY_S = 5.0


def main() -> int:
    """0 when every seed held, 1 when one failed, 2 for a bad command line."""
    options = _options()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of texts must be the same in every run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "skep.testing.simulation", *sys.argv[1:]])  # noqa: S606
    first, _, end = options.seeds.partition(":")
    seeds = range(int(first), int(end) if end else int(first) + 1)
    run = partial(run_seed, sabotage=options.sabotage, kind=Month if options.month else Run)
    if options.trace:
        return _traced(run, seeds)
    return _many(run, seeds, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m skep.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:100", help="FIRST:END, or one seed (default 0:100)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--trace", action="store_true", help="print all that happens")
    parser.add_argument("--keep-going", action="store_true", help="go on after a seed that failed")
    parser.add_argument("--month", action="store_true", help="thirty days of store failures in each run")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGE), help="make this mistake, to see it noticed")
    return parser.parse_args()


def _traced(run: Callable[..., Report], seeds: Iterable[int]) -> int:
    failed = 0
    for seed in seeds:
        report = run(seed, keep_trace=True)
        _say("\n".join(report.tail))
        _say(_told(report))
        failed += report.failure is not None
    return int(failed > 0)


def _many(run: Callable[[int], Report], seeds: range, options: argparse.Namespace) -> int:
    started_s = told_s = time.monotonic()
    done = failed = deaths = turns = 0
    simulated_s = 0.0
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=2000) as pool:
        for report in pool.imap_unordered(run, seeds, chunksize=1):
            done, deaths, turns = done + 1, deaths + report.deaths, turns + report.turns
            simulated_s += report.simulated_s
            if report.failure is not None or options.month:
                _say(_told(report))
            if report.failure is not None:
                failed += 1
                if not options.keep_going:
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
        return " ".join(map(str, (f"{head}:", report.done, *filter(None, (report.happened, report.kept)))))
    again = f"python -m skep.testing.simulation --seeds {report.seed} --trace"
    return f"{head}\n  FAILED: {report.failure}\n  see it again: {again}"


if __name__ == "__main__":
    sys.exit(main())
