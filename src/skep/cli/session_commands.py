"""``skep session|factor``: where you are logged in, and what you prove beside the password."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from skep.cli.options import ListingGroup, confirmed, with_hive
from skep.cli.output import Output, human_time, shown, table
from skep.cli.passwords import asked_code, password, stdin_option
from skep.client.hive import Hive

user_option = click.option("--user", default="", metavar="NAME", help="Another's (administrators).")


@click.group(cls=ListingGroup)
def session() -> None:
    """Logins that are still good: see them, end them."""


@session.command("ls")
@user_option
@with_hive
def session_ls(output: Output, hive: Hive, user: str) -> None:
    """List sessions, newest first.

    The one that asks has a star.
    """
    found = hive.accounts.sessions(user)
    rows = [
        [
            one["id"],
            "*" if one["is_current"] else "",
            human_time(one["created_us"]),
            human_time(one["last_used_us"]),
            shown(one["agent"] or "-"),
        ]
        for one in found
    ]
    output.value(found, lambda: table(["id", "", "since", "last used", "program"], rows) or "no session is open")


@session.command("rm")
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--others", is_flag=True, help="All but this one; with --user all of theirs.")
@user_option
@with_hive
def session_rm(output: Output, hive: Hive, session_id: str | None, others: bool, user: str) -> None:
    """End a session, or all others.

    Their access tokens are void at once.

    \b
    Examples:
      skep session rm 0193...
      skep session rm --others
    """
    if (session_id is None) is not others:
        raise click.UsageError("say which session, or --others")
    if session_id is None:
        count = hive.accounts.revoke_other_sessions(user)
        output.value({"ended": count}, f"{count} sessions ended")
        return
    hive.accounts.revoke_session(session_id)
    output.value({"ended": session_id})


@click.group()
def account() -> None:
    """Your own account: take all of it along, or give it up."""


@account.command("export")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@with_hive
def account_export(output: Output, hive: Hive, directory: Path) -> int:
    """Download all that the hive has of you.

    account.json holds what it knows of the account, without secrets; files/ all files of your own space as they are
    now. The same command again goes on where it was broken off.
    """
    from skep.cli.get_command import fetch_tree

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = hive.accounts.personal_data()
    handle = os.open(directory / "account.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=1)
    return fetch_tree(output, hive, "/", directory / "files")


@account.command("leave")
@stdin_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def account_leave(output: Output, hive: Hive, password_stdin: bool, yes: bool) -> None:
    """Give up your account.

    It is shut at once and deleted with all its files after the hive's time of grace; until then an administrator can
    bring it back. `skep account export` first takes all of it along.
    """
    confirmed("Give up this account and all its files?", yes)
    left = hive.accounts.leave(password(password_stdin))
    output.value(left, "the account is shut; it is deleted after the hive's time of grace")


@click.group(cls=ListingGroup)
def factor() -> None:
    """Second factors of your account: authenticator apps, passkeys, recovery codes."""


@factor.command("ls")
@with_hive
def factor_ls(output: Output, hive: Hive) -> None:
    """List your second factors."""
    found = hive.accounts.factors()
    rows = [
        [one["id"], one["kind"], shown(one["name"]), human_time(one["created_us"]), human_time(one["last_used_us"])]
        for one in found["factors"]
    ]
    left = f"recovery codes left: {found['recovery_codes_left']}"
    listed = table(["id", "kind", "name", "since", "last used"], rows)
    output.value(found, lambda: f"{listed}\n{left}" if rows else "no second factor: `skep factor add` adds one")


@factor.command("add")
@click.argument("name", default="authenticator app")
@stdin_option
@click.option("--secret-only", is_flag=True, help="Print the secret and leave the first code to `skep factor confirm`.")
@with_hive
def factor_add(output: Output, hive: Hive, name: str, password_stdin: bool, secret_only: bool) -> None:
    """Add an authenticator app (TOTP).

    Prints its secret, asks for a first code, prints recovery codes. Where there is no terminal, `--secret-only` and
    `skep factor confirm` are the two halves.
    """
    made = hive.accounts.begin_totp(password(password_stdin), name)
    if secret_only:
        output.note("type the secret or the URI into the app, then: skep factor confirm ID CODE")
        output.value(made, f"{made['factor']['id']}\n{made['secret']}\n{made['uri']}")
        return
    output.note(f"type this into the app:  {made['secret']}\nor as a link:  {made['uri']}")
    _confirmed(output, hive, made["factor"]["id"], asked_code())


@factor.command("confirm")
@click.argument("factor_id", metavar="ID")
@click.argument("code")
@with_hive
def factor_confirm(output: Output, hive: Hive, factor_id: str, code: str) -> None:
    """Let an authenticator app count, with a first code."""
    _confirmed(output, hive, factor_id, code)


def _confirmed(output: Output, hive: Hive, factor_id: str, code: str) -> None:
    codes = hive.accounts.confirm_totp(factor_id, code)
    said = "logins ask for a code from now on"
    if codes:
        output.note(f"{said}; keep these recovery codes, each is good once, shown this once:")
    output.value({"confirmed": factor_id, "recovery_codes": codes}, "\n".join(codes) or said)


@factor.command("rm")
@click.argument("factor_id", metavar="ID")
@stdin_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def factor_rm(output: Output, hive: Hive, factor_id: str, password_stdin: bool, yes: bool) -> None:
    """Take a second factor away."""
    confirmed("Take this second factor away?", yes)
    hive.accounts.remove_factor(factor_id, password(password_stdin))
    output.value({"removed": factor_id})


@factor.command("recovery")
@stdin_option
@with_hive
def factor_recovery(output: Output, hive: Hive, password_stdin: bool) -> None:
    """Make new recovery codes; the old ones are void."""
    codes = hive.accounts.renew_recovery_codes(password(password_stdin))
    output.note("each is good once, shown this once:")
    output.value({"recovery_codes": codes}, "\n".join(codes))
