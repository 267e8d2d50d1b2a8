"""``skep client``: programs to which the hive vouches for people."""

from __future__ import annotations

from collections.abc import Sequence

import click

from skep.cli.options import ListingGroup, confirmed, with_hive
from skep.cli.output import Output, shown, table
from skep.client.hive import Hive


@click.group(cls=ListingGroup)
def client() -> None:
    """Programs to which the hive vouches for people (OAuth, OIDC)."""


@client.command("ls")
@with_hive
def client_ls(output: Output, hive: Hive) -> None:
    """List the programs (administrators)."""
    found = hive.administration.programs()
    rows = [
        [one["id"], shown(one["name"]), "public" if one["is_public"] else "secret", " ".join(one["scopes"])]
        for one in found
    ]
    output.value(found, lambda: table(["id", "name", "kind", "scopes"], rows) or "there is none")


@client.command("add")
@click.argument("name")
@click.argument("redirect_uris", metavar="REDIRECT-URI...", nargs=-1, required=True)
@click.option("--public", is_flag=True, help="It cannot keep a secret: a page, an app on a phone or desktop.")
@click.option("--scope", "scopes", multiple=True, default=("openid", "profile", "email"), show_default=True,
              help="What it may ask for at most (repeatable).")  # fmt: skip
@with_hive
def client_add(
    output: Output, hive: Hive, name: str, redirect_uris: Sequence[str], public: bool, scopes: Sequence[str]
) -> None:
    """Register a program and print its id and secret, once.

    It finds the rest at /.well-known/openid-configuration; the hive needs server.public_url.

    \b
    Example:
      skep client add wiki https://wiki.example/oauth/callback --scope openid --scope groups
    """
    send = {"name": name, "redirect_uris": list(redirect_uris), "scopes": list(scopes), "is_public": public}
    made = hive.administration.add_program(send)
    secret = made.get("secret")
    if secret:
        output.note("the secret is shown once:")
    output.value(made, f"{made['id']}\n{secret}" if secret else made["id"])


@client.command("rm")
@click.argument("client_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def client_rm(output: Output, hive: Hive, client_id: str, yes: bool) -> None:
    """Forget a program; its sessions end."""
    confirmed("Forget this program? Whoever is signed in to it by this hive has to find another way.", yes)
    hive.administration.remove_program(client_id)
    output.value({"removed": client_id})
