"""``skep s3 key``: with what S3 clients sign their requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skep.base.durations import parse_duration
from skep.cli.options import ListingGroup, with_hive
from skep.cli.output import Output, human_time, shown, table
from skep.cli.places import space_id

if TYPE_CHECKING:
    from skep.client.hive import Hive


@click.group("s3")
def s3() -> None:
    """Access keys for S3 clients."""


@s3.group("key", cls=ListingGroup)
def key() -> None:
    """Access keys: what an S3 client signs its requests with."""


@key.command("create")
@click.argument("name")
@click.option("--read-only", is_flag=True, help="It may read and list, no more.")
@click.option("--bucket", metavar="BUCKET", help="It reaches this bucket alone.")
@click.option("--prefix", metavar="PREFIX", help="Of that bucket it reaches keys that begin so.")
@click.option("--space", metavar="SPACE", help="A group's space or a share (name or id), or all (default: your own).")
@click.option("--expires", metavar="DURATION", help="How long it is good, such as 365d (default: for ever).")
@with_hive
def key_create(
    output: Output,
    hive: Hive,
    name: str,
    read_only: bool,
    bucket: str | None,
    prefix: str | None,
    space: str | None,
    expires: str | None,
) -> None:
    """Make an access key and print it with its secret, once.

    \b
    Example:
      skep s3 key create "restic on the server" --bucket backups
    """
    made = hive.accounts.create_access_key(
        name,
        ("files:read",) if read_only else ("files:read", "files:write"),
        space=space if space == "all" else space_id(hive.files, space),
        bucket=bucket,
        prefix=prefix,
        expires_in_s=parse_duration(expires) if expires else None,
    )
    output.note("the secret is shown once:")
    output.value(made, f"access key  {made['access_key']}\nsecret key  {made['secret']}")


@key.command("ls")
@with_hive
def key_ls(output: Output, hive: Hive) -> None:
    """List your access keys, what each may and when it was last used."""
    found = hive.accounts.access_keys()
    rows = [
        [
            known["access_key"],
            shown(known["name"]),
            " ".join(known["scopes"]),
            shown("/".join(part for part in (known.get("bucket"), known.get("prefix")) if part) or "all buckets"),
            human_time(known.get("last_used_us")),
            human_time(known.get("expires_us")),
        ]
        for known in found
    ]
    heads = ["access key", "name", "may", "reaches", "last used", "good until"]
    output.value(found, lambda: table(heads, rows) or "there are none")


@key.command("rm")
@click.argument("access_key", metavar="ACCESS_KEY")
@with_hive
def key_rm(output: Output, hive: Hive, access_key: str) -> None:
    """Make an access key useless at once."""
    hive.accounts.revoke_access_key(access_key)
    output.value({"revoked": access_key})
