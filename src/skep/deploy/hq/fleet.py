"""The fleet: servers that are added, fenced, watched and taken out, as HQ's state, its grid and the hosts know them.

What always holds: a server is in the state before the grid uses it, and out of the grid before the state forgets it; a
start puts into the grid what a kill left out of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from ipaddress import ip_address
from typing import Any, Protocol

import msgspec

from skep.base.clock import Clock
from skep.base.errors import AlreadyExists, BadInput, CommandFailed, InUse, NotFound, SkepError
from skep.base.logs import get_logger
from skep.deploy.grid import Size, SliceGrid
from skep.deploy.hq.servers import LOCAL, Server, Ways
from skep.deploy.hq.settings import HqSettings
from skep.deploy.hq.state import StateStore, load_all, save
from skep.deploy.machines.checking import HostReport, Needs, check_host
from skep.deploy.network.fence import Member, fence_of
from skep.deploy.network.files import spread_names
from skep.deploy.network.locknet import Applied, lock, unlock
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command

log = get_logger("skep.hq")
KEPT_BACK = 10
"""The tenth part of a host's memory is its own."""
LOOK_TIMEOUT_S = 8.0
LOOKS_AT_ONCE = 32
SERVERS_MAX = 1000
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")


class Hosts(Protocol):
    """The part of a launcher that the fleet tells of hosts."""

    async def host_lost(self, block_id: str) -> tuple[str, ...]:
        """As ``Launches.host_lost``."""
        ...

    async def host_found(self, block_id: str) -> None:
        """As ``Launches.host_found``."""
        ...


