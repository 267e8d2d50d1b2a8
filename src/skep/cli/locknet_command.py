"""``skep locknet``: hosts of one list may talk to each other, and hear of others only what is public."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import click

from skep.base.errors import BadInput, CommandFailed
from skep.cli.options import with_output
from skep.cli.output import Output
from skep.deploy.network.fence import Fence, Member, fence_of
from skep.deploy.network.files import spread_names
from skep.deploy.network.locknet import REVERT_S, Applied, Connect, lock, unlock
from skep.deploy.network.nftables import ruleset
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.ssh import SshRunner, SshTarget, host_key_of


@click.command()
@click.argument("hosts", nargs=-1, metavar="[NAME=]ADDRESS...")
@click.option("--file", "list_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A file with one host a line, beside those named.")  # fmt: skip
@click.option(
    "--router", "routers", multiple=True, metavar="HOST", help="It serves the web: 80 and 443 are open to all."
)
@click.option("--public", multiple=True, metavar="HOST:PORT", help="Another TCP port of a host that is open to all.")
@click.option("--user", default="root", show_default=True, help="Who logs in there; must be able to set rules.")
@click.option("--port", default=22, show_default=True, help="The SSH port of the hosts; it is always open.")
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The private key to use.")
@click.option("--accept-new-host-keys", is_flag=True, help="Trust the keys that hosts show now, and print them.")
@click.option("--names", is_flag=True, help="Also write all names to each host's /etc/hosts.")
@click.option("--dry-run", is_flag=True, help="Print the rules of each host and change nothing.")
@click.option("--off", is_flag=True, help="Take the rules away again.")
@with_output
def locknet(
    output: Output,
    hosts: tuple[str, ...],
    list_file: Path | None,
    routers: tuple[str, ...],
    public: tuple[str, ...],
    user: str,
    port: int,
    key: Path | None,
    accept_new_host_keys: bool,
    names: bool,
    dry_run: bool,
    off: bool,
) -> None:
    """Let these hosts talk to each other, and to nobody else.

    Every host keeps its SSH port open to all; routers also 80 and 443. A port that a container publishes obeys, too.
    If a host cannot be reached through its new rules, its old ones come back after a minute.

    \b
    skep locknet 10.0.0.11 10.0.0.12 --router 10.0.0.11
    skep locknet `cat /my/hosts`
    """
    listed = [*hosts, *(_lines(list_file) if list_file else ())]
    fence = fence_of(_members(listed, routers, public, port))
    if dry_run:
        rules = {one.name: ruleset(fence, one) for one in fence.members}
        output.value(rules, "\n".join(f"# {name}\n{text}" for name, text in rules.items()))
        return
    connect = _connecting(output, user, key, accept_new_host_keys)
    applied = asyncio.run(_carry_out(fence, connect, names=names, off=off))
    output.value([{name: getattr(one, name) for name in one.__struct_fields__} for one in applied], _told(applied, off))
    failed = [one.host for one in applied if one.error]
    if failed:
        raise CommandFailed(f"{len(failed)} of {len(applied)} hosts are not as they should be: {', '.join(failed)}")


async def _carry_out(fence: Fence, connect: Connect, *, names: bool, off: bool) -> tuple[Applied, ...]:
    if off:
        return await unlock(fence.members, connect)
    applied = await lock(fence, connect)
    if names:
        async with contextlib.AsyncExitStack() as stack:
            well = [fence.member(one.host) for one in applied if not one.error]
            runners = [await stack.enter_async_context(connect(member)) for member in well]
            for failed in await spread_names(fence, runners):
                raise CommandFailed(f"{failed.host} does not know the others by name: {failed.error}")
    return applied


def _members(listed: list[str], routers: tuple[str, ...], public: tuple[str, ...], ssh_port: int) -> list[Member]:
    pairs = [entry.partition("=")[::2] if "=" in entry else (entry, entry) for entry in listed]
    known = {word for pair in pairs for word in pair}
    opened: dict[str, list[int]] = {}
    for entry in public:
        host, _, number = entry.rpartition(":")
        if not number.isdecimal() or host not in known:
            raise BadInput(f"--public {entry}: write HOST:PORT with a host of the list")
        opened.setdefault(host, []).append(int(number))
    for host in routers:
        if host not in known:
            raise BadInput(f"--router {host} is not in the list of hosts")
    return [
        Member(
            name=name,
            address=address,
            router=name in routers or address in routers,
            public=tuple(sorted({*opened.get(name, ()), *opened.get(address, ())})),
            ssh_port=ssh_port,
        )
        for name, address in pairs
    ]


def _lines(path: Path) -> list[str]:
    found = (line.partition("#")[0].strip() for line in path.read_text(errors="replace").splitlines())
    return [line for line in found if line]


def _connecting(output: Output, user: str, key: Path | None, accept: bool) -> Connect:
    trusted: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def connect(member: Member) -> AsyncIterator[Runner]:
        if accept and member.name not in trusted:
            trusted[member.name] = await host_key_of(member.address, member.ssh_port)
            output.note(f"{member.name}: {trusted[member.name]}")
        target = SshTarget(
            address=member.address,
            port=member.ssh_port,
            user=user,
            key=key,
            host_key=trusted.get(member.name, ""),
            name=member.name,
        )
        runner = SshRunner(target)
        try:
            yield runner
        finally:
            await runner.close()

    return connect


def _told(applied: tuple[Applied, ...], off: bool) -> str:
    lines = []
    for one in applied:
        if one.error:
            lines.append(f"{one.host}: {one.error}")
        elif off:
            lines.append(f"{one.host}: open")
        else:
            kept = "kept over a restart" if one.survives_restart else "until it restarts (it has no systemd)"
            lines.append(f"{one.host}: locked with {one.tool}, {kept}")
    if any(one.error for one in applied) and not off:
        lines.append(f"Where a host took rules and could not be reached, its old ones come back after {REVERT_S} s.")
    return "\n".join(lines)
