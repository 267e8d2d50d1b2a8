"""``skep audit``: who did what to accounts and rights, and whether the log is whole."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from skep.cli.exits import DONE, FAILED
from skep.cli.options import ListingGroup, with_hive
from skep.cli.output import Output, human_time, shown, table
from skep.client.hive import Hive

PAGE = 1000
_NOTED = re.compile(r"([1-9][0-9]{0,17}):([0-9a-fA-F]{64})")


@click.group(cls=ListingGroup)
def audit() -> None:
    """The audit log: who did what to accounts and rights."""


@audit.command("ls")
@click.option("--user", default="", metavar="NAME", help="What this user did, or what was done to them.")
@click.option("--action", default="", help="Only this action, such as login-failed.")
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True, help="How many.")
@click.option("--before", type=click.IntRange(min=1), help="Below this number.")
@with_hive
def audit_ls(output: Output, hive: Hive, user: str, action: str, limit: int, before: int | None) -> None:
    """List the newest entries.

    Administrators see all, others what concerns them.
    """
    found = hive.administration.audit(user=user, action=action, before=before, limit=limit)
    rows = [_row(entry) for entry in found["entries"]]
    heads = ["number", "when", "action", "by", "about", "from", "facts"]
    output.value(found, lambda: table(heads, rows, right=["number"]) or "there are no entries")


@audit.command("export")
@with_hive
def audit_export(output: Output, hive: Hive) -> None:
    """Print the whole log as lines of JSON.

    Newest first; for administrators.
    """
    before: int | None = None
    while True:
        page = hive.administration.audit(user="", action="", before=before, limit=PAGE)
        for entry in page["entries"]:
            print(json.dumps(entry, ensure_ascii=False), flush=False)
        before = page["next"]
        if before is None:
            return


@audit.command("verify")
@click.option("--noted", metavar="NUMBER:HASH", help="An entry that was noted earlier and must still be there.")
@with_hive
def audit_verify(output: Output, hive: Hive, noted: str | None) -> int:
    """Say whether the log is whole.

    Reads all of it: whether anything was changed, removed or put in (administrators). Keep what it prints at a place
    that the hive cannot write to, and give it back with --noted: that also shows when the newest entries were cut off.

    \b
    Example:
      skep audit verify --noted 412:9f3c...
    """
    found = _NOTED.fullmatch(noted) if noted else None
    if noted and found is None:
        raise click.UsageError("--noted is a number, a colon and 64 hexadecimal digits, as verify prints them")
    verdict = hive.administration.verify_audit(int(found[1]), found[2]) if found else _plain(hive)
    if verdict["whole"]:
        output.value(verdict, f"whole, {verdict['entries']} entries; the newest: {verdict['number']}:{verdict['hash']}")
        return DONE
    output.value(verdict, f"BROKEN at entry {verdict['broken_at']}: {verdict['reason']}")
    return FAILED


def _plain(hive: Hive) -> dict[str, Any]:
    return hive.administration.verify_audit(None, None)


def _row(entry: dict[str, Any]) -> list[str]:
    facts = " ".join(f"{name}={value}" for name, value in entry["facts"].items())
    about = entry["subject"] if entry["subject_id"] != entry["actor_id"] else ""
    texts = (entry["action"], entry["actor"] or "-", about, entry["address"], facts)
    return [str(entry["number"]), human_time(entry["at_us"]), *(shown(text) for text in texts)]
