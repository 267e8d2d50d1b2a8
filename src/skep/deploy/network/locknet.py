"""Bringing the fence to hosts so that nobody is locked out.

On each host: the new rules are checked, the old ones are kept, a timer that would put the old ones back is started, and
then the new ones are taken in one transaction. Only a *new* connection that comes through the new rules ends the
timer. If none does, the host is as it was a minute later, whatever the mistake was. What holds at all times: either the
old or the new rules are there whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager

import msgspec

from skep.base.errors import CommandFailed, SkepError
from skep.deploy.network.fence import Fence, Member
from skep.deploy.network.iptables import FORWARD_CHAIN, INPUT_CHAIN, restore_file
from skep.deploy.network.nftables import TABLE, ruleset
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command

Connect = Callable[[Member], AbstractAsyncContextManager[Runner]]
"""Opens a new connection to a member: none that is open already may be used."""

FolderOf = Callable[[Member], str]
FOLDER = "/etc/skep/locknet"
REVERT_S = 60
HOSTS_AT_ONCE = 32
_STEP_TIMEOUT_S = 30.0

# $1 folder, $2 id, $3 seconds until the old rules come back. The timer is a session of its own: it outlives us.
_APPLY_NFT = f"""set -e
cd "$1"
nft -c -f "new-$2.nft"
printf 'table inet {TABLE} {{}}\\ndelete table inet {TABLE}\\n' > "old-$2.nft"
nft list table inet {TABLE} >> "old-$2.nft" 2>/dev/null || true
setsid sh -c 'sleep "$3"; [ -e "$1/confirmed-$2" ] || nft -f "$1/old-$2.nft"; rm -f "$1"/*-"$2".* "$1"/*-"$2"' \\
    sh "$1" "$2" "$3" </dev/null >/dev/null 2>&1 &
nft -f "new-$2.nft"
"""
_KEEP_NFT = """set -e
cd "$1"
touch "confirmed-$2"
mv -f "new-$2.nft" rules.nft
"""
_APPLY_IPTABLES = f"""set -e
cd "$1"
for v in iptables ip6tables; do
    "$v-restore" --noflush --test < "new-$2.$v"
    "$v-save" -t filter > "old-$2.$v"
