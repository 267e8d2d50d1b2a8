"""The routers of an HQ: nginx on every server that is one, with the files of static jobs and with certificates.

All routers serve the same, so that a domain may lead to any of them. A site that brings no certificate gets one from
the ACME authority of the settings, once its domain is routed; the proof is put on every router, and what is issued is
kept at HQ and renewed in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from skep.base.clock import Clock
from skep.base.errors import BadInput, ImageNotFound, SkepError
from skep.base.logs import get_logger
from skep.crypto.hashing import digest
from skep.deploy.engines.records import Image
from skep.deploy.hq.certificates import Certificates
from skep.deploy.hq.servers import Ways
from skep.deploy.hq.settings import HqSettings
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.router.records import Certificate, Site
from skep.deploy.shell.protocol import Runner
from skep.deploy.shell.records import Command

log = get_logger("skep.hq")
PLACE_TIMEOUT_S = 600.0
_PLACE = """set -e
[ ! -d "$1" ] || exit 0
rm -rf "$1.new"
mkdir -p "$1.new"
tar -x -f - -C "$1.new" --no-same-owner
mv "$1.new" "$1"
"""
_IS_THERE = '[ -d "$1" ]'
_PRUNE = """cd "$1" 2>/dev/null || exit 0
shift
for found in *; do
    keep=
    for wanted in "$@"; do [ "$found" != "$wanted" ] || keep=yes; done
    [ -n "$keep" ] || rm -rf -- "$found"
done
"""


class _OnHost:
    """nginx on one server. It is started when it is first needed."""

    def __init__(self, runner: Runner, folder: str, settings: HqSettings, clock: Clock) -> None:
        self.runner = runner
        self.folder = folder
        rules = settings.router
        self.nginx = NginxRouter(
            runner, folder, http_port=rules.http_port, https_port=rules.https_port, user=rules.user, clock=clock
        )
        self._starting = asyncio.Lock()
        self.is_started = False

    async def started(self) -> NginxRouter:
        """It, running."""
        async with self._starting:
            if not self.is_started:
                await self.nginx.start()
                self.is_started = True
        return self.nginx


class Routers:
    """A ``launch.ground.Router`` over all servers that are routers."""

    def __init__(self, ways: Ways, settings: HqSettings, acme: Path, clock: Clock) -> None:
        self._ways = ways
        self._settings = settings
        self._clock = clock
        self._hosts: dict[str, _OnHost] = {}
        self._asked: dict[str, tuple[Site, ...]] = {}
        self._certificates = Certificates(settings.router, acme, self._put_challenge, clock)

    def _all(self) -> list[_OnHost]:
        servers = [one for one in self._ways.servers if one.router]
        for gone in self._hosts.keys() - {one.id for one in servers}:
            del self._hosts[gone]
        for server in servers:
            if server.id not in self._hosts:
                folder = self._ways.router_folder(server)
                self._hosts[server.id] = _OnHost(self._ways.runner(server.id), folder, self._settings, self._clock)
        return [self._hosts[one.id] for one in servers]

    def running(self) -> list[NginxRouter]:
        """Those that were started."""
        return [host.nginx for host in self._hosts.values() if host.is_started]

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        """As ``Router`` says. Raises BadInput when there are sites and no server serves the web."""
        hosts = self._all()
        if not hosts:
            if sites:
                raise BadInput(f"{stack} has domains and no server serves them: `skep servers add … --router`")
            return
        self._asked[stack] = tuple(sites)
        await self._apply(hosts, stack)

    async def _apply(self, hosts: Sequence[_OnHost], stack: str) -> None:
        sites = self._asked.get(stack, ())
        await asyncio.gather(*(self._apply_on(host, stack, sites) for host in hosts))

    async def _apply_on(self, host: _OnHost, stack: str, sites: Sequence[Site]) -> None:
        nginx = await host.started()
        await nginx.apply(stack, [await self._with_certificate(host, site) for site in sites])

    async def _with_certificate(self, host: _OnHost, site: Site) -> Site:
        issued = None if site.certificate else await self._certificates.held(site.domains)
        if issued is None:
            return site
        name = digest(issued.chain).hex()[:32]
        chain, key = (f"{host.folder}/certificates/{name}.{kind}.pem" for kind in ("chain", "key"))
        if not (await host.runner.run(Command.shell('[ -s "$1" ] && [ -s "$2" ]', chain, key), check=False)).ok:
            await host.runner.put(issued.key, key, mode=0o600)
            await host.runner.put(issued.chain, chain, mode=0o600)
        return msgspec.structs.replace(site, certificate=Certificate(chain, key))

    async def drained(self, timeout_s: float) -> bool:
        """As ``Router`` says: on all of them."""
        return all(await asyncio.gather(*(self._drained(host, timeout_s) for host in self._all())))

    async def _drained(self, host: _OnHost, timeout_s: float) -> bool:
        return await (await host.started()).drained(timeout_s)

    async def place(self, stack: str, files: Image) -> str:
        """As ``Router`` says; the folder is the same on every router of one kind (HQ's own machine has its own)."""
        if files.archive is None:
            raise ImageNotFound(f"the files {files.ref} of {stack} are not kept any more: push again")
        hosts = self._all()
        folders = {f"{host.folder}/files/{stack}/{_name(files.ref)}" for host in hosts}
        if not hosts:
            raise BadInput(f"{stack} has files to serve and no server serves them: `skep servers add … --router`")
        if len(folders) != 1:
            raise BadInput("routers on HQ's own machine and elsewhere have different folders: use one kind")
        (folder,) = folders
        await asyncio.gather(*(place_files(host.runner, host.folder, stack, files) for host in hosts))
        return folder

    async def prune(self, stack: str, refs: Collection[str]) -> None:
        """As ``Router`` says."""
        wanted = sorted(_name(ref) for ref in refs)
        for host in self._all():
            await host.runner.run(Command.shell(_PRUNE, f"{host.folder}/files/{stack}", *wanted))

    async def tick(self) -> None:
        """Get certificates that are missing or due, and serve with them."""
        for stack, sites in list(self._asked.items()):
            for site in sites:
                if site.certificate is None and await self._certificates.care(site.domains):
                    try:
                        await self._apply(self._all(), stack)
                    except SkepError as error:
                        log.warning("certificate not served", stack=stack, error=error.message)

    async def _put_challenge(self, name: str, content: bytes | None) -> None:
        for host in self._all():
            path = f"{(await host.started()).challenges}/{name}"
            if content is None:
                await host.runner.run(Command.of("rm", "-f", "--", path))
            else:
                await host.runner.put(content, path)


async def place_files(runner: Runner, root: str, stack: str, files: Image) -> str:
    """Unpack an archive below a router's folder, unless it is there; where."""
    folder = f"{root}/files/{stack}/{_name(files.ref)}"
    if files.archive is not None and not (await runner.run(Command.shell(_IS_THERE, folder), check=False)).ok:
        await runner.run(Command.shell(_PLACE, folder, stdin=files.archive, timeout_s=PLACE_TIMEOUT_S))
    return folder


def _name(ref: str) -> str:
    return digest(ref.encode()).hex()[:40]
