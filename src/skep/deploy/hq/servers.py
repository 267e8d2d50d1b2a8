"""Servers as HQ knows them, and the ways to them: a runner, an engine, a router for each, made when first needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from skep.base.errors import BadInput, EngineUnavailable
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.protocol import Engine
from skep.deploy.hq.settings import HqSettings
from skep.deploy.machines.checking import HostReport
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.ssh import SshRunner, SshTarget

if TYPE_CHECKING:
    from skep.deploy.hq.tunnel import Tunnel

LOCAL = "local"
"""What `skep servers add` takes for HQ's own machine."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One host. ``id`` is also its block in the grid; ``local``: it is HQ's own machine, reached without SSH."""

    id: str
    address: str
    ssh_port: int = 22
    user: str = "root"
    host_key: str = ""
    local: bool = False
    engine: Literal["process", "docker"] = "process"
    router: bool = False
    tags: tuple[str, ...] = ()
    public: tuple[int, ...] = ()
    """Ports beside SSH and the web's that all may reach."""
    fenced: bool = False
    price: float = 0.0
    """By hour, in any money."""
    machine: str = ""
    """Its type at the provider where HQ rented it; empty: it is one's own."""
    report: HostReport | None = None
    added_us: int = 0


class Ways:
    """The ways to the servers of one HQ. ``forget`` closes those to one of them."""

    def __init__(self, *, identity: Path, images: Path, own: Path, settings: HqSettings) -> None:
        self._identity = identity
        self._images = images
        self._own = own
        self._settings = settings
        self._servers: dict[str, Server] = {}
        self._runners: dict[str, Runner] = {}
        self._engines: dict[str, Engine] = {}
        self._tunnels: dict[str, Tunnel] = {}

    @property
    def servers(self) -> tuple[Server, ...]:
        """All servers, by id."""
        return tuple(self._servers[name] for name in sorted(self._servers))

    def server(self, id: str) -> Server | None:
        """The server of that id."""
        return self._servers.get(id)

    async def know(self, server: Server) -> None:
        """There is such a server, or it is like this from now on."""
        self._servers[server.id] = server
        if server.engine == "docker" and not server.local and server.id not in self._tunnels:
            from skep.deploy.hq.tunnel import Tunnel

            tunnel = Tunnel(self._target(server))
            await tunnel.open()
            self._tunnels[server.id] = tunnel

    async def forget(self, id: str) -> None:
        """There is none of that id any more."""
        self._servers.pop(id, None)
        engine, runner = self._engines.pop(id, None), self._runners.pop(id, None)
        if engine is not None:
            await engine.close()
        if runner is not None:
            await runner.close()
        tunnel = self._tunnels.pop(id, None)
        if tunnel is not None:
            await tunnel.close()

    async def close(self) -> None:
        """Let go of all connections; the servers stay known."""
        known = dict(self._servers)
        for name in known:
            await self.forget(name)
        self._servers = known

    def runner(self, id: str) -> Runner:
        """Where commands run on a server. Raises EngineUnavailable for one that HQ does not know."""
        if id not in self._runners:
            self._runners[id] = self.new_runner(self._known(id))
        return self._runners[id]

    def new_runner(self, server: Server) -> Runner:
        """A way of its own, which the caller closes: a new connection."""
        if server.local:
            return LocalRunner(server.id)
        return SshRunner(self._target(server))

    def _target(self, server: Server) -> SshTarget:
        return SshTarget(
            address=server.address,
            port=server.ssh_port,
            user=server.user,
            key=self._identity,
            host_key=server.host_key,
            name=server.id,
        )

    def folder(self, server: Server, what: str) -> str:
        """A folder of ours on a server."""
        return str(self._own / what) if server.local else f"{self._settings.deploy.host_folder}/{what}"

    def router_folder(self, server: Server) -> str:
        """Where nginx has its files: beside the folder of jobs, which nginx's workers may not enter."""
        if server.local and os.geteuid() != 0:
            return str(self._own / "router")
        return f"{self._settings.deploy.host_folder}-router"

    def engine(self, id: str) -> Engine:
        """What runs jobs on a server; the same one each time. Raises EngineUnavailable."""
        if id not in self._engines:
            self._engines[id] = self._new_engine(self._known(id))
        return self._engines[id]

    def _new_engine(self, server: Server) -> Engine:
        runner = self.runner(server.id)
        if server.engine == "docker":
            from skep.deploy.engines.docker.engine import DockerEngine

            url = "unix:///var/run/docker.sock" if server.local else self._tunnels[server.id].url
            return DockerEngine(server.id, archives=self._images, url=url, runner=runner, address=server.address)
        python = sys.executable if server.local else "python3"
        return ProcessEngine(runner, self.folder(server, "engine"), address=server.address, python=python, lasting=True)

    def _known(self, id: str) -> Server:
        server = self._servers.get(id)
        if server is None:
            raise EngineUnavailable(f"HQ knows no server {id}: see `skep servers ls`")
        return server


def parse_target(text: str) -> tuple[str, str, int]:
    """``root@10.0.0.11:22`` as user, address and port. Raises BadInput."""
    user, at, rest = text.rpartition("@")
    address, port = rest, "22"
    if rest.startswith("["):
        address, _, tail = rest[1:].partition("]")
        port = tail.removeprefix(":") or "22"
    elif rest.count(":") == 1:
        address, _, port = rest.partition(":")
    if not address or not port.isdecimal() or not 1 <= int(port) <= 65_535 or (at and not user):
        raise BadInput(f"{text!r} is no server: write USER@ADDRESS or USER@ADDRESS:PORT, or `local` for HQ's machine")
    return user or "root", address, int(port)
