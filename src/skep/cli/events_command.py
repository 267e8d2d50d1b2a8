"""``skep events``: changes as they happen."""

from __future__ import annotations

import json
from typing import Any

import click

from skep.cli.file_commands import space_option
from skep.cli.history_commands import change_line
from skep.cli.options import with_hive
from skep.cli.output import Output
from skep.cli.places import hive_path, space_id
from skep.client.hive import Hive


@click.command()
@click.argument("path", default="/")
@click.option("-f", "--follow", is_flag=True, help="Go on until you stop it.")
@click.option("--since", metavar="CURSOR", help="Begin with what came after this cursor (default: now).")
@click.option("--node", metavar="ID", help="Follow one file or directory by its id, wherever it is moved.")
@space_option
@with_hive
def events(
    output: Output, hive: Hive, path: str, follow: bool, since: str | None, node: str | None, space: str | None
) -> None:
    """Wait for the next change at or below PATH and show it; with --follow, go on.

    A connection that breaks is made again, and nothing is missed. With --json each change is a line of
    its own, with the cursor to go on from.

    \b
    Examples:
      skep events --follow /Pictures
      skep events /inbox && process-the-inbox
      skep events --json --follow --since CURSOR
    """
    place = space_id(hive.files, space)
    asked = {"node": node} if node else {"path": hive_path(path)}
    for batch in hive.live.follow(space=place, cursor=since, **asked):
        if batch.listed_anew:
            output.note("changes before this are not known any more: list the files anew")
        for change in batch.changes:
            print(_json(change, batch.cursor) if output.as_json else change_line(change), flush=True)
        if batch.changes and not follow:
            break
        if not batch.changes and not batch.listed_anew and not output.as_json:
            output.note(f"following from {batch.cursor}")


def _json(change: Any, cursor: str) -> str:
    return json.dumps({**change, "cursor": cursor}, ensure_ascii=False)
