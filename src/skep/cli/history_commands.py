"""``skep versions|restore|trash|changes``: what was, and how to get it back."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from skep.base.errors import BadInput, CursorTooOld, NodeNotFound, VersionNotFound
from skep.cli.file_commands import space_option
from skep.cli.options import ListingGroup, confirmed, with_hive
from skep.cli.output import Output, human_size, human_time, shown, table
from skep.cli.places import hive_path, space_id
from skep.client.hive import Hive

POLL_S = 50.0


@click.command()
@click.argument("path")
@space_option
@with_hive
def versions(output: Output, hive: Hive, path: str, space: str | None) -> None:
    """List the versions of a file, newest first.

    \b
    Examples:
      skep versions /a.txt
      skep cat --version 3 /a.txt
      skep restore /a.txt --version 3
    """
    node = hive.files.info(hive_path(path), space=space_id(hive.files, space))
    found = hive.files.versions(node.id)
    rows = [
        [
            f"{version['number']}{' *' if version['is_current'] else ''}",
            human_size(version["size_bytes"]),
            human_time(version["modified_us"]),
            human_time(version["created_us"]),
            version["etag"],
        ]
        for version in found
    ]
    output.value(found, lambda: table(["version", "size", "modified", "kept since", "etag"], rows, right=["size"]))


@click.command()
@click.argument("path")
@click.option("--version", type=click.IntRange(min=1), metavar="N", help="Which version (default: the one before).")
@space_option
@with_hive
def restore(output: Output, hive: Hive, path: str, version: int | None, space: str | None) -> None:
    """Bring back an older version of a file, or what is in the trash.

    The old content becomes a new version, so that nothing is lost by restoring. When there is nothing
    at PATH, what was deleted there last is brought back from the trash.

    \b
    Examples:
      skep restore /a.txt                  the version before the newest
      skep restore /a.txt --version 3
      skep restore /deleted.txt            out of the trash
    """
    place = space_id(hive.files, space)
    wanted = hive_path(path)
    node = hive.files.find(wanted, space=place)
    if node is None:
        if version is not None:
            raise NodeNotFound(f"there is no {wanted}: without --version it comes back from the trash, if it is there")
        _restore_trashed(output, hive, wanted, None, place)
        return
    if node.is_directory:
        raise BadInput(f"{wanted} is a directory: only files have versions")
    number = version if version is not None else _version_before(hive, node.id, wanted)
    restored = hive.files.restore_version(node.id, number)
    output.value(restored.raw, f"{shown(restored.path)} has the content of version {number} again")


def _version_before(hive: Hive, node_id: str, path: str) -> int:
    older = [version["number"] for version in hive.files.versions(node_id) if not version["is_current"]]
    if not older:
        raise VersionNotFound(f"{path} has one version only")
    return int(max(older))


@click.group(cls=ListingGroup)
def trash() -> None:
    """See, restore or empty the trash."""


@trash.command("ls")
@space_option
@with_hive
def trash_ls(output: Output, hive: Hive, space: str | None) -> None:
    """List what is in the trash, newest first."""
    found = list(hive.files.trash(space=space_id(hive.files, space)))
    rows = [
        [
            human_time(entry["deleted_us"]),
            human_size(entry["size_bytes"]),
            shown(entry["path"]) + ("/" if entry["kind"] == "directory" else ""),
            entry["id"],
        ]
        for entry in found
    ]
    output.value(
        found, lambda: table(["deleted", "size", "was at", "id"], rows, right=["size"]) or "the trash is empty"
    )


@trash.command("restore")
@click.argument("entry", metavar="PATH|ID")
@click.option("--to", metavar="PATH", help="Where to (default: where it was).")
@space_option
@with_hive
def trash_restore(output: Output, hive: Hive, entry: str, to: str | None, space: str | None) -> None:
    """Bring something back from the trash, with all that is in it.

    Of several things deleted at one path, the one deleted last comes back; by id, any of them.
    """
    _restore_trashed(output, hive, entry, to, space_id(hive.files, space))


def _restore_trashed(output: Output, hive: Hive, entry: str, to: str | None, space: str | None) -> None:
    found = next((known for known in hive.files.trash(space=space) if entry in (known["id"], known["path"])), None)
    if found is None:
        raise NodeNotFound(f"there is no {entry} in the trash: `skep trash ls` shows what is")
    node = hive.files.restore_from_trash(found["id"], None if to is None else hive_path(to))
    output.value(node.raw, f"{shown(node.path)} is back")


@trash.command("empty")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@space_option
@with_hive
def trash_empty(output: Output, hive: Hive, yes: bool, space: str | None) -> None:
    """Delete everything in the trash for good."""
    place = space_id(hive.files, space)
    confirmed("Delete everything in the trash for good?", yes)
    purged = hive.files.empty_trash(space=place)
    output.value({"purged": purged}, f"{purged} things are gone for good")


@click.command()
@click.option("--since", metavar="CURSOR", help="Only what came after this cursor (default: all that is kept).")
@click.option("-f", "--follow", is_flag=True, help="Go on, showing changes as they happen.")
@space_option
@with_hive
def changes(output: Output, hive: Hive, since: str | None, follow: bool, space: str | None) -> None:
    """Show what changed in a space, and follow it.

    With --json each change is a line of its own, with the cursor to go on from.

    \b
    Examples:
      skep changes --follow
      skep changes --json --since CURSOR
    """
    place, cursor = space_id(hive.files, space), since
    while True:
        try:
            page = hive.files.changes(cursor, space=place, timeout_s=POLL_S if follow else 0.0)
        except CursorTooOld:
            raise CursorTooOld("the journal no longer reaches back to this cursor: list the files anew") from None
        cursor = page["cursor"]
        for change in page["changes"]:
            print(
                json.dumps({**change, "cursor": cursor}, ensure_ascii=False) if output.as_json else change_line(change)
            )
        if not page["more"] and not follow:
            break
    if not output.as_json:
        output.note(f"go on with: skep changes --since {cursor}")


def change_line(change: Mapping[str, object]) -> str:
    """A change as people read it."""
    moved = f" (was {shown(str(change['old_path']))})" if change.get("old_path") else ""
    slash = "/" if change["node_kind"] == "directory" else ""
    at_us = change["at_us"]
    when = human_time(at_us if isinstance(at_us, int) else None)
    return f"{when}  {change['kind']:<8}  {shown(str(change['path']))}{slash}{moved}"
