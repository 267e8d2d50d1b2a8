"""``skep cloud``: accounts at cloud providers that the hive may use."""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import Any

import click

from skep.cli.options import ListingGroup, confirmed, with_hive
from skep.cli.output import Output, human_time, shown, table
from skep.cli.store_secrets import secret_of
from skep.client.hive import Hive
from skep.client.problems import error_class


@click.group(cls=ListingGroup)
def cloud() -> None:
    """Accounts at cloud providers that the hive may use."""


@cloud.command("ls")
@with_hive
def cloud_ls(output: Output, hive: Hive) -> None:
    """List the accounts that were granted to the hive."""
    found = hive.clouds.grants()
    rows = [[shown(each["label"]), shown(each["url"]), human_time(each["refreshed_us"]), each["id"]] for each in found]
    heads = ["account", "url", "refreshed", "id"]
    output.value(found, lambda: table(heads, rows) or "no accounts yet: `skep store add NAME dropbox:`")


@cloud.command("login")
@click.argument("provider")
@click.option("--relink", is_flag=True, help="New tokens for an account that is a store already.")
@click.option("--no-browser", is_flag=True, help="Print the link only.")
@with_hive
def cloud_login(output: Output, hive: Hive, provider: str, relink: bool, no_browser: bool) -> None:
    """Log in to an account, so that the hive may use it.

    Prints a link and opens it in a browser. `skep store add NAME dropbox:` does this and then adds the
    account as a store; --relink is for a store whose grant has ended.

    \b
    Examples:
      skep cloud login dropbox
      skep cloud login gdrive --relink --no-browser
    """
    grant = granted(output, hive, provider, relink=relink, browser=not no_browser)
    output.value(grant, f"granted: {shown(grant['label'])}, as a store {shown(grant['url'])}")


@cloud.command("rm")
@click.argument("grant_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def cloud_rm(output: Output, hive: Hive, grant_id: str, yes: bool) -> None:
    """Withdraw a grant that no store needs."""
    confirmed(f"Withdraw the grant {shown(grant_id)}?", yes)
    hive.clouds.remove_grant(grant_id)
    output.value({"removed": grant_id})


@cloud.group("provider", cls=ListingGroup)
def provider() -> None:
    """The hive's own app keys at each provider."""


def _provider_table(found: list[dict[str, Any]]) -> str:
    rows = [
        [
            each["name"],
            shown(each["client_id"] or "-"),
            "yes" if each["has_secret"] else "-",
            each["source"] or "-",
            shown(each["redirect_uri"]),
            shown(each["console_url"]),
        ]
        for each in found
    ]
    return table(["provider", "client id", "secret", "from", "redirect address to register", "where"], rows)


@provider.command("ls")
@with_hive
def provider_ls(output: Output, hive: Hive) -> None:
    """List the providers, and what is to be registered at each."""
    found = hive.clouds.providers()
    output.value(found, lambda: _provider_table(found))


@provider.command("set")
@click.argument("name")
@click.option("--client-id", required=True, metavar="ID", help="The id (or key) that the provider gave the app.")
@click.option("--secret-stdin", is_flag=True, help="Read the app's secret from standard input.")
@click.option("--at", "base_url", metavar="URL", help="A gateway in front of the provider (default: the provider).")
@with_hive
def provider_set(
    output: Output, hive: Hive, name: str, client_id: str, secret_stdin: bool, base_url: str | None
) -> None:
    """Register the hive's app at a provider, or change its keys.

    The secret comes from standard input or from the variable SKEP_STORE_SECRET; apps that the provider
    calls public have none. The hive keeps it sealed. How to register an app: docs/operate/clouds.md.

    \b
    Examples:
      skep cloud provider set dropbox --client-id abc123
      skep cloud provider set gdrive --client-id abc.apps.googleusercontent.com --secret-stdin < secret
    """
    made = hive.clouds.set_provider(name, client_id, secret_of(None, secret_stdin), base_url)
    output.value(made, lambda: _provider_table([made]))


@provider.command("rm")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def provider_rm(output: Output, hive: Hive, name: str, yes: bool) -> None:
    """Forget the app keys at a provider: no token is refreshed then."""
    confirmed(f"Forget the app keys at {shown(name)}?", yes)
    hive.clouds.forget_provider(name)
    output.value({"removed": name})


def _has_browser() -> bool:
    """Whether a browser can show up here: one of the terminal would take the command's place."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))


def granted(output: Output, hive: Hive, name: str, *, relink: bool = False, browser: bool = True) -> dict[str, Any]:
    """Have somebody grant an account in a browser; the grant. Raises SkepError when it fails."""
    login = hive.clouds.begin_login(name, relink=relink)
    click.echo(f"log in with a browser, within ten minutes:\n  {login['link']}", err=True)
    if browser and _has_browser():
        webbrowser.open(login["link"])
    login = hive.clouds.wait_for_login(login)
    if login["state"] != "granted":
        raise error_class(login["code"] or "")(login["error"] or "the login failed")
    grant: dict[str, Any] = login["grant"]
    return grant
