"""``skep tag`` and ``skep find``: the user's own words on files and directories."""

from __future__ import annotations

import click

from skep.cli.file_commands import space_option
from skep.cli.options import ListingGroup, with_hive
from skep.cli.output import Output, human_size, shown, table
from skep.cli.places import hive_path, space_id
from skep.client.hive import Hive


@click.group(cls=ListingGroup)
def tag() -> None:
    """Set, remove or list tags: your own words on files and directories."""


@tag.command("ls")
@click.argument("path", required=False)
@space_option
@with_hive
def tag_ls(output: Output, hive: Hive, path: str | None, space: str | None) -> None:
    """List your tags, or those of one file or directory."""
    if path is not None:
        names = list(hive.files.info(hive_path(path), space=space_id(hive.files, space)).raw.get("tags", ()))
        output.value(names, lambda: "\n".join(map(shown, names)))
        return
    found = hive.files.tags()
    rows = [[shown(known["name"]), str(known["count"])] for known in found]
    output.value(found, lambda: table(["tag", "on"], rows, right=["on"]))


@tag.command("add")
@click.argument("path")
@click.argument("names", nargs=-1, required=True, metavar="TAG...")
@space_option
@with_hive
def tag_add(output: Output, hive: Hive, path: str, names: tuple[str, ...], space: str | None) -> None:
    """Put tags on a file or directory.

    \b
    Example:
      skep tag add /Pictures/2026 family summer
    """
    node = hive.files.info(hive_path(path), space=space_id(hive.files, space))
    changed = hive.files.set_tags(node.id, sorted({*node.raw.get("tags", ()), *names}))
    output.value(changed.raw)


@tag.command("rm")
@click.argument("path")
@click.argument("names", nargs=-1, required=True, metavar="TAG...")
@space_option
@with_hive
def tag_rm(output: Output, hive: Hive, path: str, names: tuple[str, ...], space: str | None) -> None:
    """Take tags off a file or directory."""
    node = hive.files.info(hive_path(path), space=space_id(hive.files, space))
    changed = hive.files.set_tags(node.id, sorted({*node.raw.get("tags", ())} - set(names)))
    output.value(changed.raw)


@tag.command("rename")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--merge", is_flag=True, help="NEW may be a tag of yours already: the two become one.")
@with_hive
def tag_rename(output: Output, hive: Hive, old: str, new: str, merge: bool) -> None:
    """Give a tag another name, on everything that has it."""
    renamed = hive.files.rename_tag(old, new, merge=merge)
    output.value({"renamed": renamed}, lambda: f"renamed on {renamed}")


@click.command()
@click.argument("name", metavar="TAG")
@with_hive
def find(output: Output, hive: Hive, name: str) -> None:
    """List what carries a tag.

    \b
    Example:
      skep find family
    """
    nodes = hive.files.tagged(name)
    rows = [[human_size(node.size_bytes), shown(node.path) + ("/" if node.is_directory else "")] for node in nodes]
    output.value([node.raw for node in nodes], lambda: table(["size", "path"], rows, right=["size"]))
