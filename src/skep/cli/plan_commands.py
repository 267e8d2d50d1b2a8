"""``skep plan``: what accounts may use, and who has which plan."""

from __future__ import annotations

from typing import Any

import click

from skep.base.durations import parse_duration
from skep.cli.options import SIZE, ListingGroup, with_hive
from skep.cli.output import Output, human_size, human_time, shown, table
from skep.client.hive import Hive


class Limit(click.ParamType[int | None]):
    """A size, or ``none``."""

    name = "size|none"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        return None if value in (None, "none") else SIZE.convert(value, param, ctx)


LIMIT = Limit()


@click.group(cls=ListingGroup)
def plan() -> None:
    """Plans: what accounts may use, and what that costs."""


@plan.command("ls")
@with_hive
def plan_ls(output: Output, hive: Hive) -> None:
    """List the plans that you may choose; administrators see all."""
    found = hive.credit.plans()
    rows = [
        [
            shown(one["name"]),
            _limit(one["space_bytes"]),
            _limit(one["traffic_bytes"]),
            "-" if one["rate_bytes_s"] is None else f"{human_size(one['rate_bytes_s'])}/s",
            str(one["cost"] or "-"),
            human_size(one["credit_bytes"]) if one["credit_bytes"] else "-",
            "anybody" if one["is_open"] else "by an admin",
        ]
        for one in found
    ]
    heads = ["name", "space", "traffic/month", "rate", "cost/30d", "credit/30d", "chosen by"]
    output.value(found, lambda: table(heads, rows) or "there are no plans")


@plan.command("add")
@click.argument("name")
@click.option("--space", "space_bytes", type=LIMIT, help="What the space holds, all versions counted.")
@click.option("--traffic", "traffic_bytes", type=LIMIT, help="What may be downloaded in a month.")
@click.option("--objects", "objects_max", type=click.IntRange(min=0), help="Files and directories of the space.")
@click.option("--rate", "rate_bytes_s", type=LIMIT, help="Bytes in a second, all transfers of the account together.")
@click.option("--overdraft", "overdraft_bytes", type=LIMIT, default="0", help="How much credit may be owed.")
@click.option("--overdraft-money", type=click.IntRange(min=0), default=0, help="How much money may be owed.")
@click.option("--cost", type=click.IntRange(min=0), default=0, help="Of 30 days, in the smallest coin.")
@click.option("--credit", "credit_bytes", type=LIMIT, default="0", help="Credit that is given every 30 days.")
@click.option("--open", "is_open", is_flag=True, help="Users may choose it themselves.")
@with_hive
def plan_add(output: Output, hive: Hive, /, name: str, **terms: Any) -> None:
    """Make or change a plan (administrators).

    Other terms of a plan that is there hold at once for all who have it.

    \b
    Examples:
      skep plan add free --space 2GB --traffic 20GB --open
      skep plan add plus --space 200GB --traffic 1TB --cost 499 --open
    """
    made = hive.credit.put_plan(name, terms)
    output.value(made, f"the plan {shown(made['name'])} is there")


@plan.command("rm")
@click.argument("name")
@with_hive
def plan_rm(output: Output, hive: Hive, name: str) -> None:
    """Take a plan away that nobody has (administrators)."""
    hive.credit.remove_plan(name)
    output.value({"name": name}, f"the plan {shown(name)} is gone")


@plan.command("show")
@click.argument("account", default="", metavar="[ACCOUNT]")
@with_hive
def plan_show(output: Output, hive: Hive, account: str) -> None:
    """Show which plans an account has.

    ACCOUNT is user:NAME or group:NAME; without it your own.
    """
    _show(output, hive.credit.subscriptions(account))


@plan.command("choose")
@click.argument("name", metavar="PLAN|none")
@click.option("--account", default="", help="user:NAME (administrators) or group:NAME (its managers).")
@with_hive
def plan_choose(output: Output, hive: Hive, name: str, account: str) -> None:
    """Choose the standing plan of an account.

    What is left of the 30 days that were paid for the plan before is given back.

    \b
    Examples:
      skep plan choose plus
      skep plan choose plus --account group:choir
    """
    _show(output, hive.credit.choose_plan(account, None if name == "none" else name))


@plan.command("prepay")
@click.argument("account")
@click.argument("name", metavar="PLAN")
@click.argument("duration")
@with_hive
def plan_prepay(output: Output, hive: Hive, account: str, name: str, duration: str) -> None:
    """Give an account a plan for a time (administrators).

    The time begins when the account is first used.

    \b
    Example:
      skep plan prepay user:ann plus 90d
    """
    made = hive.credit.prepay_plan(account, name, round(parse_duration(duration)))
    output.value(made, f"{shown(account)} has {duration} of {shown(name)}, which begin with its first use")


def _show(output: Output, found: list[dict[str, Any]]) -> None:
    rows = [
        [
            shown(one["plan"]),
            one["kind"],
            one["state"],
            _time(one["starts_us"]),
            _time(one["ends_us"] or one["paid_until_us"]),
        ]
        for one in found
    ]
    output.value(found, lambda: table(["plan", "kind", "state", "since", "until"], rows) or "no plan")


def _limit(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else human_size(size_bytes)


def _time(time_us: int | None) -> str:
    return "-" if time_us is None else human_time(time_us)
