"""``skep share``: give others access to files and directories, and take what they give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from skep.base.errors import BadInput, ShareNotFound
from skep.cli.file_commands import space_option
from skep.cli.options import ListingGroup, with_hive
from skep.cli.output import Output, shown, table
from skep.cli.places import hive_path, space_id
from skep.client.hive import Hive


@click.group(cls=ListingGroup)
def share() -> None:
    """Give others access to files and directories, and see what they gave you."""


@share.command("ls")
@space_option
@with_hive
def share_ls(output: Output, hive: Hive, space: str | None) -> None:
    """List what you share, and what was shared with you.

    An accepted share is a space of yours: `skep ls --space NAME`.
    """
    given = list(hive.shares.given(space=space_id(hive.files, space)))
    held = [] if space is not None else list(hive.shares.held())
    output.value({"given": given, "held": held}, lambda: _listing(given, held))


def _listing(given: list[Mapping[str, Any]], held: list[Mapping[str, Any]]) -> str:
    mine = [
        [shown(one["path"] or "(in the trash)"), _holder(one), _rights(one), one["state"] or "-", one["id"]]
        for one in given
    ]
    theirs = [[shown(one["name"]), shown(one["owner"]), _rights(one), one["state"], one["id"]] for one in held]
    parts = []
    if mine:
        parts.append(table(["shared by you", "with", "rights", "state", "id"], mine))
    if theirs:
        parts.append(table(["shared with you", "from", "rights", "state", "id"], theirs))
    return "\n\n".join(parts)


def _holder(one: Mapping[str, Any]) -> str:
    holder = one["holder"]
    return shown(holder["name"]) + (" (group)" if holder["kind"] == "group" else "")


def _rights(one: Mapping[str, Any]) -> str:
    return f"{one['rights']}{', may share' if one['may_share'] else ''}"


@share.command("add")
@click.argument("path")
@click.option("--user", metavar="NAME", help="Share with this user.")
@click.option("--group", metavar="NAME", help="Share with this group, one that you are in.")
@click.option(
    "--rights",
    type=click.Choice(["read", "write", "upload"]),
    default="read",
    show_default=True,
    help="read; write: read and change; upload: add files without seeing any.",
)
@click.option("--may-share", is_flag=True, help="The user may pass it on.")
@space_option
@with_hive
def share_add(
    output: Output,
    hive: Hive,
    path: str,
    user: str | None,
    group: str | None,
    rights: str,
    may_share: bool,
    space: str | None,
) -> None:
    """Share a file or directory with a user or group.

    It shows for them once they accept it. What they add counts against your quota.

    \b
    Examples:
      skep share add /Pictures/2026 --user ben
      skep share add /Inbox --group family --rights upload
    """
    if (user is None) == (group is None):
        raise click.UsageError("say with whom: --user or --group, one of them")
    place = space_id(hive.files, space)
    given = hive.shares.give(hive_path(path), space=place, user=user, group=group, rights=rights, may_share=may_share)
    output.value(given, lambda: f"{shown(given['path'])} is shared with {_holder(given)}: {_rights(given)}")


@share.command("rm")
@click.argument("which", metavar="PATH|ID")
@click.option("--user", metavar="NAME", help="Only the share with this user.")
@click.option("--group", metavar="NAME", help="Only the share with this group.")
@space_option
@with_hive
def share_rm(output: Output, hive: Hive, which: str, user: str | None, group: str | None, space: str | None) -> None:
    """Take shares back: all of a path, of one holder, or one by id.

    What was passed on of them ends too.
    """
    place = space_id(hive.files, space)
    path = hive_path(which) if which.startswith("/") else None
    wanted = (user or group or "").casefold()
    gone = [
        one
        for one in hive.shares.given(space=place)
        if (one["id"] == which if path is None else one["path"] == path)
        and (not wanted or one["holder"]["name"].casefold() == wanted)
        and (user is None or one["holder"]["kind"] == "user")
        and (group is None or one["holder"]["kind"] == "group")
    ]
    if not gone:
        raise ShareNotFound(f"{which} is not shared like that: `skep share ls` shows what is")
    for one in gone:
        hive.shares.revoke(one["id"])
    output.value(gone)


@share.command("accept")
@click.argument("which", metavar="NAME|ID")
@click.option("--name", metavar="NAME", help="What you call it; give it again to rename it.")
@with_hive
def share_accept(output: Output, hive: Hive, which: str, name: str | None) -> None:
    """Accept what was shared with you: it is a space of yours then.

    \b
    Example:
      skep share accept Pictures --name "Pictures of Ada"
      skep ls --space "Pictures of Ada"
    """
    held = hive.shares.answer(_held(hive, which)["id"], accept=True, name=name)
    output.value(held, lambda: f"it is a space of yours now: skep ls --space '{shown(held['name'])}'")


@share.command("decline")
@click.argument("which", metavar="NAME|ID")
@with_hive
def share_decline(output: Output, hive: Hive, which: str) -> None:
    """Decline what was shared with you, or leave what you had accepted."""
    output.value(hive.shares.answer(_held(hive, which)["id"], accept=False))


def _held(hive: Hive, which: str) -> Mapping[str, Any]:
    """The share of an id or a name. Raises ShareNotFound, BadInput."""
    held = list(hive.shares.held())
    found = [one for one in held if one["id"] == which]
    found = found or [one for one in held if one["name"].casefold() == which.casefold()]
    if not found:
        raise ShareNotFound(f"nothing called {which!r} was shared with you: `skep share ls` shows what was")
    if len(found) > 1:
        raise BadInput(f"several shares are called {which!r}: give the id")
    return found[0]
