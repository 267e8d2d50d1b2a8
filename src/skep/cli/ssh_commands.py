"""``skep ssh-key``: the keys that may sign in over SFTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

import click

from skep.cli.options import ListingGroup, with_hive
from skep.cli.output import Output, human_time, shown, table

if TYPE_CHECKING:
    from skep.client.hive import Hive

FILE_SCOPES = ("files:read", "files:write")


@click.group("ssh-key", cls=ListingGroup)
def ssh_key() -> None:
    """Keys with which programs sign in over SFTP."""


@ssh_key.command("ls")
@with_hive
def ssh_key_ls(output: Output, hive: Hive) -> None:
    """List your SSH keys and when each was last used."""
    found = hive.accounts.ssh_keys()
    rows = [
        [
            shown(known["name"]),
            known["kind"],
            known["fingerprint"],
            " ".join(known["scopes"]),
            human_time(known["last_used_us"]),
            known["id"],
        ]
        for known in found
    ]
    output.value(
        found, lambda: table(["name", "type", "fingerprint", "may", "last used", "id"], rows) or "there are none"
    )


@ssh_key.command("add")
@click.argument("public_key_file", metavar="FILE", type=click.File("r", encoding="utf-8"))
@click.option("--name", default="", help="What to call it (default: the comment in the file).")
@click.option(
    "--scope", "scopes", multiple=True, default=FILE_SCOPES, show_default=True, help="What it may (repeatable)."
)
@with_hive
def ssh_key_add(output: Output, hive: Hive, public_key_file: TextIO, name: str, scopes: tuple[str, ...]) -> None:
    """Let a key sign in over SFTP; FILE is its public half, or -.

    \b
    Example:
      skep ssh-key add ~/.ssh/id_ed25519.pub
    """
    made = hive.accounts.add_ssh_key(public_key_file.read(65_536), name, scopes)
    output.value(made, f"{shown(made['name'])}: {made['fingerprint']}")


@ssh_key.command("rm")
@click.argument("ssh_key_id", metavar="ID")
@with_hive
def ssh_key_rm(output: Output, hive: Hive, ssh_key_id: str) -> None:
    """Take a key away; who is in with it is out within a minute."""
    hive.accounts.remove_ssh_key(ssh_key_id)
    output.value({"removed": ssh_key_id})
