"""``skep user|group|invite|app-password``: who may use the hive."""

from __future__ import annotations

import json
from typing import Any, TextIO

import click

from skep.base.durations import parse_duration
from skep.base.errors import BadInput
from skep.base.sizes import parse_size
from skep.cli.exits import DONE, FAILED
from skep.cli.options import ListingGroup, confirmed, with_hive
from skep.cli.output import Output, human_size, human_time, shown, table
from skep.cli.passwords import new_password, stdin_option
from skep.client.hive import Hive

IMPORT_PAGE = 500
FILE_SCOPES = ("files:read", "files:write")


quota_argument = click.argument("size", required=False, metavar="[SIZE|none]")


def _quota(output: Output, hive: Hive, kind: str, name: str, size: str | None) -> None:
    if size is None:
        space = hive.accounts.space_of(kind, name)
    else:
        space = hive.accounts.set_quota(kind, name, None if size == "none" else parse_size(size))
    limit = space["quota_bytes"]
    of = "no limit" if limit is None else human_size(limit)
    output.value(space, f"{shown(space['name'])}: {human_size(space['used_bytes'])} used, {of}")


@click.group(cls=ListingGroup)
def user() -> None:
    """Accounts of this hive."""


@user.command("ls")
@with_hive
def user_ls(output: Output, hive: Hive) -> None:
    """List the accounts of the hive (administrators)."""
    found = list(hive.accounts.users())
    rows = [
        [
            shown(known["name"]),
            "admin" if known["is_admin"] else "user",
            "active" if known["is_active"] else "suspended",
            human_time(known["created_us"]),
            shown(known["email"] or "-"),
        ]
        for known in found
    ]
    output.value(found, lambda: table(["name", "role", "state", "since", "e-mail"], rows))


@user.command("add")
@click.argument("name")
@click.option("--email", default="", help="The e-mail address.")
@click.option("--full-name", default="", help="The name as people say it.")
@click.option("--admin", is_flag=True, help="An administrator.")
@stdin_option
@with_hive
def user_add(
    output: Output, hive: Hive, name: str, email: str, full_name: str, admin: bool, password_stdin: bool
) -> None:
    """Make an account (administrators); asks for its password.

    \b
    Examples:
      skep user add ann
      pwgen 20 1 | tee ann.txt | skep user add ann --password-stdin
    """
    password = new_password(password_stdin)
    made = hive.accounts.create_user(name, password, email=email, full_name=full_name, is_admin=admin)
    output.value(made, f"{shown(made['name'])} can log in")


@user.command("show")
@click.argument("name")
@with_hive
def user_show(output: Output, hive: Hive, name: str) -> None:
    """Show an account."""
    found = hive.accounts.user(name)
    rows = [[key.replace("_", " "), shown(str(value))] for key, value in found.items() if value not in ("", None)]
    output.value(found, lambda: table(["", ""], rows))


@user.command("set")
@click.argument("name")
@click.option("--rename", metavar="NAME", help="A new name.")
@click.option("--email", help="The e-mail address; empty removes it.")
@click.option("--full-name", help="The name as people say it.")
@click.option("--admin/--no-admin", default=None, help="Make an administrator, or not one any more.")
@click.option("--suspend/--resume", default=None, help="Shut out at once, or let in again; nothing is deleted.")
@with_hive
def user_set(
    output: Output,
    hive: Hive,
    name: str,
    rename: str | None,
    email: str | None,
    full_name: str | None,
    admin: bool | None,
    suspend: bool | None,
) -> None:
    """Change an account.

    \b
    Examples:
      skep user set ann --admin
      skep user set bob --suspend
    """
    facts = {
        "name": rename,
        "email": email,
        "full_name": full_name,
        "is_admin": admin,
        "is_active": None if suspend is None else not suspend,
    }
    given = {key: value for key, value in facts.items() if value is not None}
    if not given:
        raise click.UsageError("say what to change")
    output.value(hive.accounts.change_user(name, **given))


@user.command("password")
@click.argument("name")
@stdin_option
@with_hive
def user_password(output: Output, hive: Hive, name: str, password_stdin: bool) -> None:
    """Set an account's password (administrators); its sessions end."""
    changed = hive.accounts.change_user(name, password=new_password(password_stdin))
    output.value(changed, f"{shown(changed['name'])} has a new password")


@user.command("quota")
@click.argument("name")
@quota_argument
@with_hive
def user_quota(output: Output, hive: Hive, name: str, size: str | None) -> None:
    """Show or set how much a user's space may hold.

    Only administrators set it.

    \b
    Examples:
      skep user quota ann
      skep user quota ann 50GB
      skep user quota ann none
    """
    _quota(output, hive, "users", name, size)


