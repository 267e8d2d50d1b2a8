"""``skep store set`` and ``skep store cost``: what an owner says of a store, and what it costs."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import click

from skep.base.errors import BadInput
from skep.base.sizes import parse_size
from skep.cli.options import with_hive
from skep.cli.output import Output, human_size, shown, table
from skep.client.hive import Hive

NONE = "none"


@click.command("set")
@click.argument("name")
@click.option("--zone", help="What it fails with: a disk, provider, building.")
@click.option("--capacity", metavar="SIZE|none", help="How much the hive may use; none: all there is.")
@click.option("--price-stored", metavar="PRICE|none", help="For a gigabyte (10^9 bytes) kept for a month.")
@click.option("--price-up", metavar="PRICE|none", help="For a gigabyte sent to it.")
@click.option("--price-down", metavar="PRICE|none", help="For a gigabyte read from it.")
@click.option("--jurisdiction", metavar="TEXT", help="Whose law it lies under, such as DE.")
@click.option("--household", metavar="TEXT", help="Which home or office it stands in.")
@click.option("--up", metavar="SIZE|none", help="Send at most so much in a second, such as 5MB.")
@click.option("--down", metavar="SIZE|none", help="Read at most so much in a second.")
@click.option(
    "--cache",
    type=click.Choice(["on", "off", "auto"]),
    help="Keep what is read from it in the read cache; auto: if far.",
)
@with_hive
def store_set(output: Output, hive: Hive, /, name: str, **given: str | None) -> None:
    """Say what a store is: its zone, its size, its price, its speed.

    What is not given stays as it is. Prices are in any one currency, the same for all stores.

    \b
    Examples:
      skep store set b2 --price-stored 0.006 --price-down 0.01 --jurisdiction US
      skep store set desk --up 2MB --down 10MB --capacity 500GB
      skep store set nas --cache on
    """
    changes: dict[str, object] = {}
    if given["zone"] is not None:
        changes["zone"] = given["zone"]
    if given["capacity"] is not None:
        changes["capacity_bytes"] = _size(given["capacity"])
    named = {key: value for key, value in given.items() if key not in ("zone", "capacity") and value is not None}
    if named:
        changes["terms"] = {**hive.stores.get(name)["terms"], **dict(map(_term, named.items()))}
    if not changes:
        raise BadInput("nothing to change: see skep store set --help")
    made = hive.stores.change(name, **changes)
    output.value(made, lambda: _terms_text(made))


def _term(pair: tuple[str, str]) -> tuple[str, object]:
    option, text = pair
    match option:
        case "jurisdiction" | "household":
            return option, text
        case "cache":
            return option, {"on": True, "off": False}.get(text)
        case "up" | "down":
            return f"{option}_bytes_per_s", _size(text)
        case _:
            return option, _price(text)


def _size(text: str) -> int | None:
    return None if text == NONE else parse_size(text)


def _price(text: str) -> str | None:
    """A price as exact text."""
    if text == NONE:
        return None
    try:
        return str(Decimal(text))
    except InvalidOperation:
        raise BadInput(f"{text!r} is no price: give a number such as 0.006") from None


def _terms_text(known: dict[str, Any]) -> str:
    terms = known["terms"]
    rows = [
        ["zone", shown(known["zone"])],
        ["capacity", human_size(known["capacity_bytes"])],
        ["a GB kept for a month", str(terms.get("price_stored") or "-")],
        ["a GB sent", str(terms.get("price_up") or "-")],
        ["a GB read", str(terms.get("price_down") or "-")],
        ["jurisdiction", shown(terms.get("jurisdiction") or "-")],
        ["household", shown(terms.get("household") or "-")],
        ["sends at most, in a second", human_size(terms.get("up_bytes_per_s"))],
        ["reads at most, in a second", human_size(terms.get("down_bytes_per_s"))],
        ["is cached", "yes" if known["cached"] else "no"],
    ]
    return table([shown(known["name"]), ""], rows)


@click.command("cost")
@click.option("--mine", is_flag=True, help="Of your own stores alone.")
@with_hive
def store_cost(output: Output, hive: Hive, mine: bool) -> None:
    """Show what each store costs: the month so far, and its forecast.

    The forecast takes it that what is kept stays and that traffic goes on as it has so far. Prices are set
    with `skep store set`.
    """
    found = hive.stores.costs(mine=mine)
    output.value(found, lambda: _costs_text(found))


def _costs_text(found: dict[str, Any]) -> str:
    rows = [
        [
            shown(each["name"]),
            human_size(each["used_bytes"]),
            human_size(each["average_bytes"]),
            human_size(each["up_bytes"]),
            human_size(each["down_bytes"]),
            _money(each["so_far"]),
            _money(each["forecast"]),
        ]
        for each in found["stores"]
    ]
    rows.append(["all", "", "", "", "", _money(found["so_far"]), _money(found["forecast"])])
    heads = [f"store in {found['month']}", "kept now", "on average", "sent", "read", "so far", "forecast"]
    return table(heads, rows, right=heads[1:])


def _money(text: str | None) -> str:
    return "no price" if text is None else f"{Decimal(text):.2f}"
