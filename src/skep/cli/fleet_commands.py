"""``skep ps`` and ``skep grid``: what runs, and where it lies."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click

from skep.cli.hq_calling import HqCall, with_hq
from skep.cli.output import Output, human_duration, human_time, shown, table


@click.command()
@with_hq
def ps(output: Output, hq: HqCall) -> None:
    """What runs of all stacks, on which servers."""
    found = hq.ask("ps")
    output.value(found, lambda: slices_table(found) or "nothing runs yet: `git push` a repository with a quarry.yml")


def slices_table(views: list[dict[str, Any]]) -> str:
    """The slices of some stacks, as one table."""
    rows = [
        [
            shown(view["stack"]),
            shown(one["job"]),
            shown(one["id"]),
            shown(one["block"]) or "-",
            one["state"] + (f" ({one['health']})" if one["health"] not in ("none", "healthy") else ""),
            str(one["restarts"]),
            " ".join(f"{b['address']}:{b['host_port']}" for b in one["bindings"]) or "-",
        ]
        for view in views
        for one in view["slices"]
    ]
    return table(["stack", "job", "slice", "server", "state", "restarts", "reached at"], rows, right=["restarts"])


def runs_table(views: list[dict[str, Any]], *, last: int = 10) -> str:
    """How the cron jobs of some stacks ended lately, newest last; empty where there are none."""
    runs = sorted((run for view in views for run in view.get("runs", ())), key=lambda run: int(run["ended_us"]))[-last:]
    rows = [
        [
            shown(run["stack"]),
            shown(run["job"]),
            human_time(run["ended_us"]),
            human_duration((run["ended_us"] - run["started_us"]) / 1e6),
            "-" if run["exit_code"] is None else str(run["exit_code"]),
            shown(run["last_lines"][-1] if run["last_lines"] else run["reason"])[:60],
        ]
        for run in runs
    ]
    return table(["stack", "cron job", "ended", "took", "code", "last line"], rows, right=["code"]) if rows else ""


@click.command()
@with_hq
def grid(output: Output, hq: HqCall) -> None:
    """Draw the servers and what lies on them."""
    told = hq.ask("grid", width=shutil.get_terminal_size((120, 40)).columns, colour=sys.stdout.isatty())
    output.value(told["blocks"], told["text"].rstrip("\n"))
