"""``skep sso``: who vouches for people besides the hive itself."""

from __future__ import annotations

from collections.abc import Sequence

import click

from skep.base.sizes import parse_size
from skep.cli.options import ListingGroup, confirmed, with_hive
from skep.cli.output import Output, shown, table
from skep.cli.passwords import password, stdin_option
from skep.client.hive import Hive


@click.group(cls=ListingGroup)
def sso() -> None:
    """Identity providers through which people sign in (OpenID Connect)."""


@sso.command("ls")
@with_hive
def sso_ls(output: Output, hive: Hive) -> None:
    """List the identity providers (administrators)."""
    found = hive.administration.identity_providers()
    rows = [[one["name"], shown(one["issuer"]), shown(one["client_id"]), one["callback"]] for one in found]
    output.value(found, lambda: table(["name", "issuer", "client", "redirect URI"], rows) or "there is none")


@sso.command("add")
@click.argument("name")
@click.argument("issuer")
@click.option("--client-id", required=True, help="What the provider knows the hive by.")
@click.option("--public", is_flag=True, help="The provider gave no secret.")
@click.option("--scopes", default="openid profile email", show_default=True, help="What to ask for.")
@click.option("--create", is_flag=True, help="Make an account for whoever the provider vouches for.")
@click.option("--link-by-email", is_flag=True, help="A verified address that a user here has is that user.")
@click.option("--groups-claim", default="groups", show_default=True, help="Where groups are told; dots go deeper.")
@click.option("--name-claim", default="preferred_username", show_default=True, help="What to call new users.")
@click.option("--group", "groups", multiple=True, metavar="THEIRS=OURS", help="Memberships to follow (repeatable).")
@click.option("--quota", "quotas", multiple=True, metavar="THEIRS=SIZE", help="Room by their group (repeatable).")
@click.option("--admins", default="", metavar="THEIRS", help="Their group whose members are administrators here.")
@stdin_option
@with_hive
def sso_add(
    output: Output,
    hive: Hive,
    name: str,
    issuer: str,
    client_id: str,
    public: bool,
    scopes: str,
    create: bool,
    link_by_email: bool,
    groups_claim: str,
    name_claim: str,
    groups: Sequence[str],
    quotas: Sequence[str],
    admins: str,
    password_stdin: bool,
) -> None:
    """Let an identity provider vouch for people (administrators).

    Asks for the client secret. Register the redirect URI that is printed at the provider.

    \b
    Example:
      skep sso add work https://id.example.org/realms/work --client-id skep --create \\
        --group staff=Staff --quota staff=50GB
    """
    rules = {
        "scopes": scopes,
        "create_users": create,
        "link_by_email": link_by_email,
        "groups_claim": groups_claim,
        "name_claim": name_claim,
        "groups": dict(_pair(text) for text in groups),
        "quotas": {theirs: parse_size(size) for theirs, size in map(_pair, quotas)},
        "admin_group": admins,
    }
    secret = None if public else password(password_stdin, "Client secret")
    send = {"name": name, "issuer": issuer, "client_id": client_id, "client_secret": secret, "rules": rules}
    made = hive.administration.add_identity_provider(send)
    output.value(made, f"register this redirect URI there: {made['callback']}")


def _pair(text: str) -> tuple[str, str]:
    theirs, equals, ours = text.partition("=")
    if not theirs or not equals or not ours:
        raise click.UsageError(f"{text!r} is not of the form THEIRS=OURS")
    return theirs, ours


@sso.command("rm")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def sso_rm(output: Output, hive: Hive, name: str, yes: bool) -> None:
    """Believe an identity provider no more."""
    confirmed(f"Believe {shown(name)} no more? Its users need another way in then.", yes)
    hive.administration.remove_identity_provider(name)
    output.value({"removed": name})