class Fleet:
    """The servers of one HQ."""

    def __init__(
        self, *, ways: Ways, store: StateStore, grid: SliceGrid, hosts: Hosts, settings: HqSettings, clock: Clock
    ) -> None:
        self._ways = ways
        self._store = store
        self._grid = grid
        self._hosts = hosts
        self._settings = settings
        self._clock = clock
        self._seen_s: dict[str, float] = {}
        self._changing = asyncio.Lock()
        self._fencing = asyncio.Lock()
        self._fence_due = False
        """Whether some server has not heard yet who the others are."""

    async def load(self) -> None:
        """Know the servers of the state; before the grid is opened."""
        for server in await load_all(self._store, "servers/", Server):
            await self._ways.know(server)

    async def adopt_all(self) -> None:
        """Put servers into the grid that it does not have; after it was opened."""
        known = {block.facts.id for block in self._grid.blocks}
        for server in self._ways.servers:
            if server.id not in known and not server.machine:  # a rented one that has no block is given back
                await self._adopt(server)

    async def _adopt(self, server: Server) -> None:
        report = server.report or HostReport(host=server.id)
        size = usable(
            Size(
                memory_bytes=report.memory_bytes,
                cpu_millis=report.cpu_millis,
                disk_bytes=report.disk_free_bytes,
            )
        )
        await self._grid.adopt(server.id, size, tags=server.tags, address=server.address, price=server.price)

    # --- Adding and removing ------------------------------------------------------------------

    async def add(self, wanted: Server, *, name: str, fence: bool, say: Callable[[str], Awaitable[None]]) -> Server:
        """Look at a host, let it be a server, fence it.

        ``wanted`` says how it is reached; its id is ``name``, or what the host calls itself. Raises BadInput when it
        will not do, AlreadyExists, HostUnavailable when HQ's key does not get in.
        """
        async with self._changing:
            self._check_new(wanted, name)
            report = await self._look(wanted)
            for line in (*report.problems, *report.warnings):
                await say(f"{wanted.address}: {line}")
            if not report.fits:
                raise BadInput(f"{wanted.address} will not do: {'; '.join(report.problems)}")
            server = msgspec.structs.replace(
                wanted,
                id=self._named(name, wanted, report),
                report=report,
                router=wanted.router or not any(one.router for one in self._ways.servers),
                fenced=fence and not wanted.local,
                added_us=self._clock.now_us(),
            )
            if server.fenced and not (report.firewall and report.is_root):
                raise BadInput(
                    f"{server.id} cannot be fenced (it has no nftables, or HQ is not root there): --no-fence"
                )
            if server.router:
                await self._check_router(server, say)
            await self._ways.know(server)
            try:
                await self._ways.engine(server.id).facts()
                await save(self._store, f"servers/{server.id}", server, expected=0)
            except BaseException:
                await self._ways.forget(server.id)
                raise
            await self._adopt(server)
            if server.fenced:
                await self._fence(say)
        return server

    def _check_new(self, wanted: Server, name: str) -> None:
        if wanted.local and self._settings.state.etcd:
            raise BadInput("several HQs have no machine in common: add this one by its address, as any other server")
        if name and not _ID.fullmatch(name):
            raise BadInput(f"{name[:60]!r} is no name of a server: a-z, 0-9, dots and dashes")
        if len(self._ways.servers) >= SERVERS_MAX:
            raise BadInput(f"HQ takes {SERVERS_MAX} servers")
        for other in self._ways.servers:
            if (other.address, other.ssh_port) == (wanted.address, wanted.ssh_port) and other.local == wanted.local:
                raise AlreadyExists(f"{wanted.address} is server {other.id} already", server=other.id)
            if other.id == name:
                raise AlreadyExists(f"there is a server {name} already", server=name)
        loopback = [one.id for one in (wanted, *self._ways.servers) if one.local and _is_loopback(one.address)]
        if loopback and any(not _is_loopback(one.address) for one in (wanted, *self._ways.servers)):
            raise BadInput(
                "jobs on HQ's own machine are not reached from other servers under 127.0.0.1: "
                "add it as `skep servers add local --address ADDRESS`"
            )

    def _named(self, name: str, wanted: Server, report: HostReport) -> str:
        taken = {one.id for one in self._ways.servers}
        said = LOCAL if wanted.local else report.hostname.lower().partition(".")[0]
        for candidate in (name, said, wanted.address.replace(":", "-"), f"{said}-{wanted.ssh_port}"):
            if _ID.fullmatch(candidate) and candidate not in taken and candidate != "localhost":
                return candidate
        raise BadInput(f"{wanted.address} calls itself {said!r}, which is taken or no name: give --name")

    async def _look(self, server: Server) -> HostReport:
        needs = Needs(engine=server.engine, firewall=not server.local)
        runner = self._ways.new_runner(server)
        try:
            return await check_host(runner, needs, folder=self._ways.folder(server, ""), clock=self._clock)
        finally:
            await runner.close()

    async def _check_router(self, server: Server, say: Callable[[str], Awaitable[None]]) -> None:
        runner = self._ways.new_runner(server)
        try:
            found = await runner.run(Command.shell("PATH=$PATH:/usr/sbin command -v nginx"), check=False)
        finally:
            await runner.close()
        if not found.ok:
            await say(f"{server.id} is to serve domains and has no nginx yet: apt-get install nginx there")

    # --- Rented ones --------------------------------------------------------------------------

    def rented(self) -> tuple[str, ...]:
        """Ids of the servers that HQ rented."""
        return tuple(one.id for one in self._ways.servers if one.machine)

    async def take_in(self, server: Server) -> None:
        """Let a machine that was rented be a server; its block is in the grid already. May be asked again.

        Raises what its engine raises, and CommandFailed when it cannot be fenced. Others that cannot be told of it now
        are told by a later ``tick``.
        """
        await self._ways.know(server)
        try:
            await self._ways.engine(server.id).facts()
            await save(self._store, f"servers/{server.id}", server)
        except BaseException:
            await self._ways.forget(server.id)
            raise
        if server.fenced:
            failed = await self._fenced(_logged)
            self._fence_due = bool(failed)
            if server.id in failed:
                raise CommandFailed(f"{server.id} is not fenced: {failed[server.id]}")

    async def let_go(self, id: str) -> None:
        """Forget a rented server, whose machine is given back after this. Not there: fine."""
        server = self._ways.server(id)
        await self._store.delete(f"servers/{id}")
        await self._ways.forget(id)
        self._seen_s.pop(id, None)
        self._fence_due = self._fence_due or (server is not None and server.fenced)

    async def remove(self, id: str, *, force: bool, say: Callable[[str], Awaitable[None]]) -> None:
        """Move everything off a server and forget it; one that is lost is given up.

        Raises NotFound, InUse for volumes that lie there and for the only router, GridFull where its jobs find no
        other place. ``force`` gives volumes up, too, as if the host was lost.
        """
        async with self._changing:
            server = self.server(id)
            others = [one for one in self._ways.servers if one.id != id]
            if server.router and others and not any(one.router for one in others):
                raise InUse(f"{id} is the only router: add another with --router first")
            if force and self._grid.block_state(id) != "lost":
                await self._hosts.host_lost(id)
            if self._grid.block_state(id) == "lost":
                await self._grid.forget(id)
            else:
                await self._grid.release(id)
            if server.fenced and not server.machine:
                for applied in await unlock([_member(server, self._settings)], self._connect):
                    await say(f"{id}: {applied.error or 'no longer fenced'}")
            await self._store.delete(f"servers/{id}")
            await self._ways.forget(id)
            self._seen_s.pop(id, None)
            if any(one.fenced for one in self._ways.servers):
                await self._fence(say)

    def server(self, id: str) -> Server:
        """Raises NotFound."""
        found = self._ways.server(id)
        if found is None:
            raise NotFound(f"there is no server {id[:64]}: see `skep servers ls`", server=id)
        return found

    async def facts(self, id: str) -> Server:
        """Look at a server again; what is found is kept."""
        server = self.server(id)
        report = await self._look(server)
        server = msgspec.structs.replace(server, report=report)
        await save(self._store, f"servers/{id}", server)
        await self._ways.know(server)
        return server

    # --- The fence ----------------------------------------------------------------------------

    async def fence(self, say: Callable[[str], Awaitable[None]]) -> None:
        """Bring the rules to all servers that are fenced, anew. Raises CommandFailed that names those that failed."""
        async with self._changing:
            await self._fence(say)

    async def _fence(self, say: Callable[[str], Awaitable[None]]) -> None:
        failed = await self._fenced(say)
        if failed:
            words = "; ".join(f"{host}: {error}" for host, error in failed.items())
            raise CommandFailed(f"the fence is not whole: {words}. Try `skep servers fence` again")

    async def _fenced(self, say: Callable[[str], Awaitable[None]]) -> dict[str, str]:
        """Bring the rules to all; those where that failed, with why."""
        async with self._fencing:
            members = [_member(one, self._settings) for one in self._ways.servers if not _is_loopback(one.address)]
            fenced = [one.id for one in self._ways.servers if one.fenced]
            if not fenced:
                return {}
            fence = fence_of(members)
            applied = await lock(fence, self._connect, only=fenced)
            failed = {one.host: one.error for one in applied if one.error}
            runners = [self._ways.runner(one.host) for one in applied if not one.error]
            failed |= {one.host: one.error for one in await spread_names(fence, runners) if one.error}
        for one in applied:
            await say(_told(one))
        return failed

    @contextlib.asynccontextmanager
    async def _connect(self, member: Member) -> AsyncIterator[Runner]:
        runner = self._ways.new_runner(self.server(member.name))
        try:
            yield runner
        finally:
            await runner.close()

    # --- Watching -----------------------------------------------------------------------------

    async def tick(self) -> None:
        """Ask every host for a sign of life. One that is silent for long is lost; one that speaks again is found."""
        if self._fence_due:
            self._fence_due = bool(await self._fenced(_logged))
        places = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def one(server: Server) -> None:
            async with places:
                await self._watch(server)

        used = {block.facts.id for block in self._grid.blocks}
        await asyncio.gather(*(one(server) for server in self._ways.servers if server.id in used))

    async def _watch(self, server: Server) -> None:
        alive = await self._answers(server)
        now_s = self._clock.monotonic_s()
        last_s = self._seen_s.setdefault(server.id, now_s)
        if alive:
            self._seen_s[server.id] = now_s
        try:
            state = self._grid.block_state(server.id)
            if alive and state == "lost":
                log.warning("server-found", server=server.id)
                await self._hosts.host_found(server.id)
            elif not alive and state == "open" and now_s - last_s >= self._settings.care.lost_after_s:
                left = await self._hosts.host_lost(server.id)
                log.warning("server-lost", server=server.id, without_place=len(left))
        except SkepError as error:
            log.warning("server-not-settled", server=server.id, error=error.message)

    async def _answers(self, server: Server) -> bool:
        try:
            await self._ways.runner(server.id).run(Command.of("true", timeout_s=LOOK_TIMEOUT_S))
        except SkepError:
            return False
        return True

    def silent_s(self, id: str) -> float:
        """For how long a server has been silent; 0 when nobody has looked yet."""
        now_s = self._clock.monotonic_s()
        return now_s - self._seen_s.get(id, now_s)

    def price_a_month(self) -> str:
        """What the servers cost, for people; empty when they are one's own."""
        price = sum(block.facts.price for block in self._grid.blocks)
        return f"{len(self._grid.blocks)} servers, {price * 730:.2f} a month" if price else ""