@user.command("factors")
@click.argument("name")
@click.option("--clear", is_flag=True, help="Take them all away, for somebody who has lost them; sessions end.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def user_factors(output: Output, hive: Hive, name: str, clear: bool, yes: bool) -> None:
    """Show a user's second factors, or take them away.

    For administrators. Be sure who asks before you take them away: the password alone is enough then.
    """
    if clear:
        confirmed(f"Take all second factors from {shown(name)}?", yes)
        output.value(hive.accounts.clear_factors(name), f"{shown(name)} logs in with the password alone now")
        return
    found = hive.accounts.factors(name)
    rows = [[one["kind"], shown(one["name"]), human_time(one["last_used_us"])] for one in found["factors"]]
    output.value(found, lambda: table(["kind", "name", "last used"], rows) or "no second factor")


@user.command("export")
@click.option("--hashes", is_flag=True, help="With what passwords are checked against: keep that file to yourself.")
@with_hive
def user_export(output: Output, hive: Hive, hashes: bool) -> None:
    """Print all accounts as lines of JSON.

    For administrators; `skep user import` of another hive reads them. Files stay where they are.
    """
    for one in hive.accounts.export_users(hashes=hashes):
        print(json.dumps(one, ensure_ascii=False))


@user.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@with_hive
def user_import(output: Output, hive: Hive, file: TextIO) -> int:
    """Make the accounts that a file tells of.

    Lines of JSON as `skep user export` prints them, - for standard input; each is made by itself, and those that cannot
    be made are told (exit code 1). Without a password_hash an account has no password yet.
    """
    lines = [line for line in file if line.strip()]
    users = [_user_of(number, line) for number, line in enumerate(lines, 1)]
    done: list[dict[str, Any]] = []
    for start in range(0, len(users), IMPORT_PAGE):
        done += hive.accounts.import_users(users[start : start + IMPORT_PAGE])
    failed = [one for one in done if one.get("code")]
    for one in failed:
        output.note(f"{shown(one['name'])}: {shown(one['detail'])}")
    output.value(done, f"{len(done) - len(failed)} accounts made, {len(failed)} not")
    return FAILED if failed else DONE


def _user_of(number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"line {number} is not an account: a JSON object on one line")
    return found


@user.command("rm")
@click.argument("name")
@click.option("--grace", metavar="DURATION", help="Shut it now; delete it with its files after this time, such as 30d.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def user_rm(output: Output, hive: Hive, name: str, grace: str | None, yes: bool) -> None:
    """Delete an account (administrators). `skep user set NAME --suspend` only shuts it out.

    At once only where its space is empty. With --grace its files go too, after that time; until then
    `skep user set NAME --resume` calls it off.
    """
    confirmed(f"Delete the account {shown(name)}?", yes)
    if grace is not None:
        shut = hive.accounts.schedule_deletion(name, parse_duration(grace))
        output.value(shut, f"{shown(name)} is shut out, and deleted with all files in {grace}")
        return
    hive.accounts.delete_user(name)
    output.value({"deleted": name})


@click.group(cls=ListingGroup)
def group() -> None:
    """Groups of users, each with a space of its own."""


@group.command("ls")
@with_hive
def group_ls(output: Output, hive: Hive) -> None:
    """List your groups; administrators see all."""
    found = list(hive.accounts.groups())
    rows = [[shown(known["name"]), human_time(known["created_us"])] for known in found]
    output.value(found, lambda: table(["name", "since"], rows) or "there are no groups")


@group.command("show")
@click.argument("name")
@with_hive
def group_show(output: Output, hive: Hive, name: str) -> None:
    """Show who is in a group."""
    found = hive.accounts.group(name)
    rows = [[shown(member["name"]), member["role"]] for member in found["members"]]
    output.value(found, lambda: table(["member", "role"], rows) or "nobody is in it")


@group.command("add")
@click.argument("name")
@with_hive
def group_add(output: Output, hive: Hive, name: str) -> None:
    """Make a group and its space (administrators).

    \b
    Example:
      skep group add family
      skep group join family ann --manager
      skep put ~/Photos /Photos --space family
    """
    made = hive.accounts.create_group(name)
    output.value(made, f"the group {shown(made['name'])} has a space of its own")


@group.command("rename")
@click.argument("name")
@click.argument("new_name", metavar="NEW-NAME")
@with_hive
def group_rename(output: Output, hive: Hive, name: str, new_name: str) -> None:
    """Give a group and its space another name (administrators)."""
    renamed = hive.accounts.rename_group(name, new_name)
    output.value(renamed, f"the group is called {shown(renamed['name'])} now")


@group.command("join")
@click.argument("name")
@click.argument("user_name", metavar="USER")
@click.option("--manager", is_flag=True, help="May also change who is in the group.")
@with_hive
def group_join(output: Output, hive: Hive, name: str, user_name: str, manager: bool) -> None:
    """Put a user into a group, or change their role there."""
    output.value(hive.accounts.put_member(name, user_name, "manager" if manager else "member"))


@group.command("leave")
@click.argument("name")
@click.argument("user_name", metavar="USER")
@with_hive
def group_leave(output: Output, hive: Hive, name: str, user_name: str) -> None:
    """Take a user out of a group."""
    hive.accounts.remove_member(name, user_name)
    output.value({"group": name, "removed": user_name})


@group.command("quota")
@click.argument("name")
@quota_argument
@with_hive
def group_quota(output: Output, hive: Hive, name: str, size: str | None) -> None:
    """Show or set how much a group's space may hold.

    Only administrators set it.
    """
    _quota(output, hive, "groups", name, size)


@group.command("rm")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def group_rm(output: Output, hive: Hive, name: str, yes: bool) -> None:
    """Delete a group (administrators)."""
    confirmed(f"Delete the group {shown(name)}?", yes)
    hive.accounts.delete_group(name)
    output.value({"deleted": name})


@click.group(cls=ListingGroup)
def invite() -> None:
    """Invitations to this hive: whoever holds one may make an account."""


@invite.command("ls")
@with_hive
def invite_ls(output: Output, hive: Hive) -> None:
    """List the invitations that can still be used (administrators)."""
    found = hive.accounts.invites()
    rows = [[known["id"], str(known["uses_left"]), human_time(known["expires_us"])] for known in found]
    output.value(
        found, lambda: table(["id", "uses left", "good until"], rows, right=["uses left"]) or "no invitation is open"
    )


@invite.command("add")
@click.option("--uses", type=click.IntRange(min=1), default=1, show_default=True, help="How many accounts.")
@click.option("--expires", metavar="DURATION", help="How long it is good, such as 7d (default: the hive's setting).")
@click.option("--group", "group_name", metavar="NAME", help="Who comes with it joins this group.")
@click.option("--admin", is_flag=True, help="Who comes with it is an administrator.")
@with_hive
def invite_add(output: Output, hive: Hive, uses: int, expires: str | None, group_name: str | None, admin: bool) -> None:
    """Make an invitation (administrators) and print its token, once.

    \b
    Example:
      skep invite add --expires 3d --group family
    """
    made = hive.accounts.create_invite(
        uses=uses,
        expires_in_s=parse_duration(expires) if expires else None,
        group_id=hive.accounts.group(group_name)["id"] if group_name else None,
        is_admin=admin,
    )
    output.note("this is shown once:")
    output.value(made, made["token"])


@invite.command("rm")
@click.argument("invite_id", metavar="ID")
@with_hive
def invite_rm(output: Output, hive: Hive, invite_id: str) -> None:
    """Make an invitation useless (administrators)."""
    hive.accounts.revoke_invite(invite_id)
    output.value({"revoked": invite_id})


@click.group("app-password", cls=ListingGroup)
def app_password() -> None:
    """Passwords for programs that cannot log in like people."""


@app_password.command("ls")
@with_hive
def app_password_ls(output: Output, hive: Hive) -> None:
    """List your app passwords and when each was last used."""
    found = hive.accounts.app_passwords()
    rows = [
        [
            shown(known["name"]),
            " ".join(known["scopes"]),
            human_time(known["last_used_us"]),
            human_time(known["expires_us"]),
            known["id"],
        ]
        for known in found
    ]
    output.value(found, lambda: table(["name", "may", "last used", "good until", "id"], rows) or "there are none")


@app_password.command("add")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, default=FILE_SCOPES, show_default=True, help="What it may (repeatable)."
)
@click.option("--expires", metavar="DURATION", help="How long it is good, such as 365d (default: for ever).")
@with_hive
def app_password_add(output: Output, hive: Hive, name: str, scopes: tuple[str, ...], expires: str | None) -> None:
    """Make a password for one program and print it, once.

    \b
    Example:
      skep app-password add "rclone on the laptop" --scope files:read
    """
    lasts_s = parse_duration(expires) if expires else None
    made = hive.accounts.create_app_password(name, scopes, lasts_s)
    output.note("this is shown once:")
    output.value(made, made["secret"])


@app_password.command("rm")
@click.argument("app_password_id", metavar="ID")
@with_hive
def app_password_rm(output: Output, hive: Hive, app_password_id: str) -> None:
    """Make an app password useless at once."""
    hive.accounts.revoke_app_password(app_password_id)
    output.value({"revoked": app_password_id})
