"""``skep login|logout|whoami``."""

from __future__ import annotations

import sys

import click

from skep.base.errors import BadInput, SkepError
from skep.cli.credentials import CredentialFile, Login, credentials_path
from skep.cli.options import with_hive, with_output
from skep.cli.output import Output, human_size, shown
from skep.client.hive import Hive

PASSWORD_MAX = 4096


@click.command()
@click.argument("url")
@click.option("-u", "--user", metavar="NAME", help="Who you are (asked for if left out).")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@with_output
def login(output: Output, url: str, user: str | None, password_stdin: bool) -> None:
    """Log in to a hive and remember it.

    Commands then mean this hive; with several, --hive (or SKEP_HIVE) says which. What is remembered
    is a token, never the password, in ~/.config/skep/credentials.json, which only you can read.

    \b
    Examples:
      skep login http://127.0.0.1:8080
      skep login https://hive.example --user ann --password-stdin < password.txt
    """
    with Hive.connect(url, None) as hive:
        name = user if user is not None else click.prompt("User", err=True)
        tokens = hive.accounts.login(name, _password(password_stdin))
        CredentialFile(credentials_path()).put(Login(hive.url, name, tokens))
        output.value({"hive": hive.url, "user": name}, f"logged in to {hive.url} as {shown(name)}")


def _password(from_stdin: bool) -> str:
    if not from_stdin:
        if not sys.stdin.isatty():
            raise BadInput("there is no terminal to ask for a password: give --user and --password-stdin")
        answer: str = click.prompt("Password", hide_input=True, err=True)
        return answer
    text = sys.stdin.readline(PASSWORD_MAX).rstrip("\r\n")
    if not text:
        raise BadInput("standard input has no password in its first line")
    return text


@click.command()
@click.option("--hive", "hive_url", envvar="SKEP_HIVE", metavar="URL", help="Which hive, if logged in to several.")
@with_output
def logout(output: Output, hive_url: str | None) -> None:
    """End the session at a hive and forget it.

    A hive that does not answer is forgotten all the same.
    """
    from skep.cli.connecting import open_hive

    file = CredentialFile(credentials_path())
    known = file.chosen(hive_url)
    with open_hive(known.url) as hive:
        try:
            hive.accounts.logout()
        except SkepError as error:
            output.note(f"the session could not be ended on the hive: {error.message}")
    file.remove(known.url)
    output.value({"hive": known.url, "user": known.user}, f"logged out of {known.url}")


@click.command()
@with_hive
def whoami(output: Output, hive: Hive) -> None:
    """Say who you are and where."""
    me = hive.accounts.me()
    spaces = hive.files.spaces()
    role = ", an administrator" if me.get("is_admin") else ""
    lines = [f"{shown(str(me['name']))}{role}, at {hive.url}"]
    for space in spaces:
        room = f" of {human_size(space['quota_bytes'])}" if space.get("quota_bytes") else ""
        lines.append(f"  space {shown(space['name'])} ({space['kind']}): {human_size(space['used_bytes'])}{room} used")
    output.value({"hive": hive.url, "user": me, "spaces": spaces}, "\n".join(lines))
