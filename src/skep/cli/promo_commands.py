"""``skep promo``: codes that give something, once to an account."""

from __future__ import annotations

import click

from skep.base.clock import SystemClock
from skep.base.durations import parse_duration
from skep.cli.options import SIZE, ListingGroup, with_hive
from skep.cli.output import Output, human_size, human_time, shown, table
from skep.client.hive import Hive


@click.group(cls=ListingGroup)
def promo() -> None:
    """Promo codes: each gives something, once to an account."""


@promo.command("ls")
@with_hive
def promo_ls(output: Output, hive: Hive) -> None:
    """List the codes (administrators)."""
    found = list(hive.credit.promos())
    rows = [
        [
            shown(one["code"]),
            human_size(one["bytes"]) if one["bytes"] else "-",
            str(one["money"] or "-"),
            shown(one["plan"] or "-"),
            f"{one['uses']} of {one['uses_max']}" if one["uses_max"] else str(one["uses"]),
            "-" if one["until_us"] is None else human_time(one["until_us"]),
        ]
        for one in found
    ]
    output.value(found, lambda: table(["code", "credit", "money", "plan", "used", "until"], rows) or "there are none")


@promo.command("add")
@click.argument("code")
@click.option("--credit", "size", type=SIZE, default=0, help="Credit in bytes.")
@click.option("--money", type=click.IntRange(min=0), default=0, help="Money, in the smallest coin.")
@click.option("--plan", help="A prepaid plan.")
@click.option("--for", "duration", help="For how long the plan is given, such as 30d.")
@click.option("--uses", type=click.IntRange(min=1), help="How many accounts may redeem it (default: any number).")
@click.option("--expires", help="For how long it may be redeemed, such as 14d (default: for good).")
@with_hive
def promo_add(
    output: Output,
    hive: Hive,
    code: str,
    size: int,
    money: int,
    plan: str | None,
    duration: str | None,
    uses: int | None,
    expires: str | None,
) -> None:
    """Make a code; one that is there stays as it is (administrators).

    \b
    Examples:
      skep promo add PLEASE --credit 1GB
      skep promo add SPRING --plan plus --for 30d --uses 100 --expires 14d
    """
    until_us = None if expires is None else SystemClock().now_us() + round(parse_duration(expires) * 1e6)
    send = {
        "code": code,
        "bytes": size,
        "money": money,
        "plan": plan,
        "plan_s": None if duration is None else round(parse_duration(duration)),
        "uses_max": uses,
        "until_us": until_us,
    }
    made = hive.credit.add_promo(send)
    output.value(made, f"the code {shown(made['code'])} is there")


@promo.command("rm")
@click.argument("code")
@with_hive
def promo_rm(output: Output, hive: Hive, code: str) -> None:
    """Let nobody redeem a code any more (administrators)."""
    hive.credit.end_promo(code)
    output.value({"code": code}, f"the code {shown(code)} gives nothing any more")


@promo.command("redeem")
@click.argument("code")
@click.option("--account", default="", help="group:NAME, where you are a manager.")
@with_hive
def promo_redeem(output: Output, hive: Hive, code: str, account: str) -> None:
    """Redeem a code for yourself."""
    got = hive.credit.redeem(code, account)
    parts = [human_size(got["bytes"]) + " of credit"] if got["bytes"] else []
    parts += [f"{got['money']} of the smallest coin"] if got["money"] else []
    parts += ["a plan: see `skep plan show`"] if got["plan_s"] else []
    output.value(got, f"redeemed: {', '.join(parts)}")
