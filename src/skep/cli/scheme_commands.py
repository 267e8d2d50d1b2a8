"""``skep scheme``: how data is spread over the stores."""

from __future__ import annotations

from typing import Any

import click

from skep.cli.file_commands import space_option
from skep.cli.options import with_hive
from skep.cli.output import Output
from skep.cli.places import space_id
from skep.client.hive import Hive


@click.group()
def scheme() -> None:
    """How data is spread over the stores."""


@scheme.command("show")
@with_hive
def scheme_show(output: Output, hive: Hive) -> None:
    """Show the scheme of new packs."""
    found = hive.administration.scheme()
    _warn(output, found)
    output.value(found, lambda: _of_all(found))


def _count(context: click.Context, option: click.Parameter, text: str | None) -> int | str | None:
    """A number of shards, or ``default``. Raises click.BadParameter."""
    if text is None or text == "default":
        return text
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise click.BadParameter("write a number of shards, or default", context, option)
    return int(text)


@scheme.command("set")
@click.argument("scheme", metavar="SCHEME")
@click.option("--repair-at", metavar="N|default", callback=_count, help="Repair a pack that has N good shards left.")
@click.option("--wanted", metavar="N|default", callback=_count, help="Acknowledge a write when N shards are durable.")
@click.option("--force", is_flag=True, help="Even if the hive refuses so much on one disk or account.")
@click.option("--thresholds-only", is_flag=True, help="Set these counts of SCHEME and leave new data as it is.")
@with_hive
def scheme_set(
    output: Output,
    hive: Hive,
    scheme: str,
    repair_at: int | str | None,
    wanted: int | str | None,
    thresholds_only: bool,
    force: bool,
) -> None:
    """Spread new data so from now on.

    What is there keeps its scheme until it is repacked.

    \b
    none      one copy
    raid0(n)  striped over n stores, no redundancy
    raid1(n)  n copies
    raid5(n)  over n stores, any one may be lost
    raid6(n)  over n stores, any two may be lost
    ec(k,m)   k data and m parity shards, any m of k+m stores may be lost

    Of a pack's shards, k are needed to read it. Repair begins when no more than --repair-at are left, a write is
    acknowledged when --wanted are durable: k < repair at <= wanted <= k+m. Both are k + m/2, rounded up, unless you
    say so. They hold at once, for all data of that scheme.

    \b
    Examples:
      skep scheme set 'ec(2,1)'
      skep scheme set 'ec(8,4)' --repair-at 9 --wanted 11
    """
    given = {"repair_at": repair_at, "wanted": wanted}
    thresholds = {name: None if count == "default" else count for name, count in given.items() if count is not None}
    if thresholds_only:
        thresholds["thresholds_only"] = True
    if force:
        thresholds["force"] = True
    changed = hive.administration.set_scheme(scheme, **thresholds)  # type: ignore[arg-type]
    _warn(output, changed)
    if thresholds_only:
        output.value(changed, lambda: _of_all(changed))
        return
    output.value(changed, lambda: f"{_of_all(changed)}\nwhat is stored already keeps its scheme until it is repacked")


@scheme.command("mine")
@click.argument("scheme", metavar="[SCHEME]", required=False)
@space_option
@with_hive
def scheme_mine(output: Output, hive: Hive, scheme: str | None, space: str | None) -> None:
    """Show or choose how your new files are kept, if the hive allows.

    `default` goes back to the hive's scheme. What is stored already stays as it is.

    \b
    Examples:
      skep scheme mine
      skep scheme mine 'raid1(2)'
      skep scheme mine 'ec(2,1)' --space family
    """
    place = space_id(hive.files, space)
    if scheme is None:
        found = hive.files.options(space=place)
    else:
        found = hive.files.set_scheme(None if scheme == "default" else scheme, space=place)
    whose = "chosen" if found["chosen"] else "the hive's"
    choice = ", ".join(found["allowed"]) or "none"
    output.value(found, lambda: f"{found['scheme']} ({whose}); to choose from: {choice}")


def _warn(output: Output, found: dict[str, Any]) -> None:
    if found["warning"]:
        output.note(found["warning"])
    for finding in found["findings"]:
        output.note(f"careful: {finding}")


def _of_all(found: dict[str, Any]) -> str:
    """The scheme of new packs with its thresholds, and other schemes' that were chosen."""
    others = [f"{each['scheme']}: {_counts(each)}" for each in found["others"]]
    return "\n".join([_meaning(found), _counts(found), *others])


def _counts(found: dict[str, Any]) -> str:
    return f"needed {found['needed']}, repair at {found['repair_at']}, wanted {found['wanted']}, total {found['total']}"


def _meaning(found: dict[str, Any]) -> str:
    k, m = found["data_shards"], found["parity_shards"]
    loss = f"any {m} of {k + m} zones may be lost" if m else "no zone may be lost"
    return f"{found['scheme']}: {k} data and {m} parity shards, {loss}, {(k + m) / k:.2f} times the room"
