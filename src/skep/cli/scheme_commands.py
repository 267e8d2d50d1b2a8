"""``skep scheme``: how data is spread over the stores."""

from __future__ import annotations

from typing import Any

import click

from skep.cli.options import with_hive
from skep.cli.output import Output
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


def _warn(output: Output, found: dict[str, Any]) -> None:
    if found["warning"]:
        output.note(found["warning"])


def _meaning(found: dict[str, Any]) -> str:
    k, m = found["data_shards"], found["parity_shards"]
    loss = f"any {m} of {k + m} zones may be lost" if m else "no zone may be lost"
    return f"{found['scheme']}: {k} data and {m} parity shards, {loss}, {(k + m) / k:.2f} times the room"
