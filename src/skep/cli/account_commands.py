"""``skep register|login|logout|whoami|passwd``."""

from __future__ import annotations

import sys

import click

from skep.base.errors import SecondFactorNeeded, SkepError
from skep.cli.certificates import fingerprint_option, trusted
from skep.cli.connecting import open_hive
from skep.cli.credentials import CredentialFile, Login, credentials_path
from skep.cli.options import with_hive, with_output
from skep.cli.output import Output, human_size, shown
from skep.cli.passwords import asked_code, asked_name, new_password, password, stdin_option
from skep.client.hive import Hive
from skep.client.sessions import Tokens


@click.command()
@click.argument("url")
@click.option("-u", "--user", metavar="NAME", help="Who you are (asked for if left out).")
@stdin_option
@click.option("--code", help="A code of your authenticator app, or a recovery code (asked for where one is needed).")
@click.option("--device", is_flag=True, help="Show a code to be allowed in a browser, here or elsewhere; no password.")
@fingerprint_option
@with_output
def login(
    output: Output,
    url: str,
    user: str | None,
    password_stdin: bool,
    code: str | None,
    device: bool,
    fingerprint: str | None,
) -> None:
    """Log in to a hive and remember it.

    Commands then mean this hive; with several, --hive (or SKEP_HIVE) says which. What is remembered
    is a token, never the password, in ~/.config/skep/credentials.json, which only you can read.

    \b
    Examples:
      skep login http://127.0.0.1:8080
      skep login https://hive.example --user ann --password-stdin < password.txt
      skep login https://192.168.1.7:8080 --fingerprint AB:CD:...
      skep login https://hive.example --device
    """
    pin = trusted(url, fingerprint)
    if device:
        _login_by_device(output, url, pin)
        return
    with Hive.connect(url, None, sha256=pin) as hive:
        name = user if user is not None else asked_name()
        tokens = _logged_in(hive, name, password(password_stdin), code)
        CredentialFile(credentials_path()).put(Login(hive.url, name, tokens, pin))
        output.value({"hive": hive.url, "user": name}, f"logged in to {hive.url} as {shown(name)}")


def _login_by_device(output: Output, url: str, pin: str | None) -> None:
    """Log in by a code that somebody allows in a browser."""
    with Hive.connect(url, None, sha256=pin) as hive:
        asked = hive.device_login.begin()
        print(f"open {asked.where} in a browser and type {asked.user_code}\nor open {asked.link}", file=sys.stderr)
        tokens = hive.device_login.wait(asked)
        file = CredentialFile(credentials_path())
        file.put(Login(hive.url, "", tokens, pin))
    with open_hive(hive.url) as known:
        name = known.accounts.me()["name"]
    file.put(Login(hive.url, name, file.chosen(hive.url).tokens, pin))
    output.value({"hive": hive.url, "user": name}, f"logged in to {hive.url} as {shown(name)}")


def _logged_in(hive: Hive, name: str, secret: str, code: str | None) -> Tokens:
    """Tokens for a name and password, and a code where the account asks for one."""
    try:
        return hive.accounts.login(name, secret)
    except SecondFactorNeeded as needed:
        return hive.accounts.answer(str(needed.details["question"]), code or asked_code())


@click.command()
@click.argument("url")
@click.option("-u", "--user", metavar="NAME", help="The name to be known by (asked for if left out).")
@click.option("--email", default="", help="The e-mail address, which is a login name too.")
@click.option("--invite", metavar="TOKEN", help="The token of an invitation, where the hive asks for one.")
@stdin_option
@fingerprint_option
@with_output
def register(
    output: Output,
    url: str,
    user: str | None,
    email: str,
    invite: str | None,
    password_stdin: bool,
    fingerprint: str | None,
) -> None:
    """Make an account of your own at a hive, and log in to it.

    The hive decides who may: anybody, who has an invitation (`skep invite add`), or nobody.

    \b
    Example:
      skep register https://hive.example --user ann --invite ski_...
    """
    pin = trusted(url, fingerprint)
    with Hive.connect(url, None, sha256=pin) as hive:
        name = user if user is not None else asked_name()
        secret = new_password(password_stdin)
        made = hive.accounts.register(name, secret, email=email, invite=invite)
        tokens = hive.accounts.login(made["name"], secret)
        CredentialFile(credentials_path()).put(Login(hive.url, made["name"], tokens, pin))
        said = f"{shown(made['name'])} is registered and logged in at {hive.url}"
        output.value({"hive": hive.url, "user": made}, said)


@click.command()
@click.option("--hive", "hive_url", envvar="SKEP_HIVE", metavar="URL", help="Which hive, if logged in to several.")
@click.option("--password-stdin", is_flag=True, help="Read the old and the new password, each on a line.")
@click.option("--forgotten", metavar="NAME", help="Have a letter sent to this user, which leads to a new password.")
@with_output
def passwd(output: Output, hive_url: str | None, password_stdin: bool, forgotten: str | None) -> None:
    """Set a new password for yourself; your sessions elsewhere end.

    App passwords stay: `skep app-password ls` shows them.
    """
    file = CredentialFile(credentials_path())
    if forgotten is not None:
        if hive_url is None:
            raise click.UsageError("say which hive: --hive URL")
        with Hive.connect(hive_url, None) as stranger:
            stranger.accounts.ask_reset(forgotten)
        said = "if there is such a user with an e-mail address, a letter is on its way"
        output.value({"hive": hive_url, "asked": forgotten}, said)
        return
    known = file.chosen(hive_url)
    with open_hive(known.url) as hive:
        old = password(password_stdin, "Old password")
        tokens = hive.accounts.change_password(old, new_password(password_stdin))
        file.put(Login(known.url, known.user, tokens, known.sha256), default=False)
    output.value({"hive": known.url, "user": known.user}, f"{shown(known.user)} has a new password at {known.url}")


@click.command()
@click.option("--hive", "hive_url", envvar="SKEP_HIVE", metavar="URL", help="Which hive, if logged in to several.")
@with_output
def logout(output: Output, hive_url: str | None) -> None:
    """End the session at a hive and forget it.

    A hive that does not answer is forgotten all the same.
    """
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
