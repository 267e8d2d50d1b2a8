"""``skep servers``: the hosts that stacks run on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from skep.base.errors import SkepError
from skep.cli.exits import DONE, FAILED
from skep.cli.hq_calling import HqCall, with_hq
from skep.cli.options import ListingGroup, confirmed
from skep.cli.output import Output, human_duration, human_size, shown, table


@click.group(cls=ListingGroup)
def servers() -> None:
    """Servers: the hosts that stacks run on."""


@servers.command("ls")
@with_hq
def servers_ls(output: Output, hq: HqCall) -> None:
    """List servers: their state, what they are, what runs there."""
    found = hq.ask("servers.ls")
    output.value(found, lambda: _listed(found) or "no servers yet: `skep servers add USER@HOST` adds one")


def _listed(found: list[dict[str, Any]]) -> str:
    rows = [
        [
            shown(one["id"]),
            one["state"] if one["silent_s"] < 30 else f"silent {human_duration(one['silent_s'])}",
            shown(one["address"]),
            one["engine"],
            str(one["processors"]),
            human_size(one["memory_bytes"]),
            str(len(one["slices"])),
            " ".join(word for word, true in _words(one) if true),
        ]
        for one in found
    ]
    heads = ["server", "state", "address", "engine", "cpus", "memory", "jobs", ""]
    return table(heads, rows, right=["cpus", "memory", "jobs"])


def _words(one: dict[str, Any]) -> list[tuple[str, object]]:
    rented = f"rented, {one['price']:g} an hour" if one["machine"] else ""
    return [("router", one["router"]), ("fenced", one["fenced"]), (rented, rented)]


@servers.command("add")
@click.argument("targets", nargs=-1, required=True, metavar="USER@ADDRESS[:PORT]...")
@click.option("--name", help="What to call it (default: what it calls itself); for one alone.")
@click.option(
    "--engine", type=click.Choice(["process", "docker"]), help="What runs jobs there (default: as hq.toml says)."
)
@click.option("--router", is_flag=True, help="It serves domains. The first server does anyway.")
@click.option("--tag", "tags", multiple=True, help="Jobs that ask for this tag come here.")
@click.option("--public", multiple=True, type=click.IntRange(1, 65_535), help="Another TCP port that all may reach.")
@click.option("--price", type=float, help="What it costs an hour.")
@click.option("--address", help="For `local`: the address under which other servers reach this machine.")
@click.option("--no-fence", is_flag=True, help="Leave its firewall and its /etc/hosts alone.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your key for it.")
@click.option("--accept-new-host-keys", is_flag=True, help="Trust the keys that hosts show now, and print them.")
@click.option("--prepared", is_flag=True, help="HQ's key is there already: do not log in from here.")
@with_hq
def servers_add(
    output: Output,
    hq: HqCall,
    targets: tuple[str, ...],
    name: str | None,
    engine: str | None,
    router: bool,
    tags: tuple[str, ...],
    public: tuple[int, ...],
    price: float | None,
    address: str | None,
    no_fence: bool,
    key: Path | None,
    accept_new_host_keys: bool,
    prepared: bool,
) -> int:
    """Let stacks run on these hosts.

    Any Linux with SSH will do, or `local` for HQ's own machine. You log in once, from here and with your own keys,
    to put HQ's key there (--prepared: it is there). HQ then looks whether each will do, fences it together with the
    others (`skep locknet`), and shows what it is.

    \b
    skep servers add root@10.0.0.11 root@10.0.0.12
    skep servers add local
    """
    public_key = hq.ask("hq.status")["public_key"]
    wanted: dict[str, Any] = {
        "engine": engine, "router": router, "tags": list(tags), "public": list(public), "price": price,
        "address": address, "fence": not no_fence,
    }  # fmt: skip
    added, failed = [], 0
    for target in targets:
        try:
            host_key = (
                "" if target == "local" else _arrive(output, target, key, accept_new_host_keys, public_key, prepared)
            )
            one = hq.ask("servers.add", say=output.note, target=target, host_key=host_key,
                         name=name if len(targets) == 1 else None, **wanted)  # fmt: skip
        except SkepError as error:
            failed += 1
            output.note(f"{target}: {error.message}")
            continue
        added.append(one)
        if not output.as_json:
            output.step(f"{one['id']} is added\n{table(['', ''], one['facts'])}")
    if output.as_json:
        output.value(added)
    return FAILED if failed else DONE


def _arrive(output: Output, target: str, key: Path | None, accept: bool, public_key: str, prepared: bool) -> str:
    """Put HQ's key on a host from here; the host's own key."""
    from skep.deploy.hq.servers import parse_target
    from skep.deploy.machines.preparing import prepare_host
    from skep.deploy.shell.ssh import SshRunner, SshTarget, host_key_of

    user, address, port = parse_target(target)

    async def arrive() -> str:
        host_key = await host_key_of(address, port)
        if accept:
            output.note(f"{target}: {host_key}")
        if prepared:
            return host_key
        trusted = host_key if accept else ""
        runner = SshRunner(SshTarget(address=address, port=port, user=user, key=key, host_key=trusted, name=target))
        try:
            await prepare_host(runner, public_key)
        finally:
            await runner.close()
        return host_key

    return asyncio.run(arrive())


@servers.command("rm")
@click.argument("server")
@click.option("--force", is_flag=True, help="Give up what is kept there, as if the host was lost.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_hq
def servers_rm(output: Output, hq: HqCall, server: str, force: bool, yes: bool) -> None:
    """Move all jobs off a server and forget it."""
    if force:
        confirmed(f"Give up the volumes on {server}?", yes)
    output.value(hq.ask("servers.rm", say=output.note, id=server, force=force), f"{server} is no server any more")


@servers.command("facts")
@click.argument("server")
@with_hq
def servers_facts(output: Output, hq: HqCall, server: str) -> None:
    """Look at a server again, and say what it is."""
    one = hq.ask("servers.facts", id=server)
    machine = [["machine", f"{one['machine']}, rented at {one['price']:g} an hour"]] if one["machine"] else []
    rows = [*one["facts"], *machine, ["state", one["state"]], ["jobs", ", ".join(one["slices"]) or "none"]]
    warnings = "".join(f"\n{shown(text)}" for text in one["warnings"])
    output.value(one, lambda: table(["", ""], [[k, shown(v)] for k, v in rows]) + warnings)


@servers.command("fence")
@with_hq
def servers_fence(output: Output, hq: HqCall) -> None:
    """Bring the firewall's rules to all servers anew."""
    output.value(hq.ask("servers.fence", say=output.note), "all rules are in force")
