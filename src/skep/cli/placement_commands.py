"""``skep placement``: which stores may hold whose content."""

from __future__ import annotations

from typing import Any

import click

from skep.base.errors import BadInput
from skep.cli.options import ListingGroup, with_hive
from skep.cli.output import Output, shown, table
from skep.client.hive import Hive

PLACEMENTS = ("hive", "own-first", "mixed", "own")
_MEANING = {
    "hive": "on the hive's stores",
    "own-first": "on one's own stores, and on the hive's what those cannot take",
    "mixed": "on one's own stores and the hive's alike",
    "own": "on one's own stores alone",
}


@click.group(cls=ListingGroup)
def placement() -> None:
    """Which stores may hold whose content: the hive's, one's own, or both."""


def _whose(function: Any) -> Any:
    for option in (
        click.option("--hive-wide", is_flag=True, help="Of everybody (administrators)."),
        click.option("--group", metavar="NAME", help="Of a group's members and its space (administrators)."),
        click.option("--user", metavar="NAME", help="Of a user (administrators)."),
    ):
        function = option(function)
    return function


def _named(user: str | None, group: str | None, hive_wide: bool) -> tuple[str, str] | None:
    """(kind, name) of whom something is said; None: of oneself."""
    if sum((user is not None, group is not None, hive_wide)) > 1:
        raise BadInput("give one of --user, --group and --hive-wide")
    if hive_wide:
        return "hive", ""
    if group is not None:
        return "group", group
    return None if user is None else ("user", user)


@placement.command("show")
@_whose
@with_hive
def placement_show(output: Output, hive: Hive, user: str | None, group: str | None, hive_wide: bool) -> None:
    """Show where your new content lies, or what is said of others.

    \b
    Examples:
      skep placement show
      skep placement show --user ada
    """
    whom = _named(user, group, hive_wide)
    if whom is None:
        found = hive.stores.my_placement()
        output.value(found, lambda: _in_force(found))
    else:
        said = hive.stores.policy(*whom)
        output.value(said, lambda: _said(said))


@placement.command("set")
@click.argument("placement", required=False, metavar="[hive|own-first|mixed|own|default]")
@click.option("--allow", "allowed", metavar="A,B", help="Only stores of these jurisdictions; 'any' for all.")
@click.option("--forbid", "forbidden", metavar="A,B", help="No stores of these jurisdictions; 'none' for no such rule.")
@_whose
@with_hive
def placement_set(
    output: Output,
    hive: Hive,
    placement: str | None,
    allowed: str | None,
    forbidden: str | None,
    user: str | None,
    group: str | None,
    hive_wide: bool,
) -> None:
    """Choose where your new content lies, or say it of others.

    What is stored already stays where it is. What is not given stays as it was said.

    \b
    hive       on the hive's stores
    own-first  on one's own, and on the hive's what those cannot take
    mixed      on both alike
    own        on one's own alone
    default    says nothing: what is said of the group, or of the hive, counts

    \b
    Examples:
      skep placement set own
      skep placement set own --user ada
      skep placement set --hive-wide --forbid US,CN
      skep placement set mixed --group family --allow DE,FR
    """
    if placement not in (None, "default", *PLACEMENTS):
        raise BadInput(f"{placement!r} is no placement: take one of {', '.join(PLACEMENTS)} or default")
    chosen = None if placement == "default" else placement
    whom = _named(user, group, hive_wide)
    if whom is None:
        if placement is None or allowed is not None or forbidden is not None:
            raise BadInput("give a placement; jurisdictions are set with --user, --group or --hive-wide")
        found = hive.stores.choose_placement(chosen)
        output.value(found, lambda: _in_force(found))
        return
    if (placement, allowed, forbidden) == (None, None, None):
        raise BadInput("nothing to set: see skep placement set --help")
    before = hive.stores.policy(*whom)
    said = hive.stores.set_policy(
        *whom,
        {
            "placement": before["placement"] if placement is None else chosen,
            "allowed": before["allowed"] if allowed is None else _labels(allowed, "any"),
            "forbidden": before["forbidden"] if forbidden is None else _labels(forbidden, "none"),
        },
    )
    output.value(said, lambda: _said(said))


def _labels(text: str, nothing: str) -> list[str]:
    return [] if text == nothing else [part.strip() for part in text.split(",") if part.strip()]


def _in_force(found: dict[str, Any]) -> str:
    where = _MEANING[found["placement"]]
    if found["shares_packs"] and found["placement"] != "hive":
        where += "; there are none of yours, so it lies on the hive's"
    lines = [f"{found['placement']}: your new content lies {where}"]
    lines += [f"only under the law of {', '.join(map(shown, names))}" for names in found["allowed"]]
    if found["forbidden"]:
        lines.append(f"never under the law of {', '.join(map(shown, found['forbidden']))}")
    offered = ", ".join(found["choices"])
    lines.append(f"you may choose {offered}" if offered else "an administrator decided this")
    return "\n".join(lines)


def _said(said: dict[str, Any]) -> str:
    rows = [
        ["placement", said["placement"] or "-"],
        ["chosen by the user", said["chosen"] or "-"],
        ["jurisdictions allowed", ", ".join(map(shown, said["allowed"])) or "any"],
        ["jurisdictions forbidden", ", ".join(map(shown, said["forbidden"])) or "none"],
    ]
    return table(["said", ""], rows)