done
setsid sh -c 'sleep "$3"
[ -e "$1/confirmed-$2" ] || for v in iptables ip6tables; do "$v-restore" < "$1/old-$2.$v"; done
rm -f "$1"/*-"$2".* "$1"/*-"$2"' sh "$1" "$2" "$3" </dev/null >/dev/null 2>&1 &
for v in iptables ip6tables; do
    "$v-restore" --noflush < "new-$2.$v"
    for hook in INPUT:{INPUT_CHAIN} FORWARD:{FORWARD_CHAIN}; do
        "$v" -w -C "${{hook%%:*}}" -j "${{hook##*:}}" 2>/dev/null || "$v" -w -I "${{hook%%:*}}" 1 -j "${{hook##*:}}"
    done
done
"""
_KEEP_IPTABLES = """set -e
cd "$1"
touch "confirmed-$2"
for v in iptables ip6tables; do mv -f "new-$2.$v" "rules.$v"; done
"""
_REMOVE = f"""
if command -v nft >/dev/null; then nft -f - <<'end'
table inet {TABLE} {{}}
delete table inet {TABLE}
end
else
    for v in iptables ip6tables; do
        for hook in INPUT:{INPUT_CHAIN} FORWARD:{FORWARD_CHAIN}; do
            chain="${{hook##*:}}"
            "$v" -w -D "${{hook%%:*}}" -j "$chain" 2>/dev/null && "$v" -w -F "$chain" && "$v" -w -X "$chain"
        done
    done
fi
rm -rf "$1"
[ ! -d /run/systemd/system ] || systemctl disable --quiet skep-locknet.service 2>/dev/null || true
"""
# Rules are the kernel's and are gone after a restart: a unit takes them again before the network is up.
_UNIT = """[Unit]
Description=Skep: hosts of one list may talk to each other
Before=network-pre.target
Wants=network-pre.target
DefaultDependencies=no
After=local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh FOLDER/load.sh

[Install]
WantedBy=sysinit.target
"""
_LOAD = f"""#!/bin/sh
# Takes the rules that were confirmed last.
cd "$(dirname "$0")" || exit 0
if [ -e rules.nft ]; then exec nft -f rules.nft; fi
for v in iptables ip6tables; do
    [ -e "rules.$v" ] || continue
    "$v-restore" --noflush < "rules.$v"
    for hook in INPUT:{INPUT_CHAIN} FORWARD:{FORWARD_CHAIN}; do
        "$v" -w -C "${{hook%%:*}}" -j "${{hook##*:}}" 2>/dev/null || "$v" -w -I "${{hook%%:*}}" 1 -j "${{hook##*:}}"
    done
done
"""
_PERSIST = """[ -d /run/systemd/system ] || exit 3
systemctl daemon-reload && systemctl enable --quiet skep-locknet.service
"""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """How it went on one host. ``error``: why its old rules stand, or soon will; empty: all is well."""

    host: str
    tool: str = ""
    survives_restart: bool = False
    error: str = ""


def _folder(member: Member) -> str:
    return FOLDER


async def lock(
    fence: Fence, connect: Connect, *, only: Iterable[str] = (), revert_s: int = REVERT_S, folder_of: FolderOf = _folder
) -> tuple[Applied, ...]:
    """Bring the fence to all members, or those named, at once; one host's trouble does not stop the others.

    ``connect`` is called twice for each host: for the order, and anew to see that one still gets in. ``folder_of`` says
    where a host keeps its rules.
    """
    chosen = set(only)
    members = [one for one in fence.members if not chosen or one.name in chosen]
    places = asyncio.Semaphore(HOSTS_AT_ONCE)

    async def one(member: Member) -> Applied:
        async with places:
            try:
                return await _lock(fence, member, connect, revert_s, folder_of(member))
            except SkepError as error:
                return Applied(host=member.name, error=error.message)

    return tuple(await asyncio.gather(*map(one, members)))


async def unlock(members: Iterable[Member], connect: Connect, *, folder_of: FolderOf = _folder) -> tuple[Applied, ...]:
    """Take the fence down: what other tables say stands alone again."""

    async def one(member: Member) -> Applied:
        try:
            async with connect(member) as runner:
                await runner.run(Command.shell(_REMOVE, folder_of(member)))
            return Applied(host=member.name)
        except SkepError as error:
            return Applied(host=member.name, error=error.message)

    return tuple(await asyncio.gather(*map(one, members)))


async def _lock(fence: Fence, member: Member, connect: Connect, revert_s: int, folder: str) -> Applied:
    order = secrets.token_hex(6)
    async with connect(member) as runner:
        tool = await _tool(runner)
        if tool == "nft":
            await runner.put(ruleset(fence, member).encode(), f"{folder}/new-{order}.nft", mode=0o600)
            script, keep = _APPLY_NFT, _KEEP_NFT
        else:
            for version, name in ((4, "iptables"), (6, "ip6tables")):
                content = restore_file(fence, member, 4 if version == 4 else 6).encode()
                await runner.put(content, f"{folder}/new-{order}.{name}", mode=0o600)
            script, keep = _APPLY_IPTABLES, _KEEP_IPTABLES
        await runner.run(Command.shell(script, folder, order, str(revert_s), timeout_s=_STEP_TIMEOUT_S))
    async with _within(connect, member) as runner:
        await runner.run(Command.shell(keep, folder, order, timeout_s=_STEP_TIMEOUT_S))
        survives = await _persist(runner, folder)
    return Applied(host=member.name, tool=tool, survives_restart=survives)


@contextlib.asynccontextmanager
async def _within(connect: Connect, member: Member) -> AsyncIterator[Runner]:
    """A new connection through the new rules. Raises CommandFailed that says what happens now."""
    try:
        async with connect(member) as runner:
            yield runner
    except SkepError as error:
        raise CommandFailed(
            f"{member.name} took the rules but could not be reached through them ({error.message}): "
            "its old rules come back by themselves"
        ) from error


async def _tool(runner: Runner) -> str:
    found = await runner.run(Command.shell("command -v nft || command -v iptables-restore"), check=False)
    if not found.ok:
        raise CommandFailed(
            f"{runner.host} has neither nft nor iptables: install nftables there (apt install nftables)"
        )
    return "nft" if found.text.splitlines()[0].endswith("nft") else "iptables"


async def _persist(runner: Runner, folder: str) -> bool:
    """Whether the rules will be there after a restart of the host: where systemd starts it."""
    await runner.put(_LOAD.encode(), f"{folder}/load.sh", mode=0o700)
    if not (await runner.run(Command.of("test", "-d", "/run/systemd/system"), check=False)).ok:
        return False
    await runner.put(_UNIT.replace("FOLDER", folder).encode(), "/etc/systemd/system/skep-locknet.service")
    return (await runner.run(Command.shell(_PERSIST), check=False)).ok
