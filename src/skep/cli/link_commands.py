"""``skep link``: addresses that work without an account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from skep.base.durations import parse_duration
from skep.base.errors import ShareNotFound
from skep.cli.file_commands import space_option
from skep.cli.options import SIZE, ListingGroup, with_hive
from skep.cli.output import Output, human_time, shown, table
from skep.cli.passwords import new_password
from skep.cli.places import hive_path, space_id
from skep.client.hive import Hive


@click.group(cls=ListingGroup)
def link() -> None:
    """Addresses that work without an account: to read, or to put files into."""


@link.command("add")
@click.argument("path")
@click.option("--upload", is_flag=True, help="A drop box: files can be put into the directory, and none is seen.")
@click.option("--name", metavar="NAME", help="What those who open it see (default: the name of what it is on).")
@click.option("--password", "asks", is_flag=True, help="Ask for a password that opening it will take.")
@click.option("--password-stdin", is_flag=True, help="Read that password from standard input.")
@click.option("--expires", metavar="DURATION", help="How long it is good, such as 14d (default: until removed).")
@click.option("--downloads", type=click.IntRange(min=1), metavar="N", help="How often it may be downloaded.")
@click.option("--max-file", type=SIZE, metavar="SIZE", help="The largest file that may be put into it.")
@click.option("--max-total", type=SIZE, metavar="SIZE", help="How much may be put into it in all.")
@space_option
@with_hive
def link_add(
    output: Output,
    hive: Hive,
    path: str,
    upload: bool,
    name: str | None,
    asks: bool,
    password_stdin: bool,
    expires: str | None,
    downloads: int | None,
    max_file: int | None,
    max_total: int | None,
    space: str | None,
) -> None:
    """Make a link on a file or directory and print it.

    Nothing shows its address again: the hive keeps a hash of it.

    \b
    Examples:
      skep link add /Pictures/2026 --expires 14d
      skep link add /Inbox --upload --max-total 2GB
    """
    made = hive.links.make(
        hive_path(path),
        space=space_id(hive.files, space),
        rights="upload" if upload else "read",
        name=name,
        password=new_password(password_stdin) if asks or password_stdin else None,
        expires_in_s=None if expires is None else max(1, round(parse_duration(expires))),
        downloads_max=downloads,
        file_bytes_max=max_file,
        bytes_max=max_total,
    )
    url = made["url"]
    made["url"] = hive.url.rstrip("/") + url if url.startswith("/") else url
    output.value(made, made["url"])


@link.command("ls")
@click.option("--all", "everybodys", is_flag=True, help="All links of the space, by whomever they were made.")
@space_option
@with_hive
def link_ls(output: Output, hive: Hive, everybodys: bool, space: str | None) -> None:
    """List the links that you made, ended ones too."""
    if everybodys or space is not None:
        wanted = space_id(hive.files, space) or hive.files.spaces()[0]["id"]  # one's own is the first
        found = list(hive.links.of_space(wanted))
    else:
        found = list(hive.links.mine())
    head = ["on", "shows as", "for", "password", "ends", "used", "id"]
    output.value(found, lambda: table(head, [_row(one) for one in found]) if found else "there are none")


def _row(one: Mapping[str, Any]) -> list[str]:
    limit = one["downloads_max"]
    used = f"{one['downloads']} of {limit}" if limit is not None else str(one["downloads"])
    return [
        shown(one["path"] or "(in the trash)"),
        shown(one["name"]),
        one["rights"],
        "yes" if one["has_password"] else "no",
        "never" if one["expires_us"] is None else human_time(one["expires_us"]),
        used if one["rights"] == "read" else human_time(one["last_used_us"]),
        one["id"],
    ]


@link.command("rm")
@click.argument("which", metavar="PATH|ID")
@with_hive
def link_rm(output: Output, hive: Hive, which: str) -> None:
    """Take links back: one by its id, or all yours on a path.

    Their addresses end at once.
    """
    path = hive_path(which) if which.startswith("/") else None
    gone = [one for one in hive.links.mine() if (one["id"] == which if path is None else one["path"] == path)]
    if path is None and not gone:
        hive.links.end(which)
        output.value([{"id": which}])
        return
    if not gone:
        raise ShareNotFound(f"you made no link on {which}: `skep link ls` shows those that you made")
    for one in gone:
        hive.links.end(one["id"])
    output.value(gone)
