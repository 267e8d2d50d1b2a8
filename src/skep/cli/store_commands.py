"""``skep store``: the places that hold the hive's data."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click

from skep.base.errors import AlreadyExists
from skep.cli.exits import DONE, FAILED
from skep.cli.options import SIZE, ListingGroup, confirmed, with_hive, with_output
from skep.cli.output import Output, human_duration, human_size, human_time, shown, table
from skep.cli.rebalance_command import store_rebalance
from skep.cli.store_secrets import asked, secret_of
from skep.cli.store_terms import store_cost, store_set
from skep.client.hive import Hive

_CLOUDS = frozenset({"dropbox:", "gdrive:", "onedrive:", "box:"})
"""Without an account: log in first."""


@click.group(cls=ListingGroup)
def store() -> None:
    """The places that hold the hive's data: directories, buckets, clouds."""


def _row(known: dict[str, Any]) -> list[str]:
    return [
        shown(known["name"]),
        _owner(known),
        shown(known["zone"]),
        known["state"],
        human_size(known["capacity_bytes"]),
        human_size(known["used_bytes"]),
        human_size(known["free_bytes"]),
        "well" if known["healthy"] else shown(known["error"] or "not well"),
        human_duration(known["latency_s"] or None),
        _cost(known),
        _audited(known["reputation"]),
        shown(known["url"]),
    ]


def _owner(known: dict[str, Any]) -> str:
    return "the hive" if known["owner_id"] is None else shown(known["owner"] or "nobody (deleted)")


def _cost(known: dict[str, Any]) -> str:
    """What it costs to keep what is there for a month; ``skep store cost`` knows the rest."""
    price = known["terms"].get("price_stored")
    return "-" if price is None else f"{Decimal(price) * known['used_bytes'] / 10**9:.2f} a month"


def _audited(standing: dict[str, Any]) -> str:
    """How much of what it was asked for it had, and when it was asked last."""
    if not standing["audits"]:
        return "none yet"
    judged = "suspect" if standing["suspect"] else f"{standing['honesty']:.0%}"
    return f"{judged}, {human_time(standing['last_audit_us'])}"


def _table(stores: list[dict[str, Any]]) -> str:
    heads = ["name", "owner", "zone", "state", "capacity", "used", "free", "health", "latency", "cost", "audits", "url"]
    return (
        table(heads, map(_row, stores), right=["capacity", "used", "free", "latency"])
        or "no stores yet: `skep store add`"
    )


@store.command("ls")
@click.option("--mine", is_flag=True, help="Your own alone.")
@with_hive
def store_ls(output: Output, hive: Hive, mine: bool) -> None:
    """List the stores with their state, room, health and cost.

    Each with its owner, zone, state, room, health, latency, cost and last audits. Administrators see all of them,
    others their own. Of 100 reads 95 are faster than the latency shown. The cost is that of keeping what is there
    (`skep store cost` for what was moved).
    """
    found = hive.stores.all(mine=mine)
    output.value(found, lambda: _table(found))


@store.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--zone", default="", help="What it fails with: a disk, provider, building (default: its name).")
@click.option("--capacity", type=SIZE, metavar="SIZE", help="How much the hive may use, such as 500GB (default: all).")
@click.option("--key-id", envvar="SKEP_STORE_KEY_ID", metavar="ID", help="The id of the key of a bucket.")
@click.option(
    "--secret-stdin", is_flag=True, help="Read the secret (of a key, or a password) from standard input, not a prompt."
)
@click.option("--mine", is_flag=True, help="As your own store, for your own content.")
@click.option("--owner", metavar="USER", help="As that user's own (administrators).")
@click.option("--force", is_flag=True, help="Even if the hive refuses so much on one disk or account (administrators).")
@with_hive
def store_add(
    output: Output,
    hive: Hive,
    name: str,
    url: str,
    zone: str,
    capacity: int | None,
    key_id: str | None,
    secret_stdin: bool,
    mine: bool,
    owner: str | None,
    force: bool,
) -> None:
    """Use a place from now on.

    Users add stores of their own, which hold their content (`skep placement`); administrators those of the hive,
    and with --mine their own.

    The shards of one pack go to different zones: give stores that can be lost together the same zone.
    Secrets never go into the URL: with --key-id the secret key is asked for, or taken from the variable
    SKEP_STORE_SECRET or from standard input. The hive keeps it sealed. Cloud accounts (dropbox: gdrive:
    onedrive: box:) are logged in to with a browser.

    \b
    Examples:
      skep store add disk2 fs:///mnt/disk2 --zone disk2
      skep store add small fs:///mnt/usb --zone usb --capacity 50GB
      skep store add dbx dropbox: --zone dropbox
      skep store add nas webdav+https://ada@nas.example.com/dav/skep --zone nas
      skep store add b2 's3://bucket/skep?endpoint=https://s3.eu.example.com' --key-id K1 --capacity 500GB
    """
    secret = _secret(url, key_id, secret_stdin)
    if url.rstrip("/") in _CLOUDS:
        from skep.cli.cloud_commands import granted

        if any(known["name"] == name for known in hive.stores.all()):
            raise AlreadyExists(f"a store named {name!r} is there: `skep store ls` shows it")
        url = granted(output, hive, url.partition(":")[0])["url"]
    send = {"name": name, "url": url, "zone": zone or name, "capacity_bytes": capacity, "secret": secret}
    made = hive.stores.add({**send, "mine": mine, "owner": owner, "force": force})
    for warning in made["warnings"]:
        output.note(f"careful: {warning}")
    output.value(made, lambda: _table([made]))


