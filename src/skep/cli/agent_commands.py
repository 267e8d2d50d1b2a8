"""``skep agent``: lend disk from this computer, and, at the hive, see and steer those who do."""

from __future__ import annotations

import sys
from typing import Any

import click

from skep.cli.exits import DONE, UNAVAILABLE
from skep.cli.options import confirmed, with_hive, with_output
from skep.cli.output import Output, human_duration, human_size, human_time, shown, table
from skep.client.hive import Hive

AWAY = "away"


class _RunningGroup(click.Group):
    """A group of which ``run`` is meant when no command is named: ``skep agent --hive URL DIRECTORY``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunningGroup)
def agent() -> None:
    """Lend disk to a hive from this computer, and see who lends.

    \b
    Examples:
      skep agent invite                                            # at the hive: prints a token
      skep agent --hive https://my.hive --share 200GB --invite ska_... ~/skep-space
      skep agent status
    """


def _config(**given: str | None) -> Any:
    from skep.agent.config import load_config

    return load_config(given)


@agent.command("run")
@click.argument("path", required=False)
@click.option("--hive", metavar="URL", help="The hive to lend to; needed once, then the directory knows it.")
@click.option("--share", metavar="SIZE", help="How much to lend, such as 200GB, or `all` (default: 10GB).")
@click.option("--invite", metavar="TOKEN", help="The invitation; needed once. SKEP_AGENT_INVITE keeps it off the list.")
@click.option("--name", help="What the hive shall call this computer (default: its host name).")
@click.option("--up", metavar="RATE", help="The most to send, in bytes a second, such as 1MB (default: no limit).")
@click.option("--down", metavar="RATE", help="The most to receive, in bytes a second (default: no limit).")
@click.option("--schedule", metavar="HOURS", help="When to take new data, such as 22:00-06:00 (default: always).")
@with_output
def agent_run(output: Output, /, path: str | None, **given: str | None) -> int:
    """Lend disk until Ctrl-C; the first time, enrol at the hive.

    PATH is an existing directory of its own (default: ~/skep-space). It may lend to several hives: run this once
    for each, also while it runs already. Without an invitation your saved login at the hive makes one.
    Settings may also stand in ~/.config/skep/agent.toml or in SKEP_AGENT_* variables.
    """
    from skep.agent.control import ask
    from skep.agent.home import AgentHome
    from skep.agent.program import run_agent
    from skep.base.clock import SystemClock
    from skep.base.errors import DataDirectoryInUse, Misconfigured
    from skep.base.logs import configure_logs
    from skep.base.settings import LogSettings

    config = _config(path=path, **given)
    home = AgentHome(config.space)
    home.prepare()
    _enrol_if_new(output, home, config)
    if not home.links():
        raise Misconfigured(f"{config.space} lends to no hive yet: name one with --hive, and an --invite of it")
    configure_logs(LogSettings(level="info", format="auto", requests="none"))
    try:
        output.step(f"lending {config.space} to {', '.join(link.url for link in home.links())}")
        run_agent(home, config, SystemClock())
    except DataDirectoryInUse:
        ask(home.control_path, {"do": "reload"})
        output.step(f"the agent that runs in {config.space} has taken this over")
    return DONE


def _enrol_if_new(output: Output, home: Any, config: Any) -> None:
    """Enrol at the hive that is named, unless it is known; take over a changed share."""
    import msgspec

    from skep.agent.config import default_name
    from skep.agent.enrolment import enrol, is_plain

    if not config.hive:
        return
    link = home.link_to(config.hive)
    if link is not None:
        if config.share_given and link.share_bytes != config.share_bytes:
            home.change(msgspec.structs.replace(link, share_bytes=config.share_bytes))
        return
    if is_plain(config.hive):
        output.note(f"{config.hive} is not encrypted: others on the way can read the invitation")
    token = config.invite or _own_invite(config.hive)
    made = enrol(home, config.hive, token, config.name or default_name(), config.share_bytes)
    output.step(f"enrolled at {config.hive} as {shown(made.name)}")


def _own_invite(url: str) -> str:
    """An invitation made with the saved login at a hive. Raises Unauthenticated when there is none."""
    from skep.base.errors import Unauthenticated
    from skep.cli.connecting import open_hive

    try:
        with open_hive(url) as hive:
            return str(hive.administration.invite_agent({"uses": 1, "expires_in_s": 600})["token"])
    except Unauthenticated:
        raise Unauthenticated(
            f"to lend to {url} this computer needs an invitation: have `skep agent invite` run there and give its "
            "token with --invite, or `skep login` first"
        ) from None


@agent.command("status")
@click.argument("path", required=False)
@with_output
def agent_status(output: Output, path: str | None) -> int:
    """Show how the agent of this computer is.

    Exits with 6 when none runs in PATH (default: as `skep agent run`).
    """
    from skep.agent.control import ask
    from skep.agent.home import AgentHome
    from skep.base.errors import Unavailable

    home = AgentHome(_config(path=path).space)
    try:
        found = ask(home.control_path, {"do": "status"})
    except Unavailable as error:
        links = home.links() if home.is_prepared() else []
        hives = [{"url": link.url, "name": link.name, "share_bytes": link.share_bytes} for link in links]
        output.value({"running": False, "space": str(home.space), "hives": hives}, error.message)
        return UNAVAILABLE
    output.value(found, lambda: _status_text(found))
    return DONE


def _status_text(found: dict[str, Any]) -> str:
    rates = [f"{way} {human_size(found[way])}/s" for way in ("up", "down") if found[way]]
    limits = ", ".join([*rates, *([found["schedule"]] if found["schedule"] else [])]) or "no limits"
    lines = [f"{found['space']}: {limits}" + (f"; {found['resting']}" if found["resting"] else "")]
    rows = [
        [shown(each["url"]), shown(each["name"]), _state_text(each), human_size(each["used_bytes"]),
         human_size(each["share_bytes"]) if each["share_bytes"] else "all",
         human_size(each["received_bytes"]), human_size(each["sent_bytes"])]
        for each in found["hives"]
    ]  # fmt: skip
    heads = ["hive", "name", "state", "used", "share", "received", "sent"]
    return "\n".join([*lines, table(heads, rows, right=["used", "share", "received", "sent"])])


def _state_text(each: dict[str, Any]) -> str:
    state = str(each["state"])
    if each["leaving"]:
        left = each["shards_left"]
        state += ", leaving" + (f" ({left} shards left)" if left is not None else "")
    if each["error"]:
        state += f": {shown(each['error'])}"
    if each["retry_in_s"] is not None:
        state += f" (tries again in {human_duration(each['retry_in_s'])})"
    return state


@agent.command("leave")
@click.argument("path", required=False)
@click.option("--hive", "url", metavar="URL", help="Which hive, when it lends to several.")
@with_output
def agent_leave(output: Output, path: str | None, url: str | None) -> None:
    """Stop lending: the hive moves its shards elsewhere first.

    The agent goes on until the hive has let it go; `skep agent status` shows how many shards are left.
    """
    from skep.agent.control import ask
    from skep.agent.home import AgentHome

    home = AgentHome(_config(path=path).space)
    found = ask(home.control_path, {"do": "leave", "hive": (url or "").rstrip("/")})
    output.value(found, lambda: _status_text(found))


# At the hive.


@agent.command("ls")
@with_hive
def agent_ls(output: Output, hive: Hive) -> None:
    """List the computers that lend disk to the hive."""
    found = hive.administration.agents()
    output.value(found, lambda: _table(found))


def _table(agents: list[dict[str, Any]]) -> str:
    heads = ["name", "zone", "state", "store", "lends", "used", "seen", "trouble", "id"]
    return table(heads, map(_row, agents), right=["lends", "used"]) or "nobody lends yet: `skep agent invite`"


def _row(known: dict[str, Any]) -> list[str]:
    state = "connected" if known["connected"] else AWAY
    return [
        shown(known["name"]),
        shown(known["zone"]),
        state if known["state"] == "active" else f"{state}, {known['state']}",
        shown(known["store"] or "-"),
        human_size(known["capacity_bytes"]) if known["capacity_bytes"] else "all",
        human_size(known["used_bytes"]),
        human_time(known["seen_us"]) if known["seen_us"] else "never",
        shown(known["trouble"] or ""),
        known["id"],
    ]


@agent.command("invite")
@click.option("--name", default="", help="What the computer shall be called (default: it says itself).")
@click.option("--zone", default="", help="What it fails with: a household, a building (default: its name).")
@click.option("--by-hand", is_flag=True, help="Do not make it a store by itself: `skep store add` shall.")
@click.option("--mine", is_flag=True, help="The store shall be mine, not the hive's.")
@click.option("--uses", type=click.IntRange(1, 1000), default=1, help="How many computers may enrol with it.")
@click.option("--expires", metavar="TIME", help="How long it is good, such as 2h or 30d (default: 7 days).")
@with_hive
def agent_invite(
    output: Output, hive: Hive, name: str, zone: str, by_hand: bool, mine: bool, uses: int, expires: str | None
) -> None:
    """Make an invitation for a computer that shall lend disk.

    The token is shown once. Computers that can be lost together (one household) get one zone.
    """
    from skep.base.durations import parse_duration

    send = {"name": name, "zone": zone, "joins": not by_hand, "mine": mine, "uses": uses}
    made = hive.administration.invite_agent({**send, "expires_in_s": parse_duration(expires) if expires else None})
    output.value(made, str(made["token"]))
    if sys.stderr.isatty():
        output.note(f"there: skep agent --hive {hive.url} --invite {made['token']} --share 200GB DIRECTORY")


@agent.command("rename")
@click.argument("name")
@click.argument("new_name")
@with_hive
def agent_rename(output: Output, hive: Hive, name: str, new_name: str) -> None:
    """Call an agent something else; its store keeps its name."""
    changed = hive.administration.change_agent(name, {"name": new_name})
    output.value(changed, lambda: _table([changed]))


@agent.command("settle")
@click.argument("name")
@with_hive
def agent_settle(output: Output, hive: Hive, name: str) -> None:
    """Say that an agent's trouble has been looked at."""
    changed = hive.administration.change_agent(name, {"settled": True})
    output.value(changed, lambda: _table([changed]))


@agent.command("revoke")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_hive
def agent_revoke(output: Output, hive: Hive, name: str, yes: bool) -> None:
    """Make an agent's key worthless now.

    Its store is given up as lost: what it held is rebuilt elsewhere. To let a computer go in good order use
    `skep agent leave` on it.
    """
    confirmed(f"Revoke the agent {shown(name)} and give up what it holds?", yes)
    hive.administration.revoke_agent(name)
    output.value({"revoked": name})
