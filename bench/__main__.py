"""``make bench``: measure a hive against its targets and against the peers that are installed.

Starts real hives in a temporary directory, prints a table of medians, and with ``--record`` adds it
to bench/RESULTS.md. Exits with 0 whatever was measured: no test depends on speed.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import machine
from bench.agent_links import agent_links
from bench.big_file import download, upload
from bench.blocks import blocks
from bench.coding import coding
from bench.credentials import credentials
from bench.dedup import dedup
from bench.figures import Row, table
from bench.grid import grid
from bench.growth import growth
from bench.keeping import keeping
from bench.ledger import metered
from bench.live_streams import live_streams
from bench.memory import memory
from bench.pipeline import pipeline
from bench.plan import Plan, plan
from bench.push import push
from bench.s3 import s3
from bench.slow_clients import slow_clients
from bench.small_files import small_files
from bench.webdav import webdav
from skep.base.sizes import parse_size

MEASUREMENTS: dict[str, Callable[[Plan], list[Row]]] = {
    "upload": upload,
    "download": download,
    "pipeline": pipeline,
    "coding": coding,
    "small-files": small_files,
    "s3": s3,
    "dedup": dedup,
    "memory": memory,
    "slow-clients": slow_clients,
    "live-streams": live_streams,
    "credentials": credentials,
    "ledger": metered,
    "growth": growth,
    "webdav": webdav,
    "blocks": blocks,
    "agent-links": agent_links,
    "grid": grid,
    "push": push,
    "keeping": keeping,
}
RESULTS = Path(__file__).with_name("RESULTS.md")
RESULTS_HEAD = "# Results of `make bench`\n\nNewest first; each table is one run on one machine.\n"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="measure this alone (repeatable)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one round, no verdicts: tries the bench itself"
    )
    parser.add_argument("--full", action="store_true", help="the sizes of the targets: 4 GiB, 1,000,000 nodes")
    parser.add_argument("--size", type=parse_size, metavar="SIZE", help="of large files, such as 2GiB (default: 1 GiB)")
    parser.add_argument("--directory", type=Path, help="where to work: on the disk to be measured (default: TMPDIR)")
    parser.add_argument("--record", action="store_true", help="add the table to bench/RESULTS.md")
    return parser.parse_args()


def main() -> int:
    """Measure, print, record."""
    options = arguments()
    directory = (options.directory or Path(tempfile.gettempdir())).resolve()
    chosen = plan(directory, quick=options.quick, full=options.full, file_bytes=options.size)
    facts = machine.facts(directory)
    print("\n".join(facts), flush=True)
    rows: list[Row] = []
    for name in options.only or MEASUREMENTS:
        began_s = time.perf_counter()
        rows += MEASUREMENTS[name](chosen)
        print(f"measured {name} in {time.perf_counter() - began_s:.0f} s", file=sys.stderr, flush=True)
    lines = table(rows, judged=not options.quick)
    print("\n".join(lines))
    if options.record:
        _record(facts, lines)
    return 0


def _record(facts: list[str], lines: list[str]) -> None:
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    heading = f"## {machine.today()}, commit {machine.commit()}"
    section = "\n".join([heading, "", f"    {command}", "", *(f"- {fact}" for fact in facts), "", *lines, ""])
    older = RESULTS.read_text().removeprefix(RESULTS_HEAD) if RESULTS.exists() else ""
    RESULTS.write_text(f"{RESULTS_HEAD}\n{section}{older}")


if __name__ == "__main__":
    sys.exit(main())
