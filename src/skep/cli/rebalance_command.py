"""``skep store rebalance``: fill the stores evenly."""

from __future__ import annotations

import time
from typing import Any

import click

from skep.cli.exits import FAILED
from skep.cli.meter import transfer_meter
from skep.cli.options import confirmed, with_hive
from skep.cli.output import Output, human_size, shown, table
from skep.client.hive import Hive

POLL_S = 0.5


@click.command("rebalance")
@click.option("--plan", "plan_only", is_flag=True, help="Only show what would move and why.")
@click.option("--run", "version", type=int, metavar="N", help="Carry out plan N, which was shown before.")
@click.option("--status", "status", is_flag=True, help="Show the last plan and how far it is.")
@click.option("--cancel", "cancel", is_flag=True, help="End the plan that runs; what has moved stays.")
@click.option("--wait", is_flag=True, help="Stay until it is done.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def store_rebalance(
    output: Output, hive: Hive, plan_only: bool, version: int | None, status: bool, cancel: bool, wait: bool, yes: bool
) -> None:
    """Move shards so that each store is filled by its size.

    After a store was added new data goes to it by itself; this moves old data too. A plan is made and shown
    first: what each store holds, what it should hold, and what it will. Zones are kept apart. The plan holds
    for the stores as they are now; when one comes, goes or changes, a new one is needed.

    \b
    Examples:
      skep store rebalance --plan
      skep store rebalance --run 3 --wait
    """
    administration = hive.administration
    if status or cancel:
        plans = administration.rebalances()
        last = plans[0] if plans else None
        if cancel and last is not None:
            last = administration.cancel_rebalance(last["version"])
        output.value(last, lambda: _text(last) if last else "no plan was made yet")
        return
    if version is None:
        plan = administration.propose_rebalance()
        if plan_only or not plan["moves"]:
            output.value(plan, lambda: _text(plan))
            return
        output.note(_text(plan))
        confirmed(f"Move {human_size(plan['move_bytes'])} now?", yes)
        version = plan["version"]
    plan = administration.start_rebalance(version)
    if wait:
        plan = _watch(output, hive, plan)
    output.value(plan, lambda: _text(plan))
    if plan["state"] in ("stale", "cancelled"):
        raise SystemExit(FAILED)


def _watch(output: Output, hive: Hive, plan: dict[str, Any]) -> dict[str, Any]:
    with transfer_meter(output, "moving", files=plan["moves"], size_bytes=plan["move_bytes"]) as meter:
        told = plan
        while plan["state"] == "running":
            time.sleep(POLL_S)
            plan = hive.administration.rebalance(plan["version"])
            meter.moved(plan["moved_bytes"] - told["moved_bytes"])
            meter.finished(plan["moved"] + plan["skipped"] - told["moved"] - told["skipped"])
            told = plan
    return plan


def _text(plan: dict[str, Any]) -> str:
    rows = [
        [
            shown(each["name"]),
            shown(each["zone"]),
            human_size(each["used_bytes"]),
            human_size(each["share_bytes"]),
            human_size(each["after_bytes"]),
        ]
        for each in plan["stores"]
    ]
    heads = ["store", "zone", "held", "should hold", "will hold"]
    lines = [table(heads, rows, right=heads[2:]), ""]
    if not plan["moves"]:
        return "\n".join(
            [*lines, "nothing to move: every store holds its share (within 5 %), or zones leave no choice"]
        )
    lines += [f"plan {plan['version']} ({plan['state']}): {plan['moves']} shards, {human_size(plan['move_bytes'])}"]
    if plan["moved"] or plan["skipped"]:
        lines += [f"moved {plan['moved']} ({human_size(plan['moved_bytes'])}), skipped {plan['skipped']}"]
    if plan["state"] == "proposed":
        lines += [f"carry it out with: skep store rebalance --run {plan['version']}"]
    return "\n".join(lines)