@store.command("lint")
@click.option("--mine", is_flag=True, help="Of your own content alone.")
@with_hive
def store_lint(output: Output, hive: Hive, mine: bool) -> int:
    """Look for stores that are lost together and hold too much.

    Stores on one disk, in one account or one household are lost together, whatever zones they were given. Shows
    where that would cost data, how many packs it would cost now, and shards where the policy does not let them lie.
    Exits with 1 when there is something.
    """
    found = hive.stores.lint(mine=mine)
    output.value(found, lambda: _lint_text(found))
    return DONE if found["clean"] else FAILED


def _lint_text(found: dict[str, Any]) -> str:
    rows = [
        [each["kind"], shown(each["owner"] or "the hive"), str(each["packs"]), shown(each["message"])]
        for each in found["findings"]
    ]
    return table(["kind", "content of", "packs now", "what"], rows, right=["packs now"]) or "nothing is wrong"


@store.command("readonly")
@click.argument("name")
@with_hive
def store_readonly(output: Output, hive: Hive, name: str) -> None:
    """Let a store keep what it has and take nothing new."""
    _set_state(output, hive, name, "readonly")


@store.command("activate")
@click.argument("name")
@with_hive
def store_activate(output: Output, hive: Hive, name: str) -> None:
    """Let a store take new shards (again)."""
    _set_state(output, hive, name, "active")


@store.command("drain")
@click.argument("name")
@with_hive
def store_drain(output: Output, hive: Hive, name: str) -> None:
    """Move a store's shards elsewhere, so that it can be removed.

    \b
    Example:
      skep store drain disk2 ; skep repair --progress ; skep store rm disk2
    """
    _set_state(output, hive, name, "draining")


@store.command("lost")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def store_lost(output: Output, hive: Hive, name: str, yes: bool) -> None:
    """Say that a store will not come back.

    Its shards are rebuilt elsewhere from the others.
    """
    confirmed(f"Give up what is in the store {shown(name)}?", yes)
    _set_state(output, hive, name, "lost")


def _set_state(output: Output, hive: Hive, name: str, state: str) -> None:
    changed = hive.stores.set_state(name, state)
    output.value(changed, lambda: _table([changed]))


store.add_command(store_rebalance)
store.add_command(store_set)
store.add_command(store_cost)


@store.command("rm")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def store_rm(output: Output, hive: Hive, name: str, yes: bool) -> None:
    """Forget a store that holds nothing any more; drain it first."""
    confirmed(f"Forget the store {shown(name)}?", yes)
    hive.stores.remove(name)
    output.value({"removed": name})


@store.command("check")
@click.argument("place", metavar="URL|NAME")
@click.option("--key-id", envvar="SKEP_STORE_KEY_ID", metavar="ID", help="The id of the key of a bucket's URL.")
@click.option("--secret-stdin", is_flag=True, help="Read the secret of a URL from standard input, not a prompt.")
@click.option("--hive", "hive_url", envvar="SKEP_HIVE", metavar="URL", help="Which hive, if a NAME is given.")
@with_output
def store_check(output: Output, place: str, key_id: str | None, secret_stdin: bool, hive_url: str | None) -> int:
    """Check that a place behaves as a store must.

    The suite is the one that every driver passes. A URL is checked from this machine, before it is
    added; a NAME is one of the hive's stores, checked by the hive. Only keys of the check's own are
    written, a few MB, and removed afterwards. Exits with 1 when something is wrong.

    \b
    Examples:
      skep store check fs:///mnt/disk2
      skep store check disk2
    """
    if ":" in place:
        results = _check_url(output, place, _secret(place, key_id, secret_stdin))
    else:
        results = _check_named(output, place, hive_url)
    failed = [result for result in results if result["outcome"] == "failed"]
    verdict = f"{len(failed)} of {len(results)} checks FAILED" if failed else "it behaves as a store must"
    output.value({"passed": not failed, "results": results}, verdict)
    return FAILED if failed else DONE


def _secret(url: str, key_id: str | None, from_stdin: bool) -> str | None:
    """What goes with a URL: one that names a user needs a password."""
    secret = secret_of(key_id, from_stdin)
    if secret is None and url.startswith("webdav+") and "@" in url:
        return asked("Password")
    return secret


def _check_url(output: Output, url: str, secret: str | None) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from skep.cli.store_checking import check_url

    results = check_url(
        url, None if secret is None else secret.encode(), lambda result: output.step(_result_line(asdict(result)))
    )
    return [asdict(result) for result in results]


def _check_named(output: Output, name: str, hive_url: str | None) -> list[dict[str, Any]]:
    from skep.cli.connecting import open_hive

    with open_hive(hive_url) as hive:
        report = hive.stores.check(name)["report"]
    results: list[dict[str, Any]] = report["results"] if isinstance(report, dict) else report
    for result in results:
        output.step(_result_line(result))
    return results


def _result_line(result: dict[str, Any]) -> str:
    return f"{result['outcome']:7} {shown(result['name'])}  {shown(result['detail'])}".rstrip()
