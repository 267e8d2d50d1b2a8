"""``skep credit``: what accounts have, where it came from and went, and what credit costs."""

from __future__ import annotations

import sys
import uuid
from typing import Any

import click

from skep.base.errors import SkepError
from skep.base.sizes import parse_size
from skep.cli.options import SIZE, ListingGroup, with_hive
from skep.cli.output import Output, human_size, human_time, shown, table
from skep.client.hive import Hive

who_argument = click.argument("account", default="", metavar="[ACCOUNT]")
money_option = click.option("--money", is_flag=True, help="Money, in the smallest coin: 500 is 5.00.")
key_option = click.option("--key", help="The same key moves once, however often it is used (default: a new one).")
note_option = click.option("--note", default="", help="A line for the statement.")


class CreditGroup(ListingGroup):
    """``skep credit`` alone shows one's own account."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] in ("--json", "-q", "--quiet", "--hive"):
            args = ["show", *args]
        return click.Group.parse_args(self, ctx, args)


@click.group(cls=CreditGroup)
def credit() -> None:
    """What accounts have to spend: balances, statements, deposits, prices.

    ACCOUNT is user:NAME, group:NAME or token:TOKEN; without it one's own. Sizes are credit in bytes.
    """


@credit.command("show")
@who_argument
@with_hive
def credit_show(output: Output, hive: Hive, account: str) -> None:
    """Show what an account has, and its plan."""
    found = hive.credit.show(account)
    rows = [
        ["credit", human_size(found["bytes"]["amount"]), human_size(found["bytes"]["held"])],
        ["money", f"{found['money']['amount']} ({found['currency']}, smallest coin)", str(found["money"]["held"])],
        ["plan", shown(found["plan"] or "-"), ""],
    ]
    output.value(found, lambda: table(["", "has", "set aside"], rows))


@credit.command("statement")
@who_argument
@money_option
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, on standard output.")
@with_hive
def credit_statement(output: Output, hive: Hive, account: str, money: bool, as_csv: bool) -> None:
    """List what went into an account and out of it, newest first.

    \b
    Examples:
      skep credit statement
      skep credit statement group:choir --money --csv > choir.csv
    """
    unit = "money" if money else "bytes"
    if as_csv:
        for part in hive.credit.statement_csv(account, unit):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
        return
    lines = list(hive.credit.statement(account, unit))
    rows = [
        [human_time(line["at_us"]), line["kind"], str(line["amount"]), str(line["balance"]), shown(line["note"])]
        for line in lines
    ]
    heads = ["when", "what", unit, "left", "note"]
    output.value(lines, lambda: table(heads, rows, right=("left", unit)) or "nothing was moved yet")


@credit.command("deposit")
@click.argument("account")
@click.argument("amount")
@money_option
@key_option
@note_option
@with_hive
def credit_deposit(
    output: Output, hive: Hive, account: str, amount: str, money: bool, key: str | None, note: str
) -> None:
    """Credit an account (administrators).

    \b
    Examples:
      skep credit deposit user:ann 10GB --note "welcome"
      skep credit deposit user:ann 500 --money --key order-7
    """
    _move(output, hive, "deposits", account, amount, money, key, note)


@credit.command("withdraw")
@click.argument("account")
@click.argument("amount")
@money_option
@key_option
@note_option
@with_hive
def credit_withdraw(
    output: Output, hive: Hive, account: str, amount: str, money: bool, key: str | None, note: str
) -> None:
    """Take credit from an account (administrators)."""
    _move(output, hive, "withdrawals", account, amount, money, key, note)


@credit.command("give")
@click.argument("to")
@click.argument("amount")
@money_option
@click.option("--of", default="", help="The group whose credit it is (group:NAME), where you are a manager.")
@key_option
@note_option
@with_hive
def credit_give(
    output: Output, hive: Hive, to: str, amount: str, money: bool, of: str, key: str | None, note: str
) -> None:
    """Give of your own credit to another account."""
    send = _transfer(amount, money, key, note) | {"to": to, "of": of}
    _say(output, hive.credit.move("gifts", send))


@credit.command("refund")
@click.argument("transfer")
@click.option("--amount", help="A part of it (default: all).")
@key_option
@note_option
@with_hive
def credit_refund(output: Output, hive: Hive, transfer: str, amount: str | None, key: str | None, note: str) -> None:
    """Give back a transfer, or a part of it (administrators).

    TRANSFER is its id in a statement. Without --key it is given back once.
    """
    part = None if amount is None else parse_size(amount)
    _say(output, hive.credit.refund(transfer, {"amount": part, "key": key or "", "note": note}))


@credit.command("buy")
@click.argument("price")
@click.option("--count", type=int, default=1, show_default=True, help="How many times.")
@click.option("--account", default="", help="Whose money, and whose credit.")
@key_option
@with_hive
def credit_buy(output: Output, hive: Hive, price: str, count: int, account: str, key: str | None) -> None:
    """Turn money of an account into credit.

    PRICE is the id of one that `skep credit prices` lists.
    """
    send = {"price": price, "count": count, "account": account, "key": key or str(uuid.uuid4())}
    _say(output, hive.credit.move("purchases", send))


@credit.command("prices")
@click.option("--all", "everything", is_flag=True, help="Those of before and after, too (administrators).")
@with_hive
def credit_prices(output: Output, hive: Hive, everything: bool) -> None:
    """List what credit costs."""
    found = hive.credit.prices(everything=everything)
    rows = [
        [
            human_size(price["bytes"]),
            str(price["cost"]),
            human_time(price["from_us"]),
            "-" if price["until_us"] is None else human_time(price["until_us"]),
            price["id"],
        ]
        for price in found["prices"]
    ]
    heads = ["credit", f"cost ({found['currency']}, smallest coin)", "from", "until", "id"]
    output.value(found, lambda: table(heads, rows) or "credit is not sold here")


@credit.group("price")
def credit_price() -> None:
    """Set what credit costs (administrators)."""


@credit_price.command("add")
@click.argument("size", type=SIZE)
@click.argument("cost", type=click.IntRange(min=1))
@with_hive
def credit_price_add(output: Output, hive: Hive, size: int, cost: int) -> None:
    """Sell SIZE of credit for COST of the smallest coin, from now on.

    \b
    Example:
      skep credit price add 100GB 500
    """
    made = hive.credit.add_price({"bytes": size, "cost": cost})
    output.value(made, f"{human_size(made['bytes'])} for {made['cost']}: price {made['id']}")


@credit_price.command("end")
@click.argument("price")
@with_hive
def credit_price_end(output: Output, hive: Hive, price: str) -> None:
    """Sell at a price no longer."""
    output.value(hive.credit.end_price(price), "this price holds no longer")


@credit.group("key")
def credit_key() -> None:
    """Keys of programs that deposit and withdraw (administrators)."""


@credit_key.command("ls")
@with_hive
def credit_key_ls(output: Output, hive: Hive) -> None:
    """List the keys, without their secrets."""
    found = hive.credit.keys()
    rows = [[shown(key["name"]), key["may"], human_time(key["created_us"])] for key in found]
    output.value(found, lambda: table(["name", "may", "since"], rows) or "there are no keys")


@credit_key.command("add")
@click.argument("name")
@click.option(
    "--may",
    type=click.Choice(["deposit", "withdraw", "both"]),
    default="both",
    show_default=True,
    help="What it is for.",
)
@click.option("--key-stdin", is_flag=True, help="Read a key that is known already from standard input.")
@with_hive
def credit_key_add(output: Output, hive: Hive, name: str, may: str, key_stdin: bool) -> None:
    """Make a key for a program, and print it once. The same name with the same key is no second one."""
    given = sys.stdin.readline().strip() if key_stdin else None
    made = hive.credit.add_key(name, may, given)
    output.note("this key is not shown again:")
    output.value(made, made["key"])


@credit_key.command("rm")
@click.argument("name")
@with_hive
def credit_key_rm(output: Output, hive: Hive, name: str) -> None:
    """Make a key useless at once."""
    hive.credit.remove_key(name)
    output.value({"name": name}, f"the key {shown(name)} is worth nothing any more")


@credit.command("usage")
@who_argument
@with_hive
def credit_usage(output: Output, hive: Hive, account: str) -> None:
    """Show what an account has used, month by month."""
    found = hive.credit.usage(account)
    rows = [
        [
            str(one["month"]),
            human_size(one["in_bytes"]),
            human_size(one["out_bytes"]),
            str(one["requests"]),
            human_size(one["byte_hours"]),
        ]
        for one in found
    ]
    heads = ["month", "in", "out", "transfers", "stored x hours"]
    output.value(found, lambda: table(heads, rows, right=heads[1:]))


@credit.command("limit")
@click.argument("account")
@click.option("--traffic", type=SIZE, help="What may be downloaded in a month.")
@click.option("--objects", type=click.IntRange(min=0), help="How many files and directories the space holds.")
@click.option("--rate", type=SIZE, help="Bytes in a second, all transfers together.")
@with_hive
def credit_limit(
    output: Output, hive: Hive, account: str, traffic: int | None, objects: int | None, rate: int | None
) -> None:
    """Limit an account beside its plan (administrators).

    What is not given is as the plan says. ACCOUNT is user:NAME or group:NAME.
    """
    found = hive.credit.set_limits(
        {"account": account, "traffic_bytes": traffic, "objects_max": objects, "rate_bytes_s": rate}
    )
    said = [
        f"{human_size(found['traffic_bytes'])} a month" if found["traffic_bytes"] is not None else "any traffic",
        f"{found['objects_max']} files and directories" if found["objects_max"] is not None else "any number of files",
        f"{human_size(found['rate_bytes_s'])} a second" if found["rate_bytes_s"] is not None else "any rate",
    ]
    output.value(found, f"{shown(account)}: {', '.join(said)}")


@credit.command("check")
@with_hive
def credit_check(output: Output, hive: Hive) -> None:
    """Recount the whole ledger (administrators)."""
    found = hive.credit.audit()
    output.value(found, lambda: "\n".join(f"{one['what']}: {one['details']}" for one in found) or "everything adds up")
    if found:
        raise SkepError(f"{len(found)} things in the ledger do not add up")


def _transfer(amount: str, money: bool, key: str | None, note: str) -> dict[str, Any]:
    unit = "money" if money else "bytes"
    return {"amount": parse_size(amount), "unit": unit, "key": key or str(uuid.uuid4()), "note": note}


def _move(
    output: Output, hive: Hive, verb: str, account: str, amount: str, money: bool, key: str | None, note: str
) -> None:
    _say(output, hive.credit.move(verb, _transfer(amount, money, key, note) | {"account": account}))


def _say(output: Output, done: dict[str, Any]) -> None:
    size = human_size(done["amount"]) if done["unit"] == "bytes" else f"{done['amount']} of the smallest coin"
    again = ", as it was before: nothing was moved now" if done["repeated"] else ""
    output.value(done, f"{done['kind']} of {size}: transfer {done['id']}{again}")