def usable(size: Size) -> Size:
    """What of a host is for jobs."""
    return msgspec.structs.replace(size, memory_bytes=size.memory_bytes - size.memory_bytes // KEPT_BACK)


async def _logged(text: str) -> None:
    log.info("fence", said=text)


def _member(server: Server, settings: HqSettings) -> Member:
    own = {settings.ssh.port, settings.webhook.port} - {0} if server.local else set()
    web = {settings.router.http_port, settings.router.https_port} if server.router else set()
    return Member(
        name=server.id,
        address=server.address,
        router=server.router,
        public=tuple(sorted({*server.public, *own, *web})),
        ssh_port=server.ssh_port,
    )


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _told(applied: Applied) -> str:
    if applied.error:
        return f"{applied.host}: {applied.error}"
    kept = "kept over a restart" if applied.survives_restart else "until it restarts (it has no systemd)"
    return f"{applied.host}: fenced with {applied.tool}, {kept}"


def server_view(server: Server, *, state: str, silent_s: float, slices: Collection[str]) -> Mapping[str, Any]:
    """A server as orders tell it."""
    report = server.report
    return {
        "id": server.id,
        "address": server.address,
        "state": state,
        "silent_s": round(silent_s, 1),
        "engine": server.engine,
        "router": server.router,
        "fenced": server.fenced,
        "tags": list(server.tags),
        "price": server.price,
        "machine": server.machine,
        "slices": sorted(slices),
        "processors": report.processors if report else 0,
        "memory_bytes": report.memory_bytes if report else 0,
        "facts": report.rows() if report else [],
        "warnings": list(report.warnings) if report else [],
    }
