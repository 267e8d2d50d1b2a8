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
    output.value(found, lambda: _meaning(found))


@scheme.command("set")
@click.argument("scheme", metavar="SCHEME")
@with_hive
def scheme_set(output: Output, hive: Hive, scheme: str) -> None:
    """Spread new data so from now on.

    What is there keeps its scheme until it is repacked.

    \b
    none      one copy
    raid0(n)  striped over n stores, no redundancy
    raid1(n)  n copies
    raid5(n)  over n stores, any one may be lost
    raid6(n)  over n stores, any two may be lost
    ec(k,m)   k data and m parity shards, any m of k+m stores may be lost

    \b
    Example:
      skep scheme set 'ec(2,1)'
    """
    changed = hive.administration.set_scheme(scheme)
    _warn(output, changed)
    output.value(changed, lambda: f"{_meaning(changed)}\nwhat is stored already keeps its scheme until it is repacked")


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


def _meaning(found: dict[str, Any]) -> str:
    k, m = found["data_shards"], found["parity_shards"]
    loss = f"any {m} of {k + m} zones may be lost" if m else "no zone may be lost"
    return f"{found['scheme']}: {k} data and {m} parity shards, {loss}, {(k + m) / k:.2f} times the room"
