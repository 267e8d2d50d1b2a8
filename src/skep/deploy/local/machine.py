"""This machine as the whole fleet: one block, one engine, and a router where nginx is there.

    async with LocalMachine(default_folder()) as machine:
        verdict = await machine.start(stack, tree, say)
        views = await machine.views()
        await machine.stop("shop", say)

What runs goes on when the program ends; the next one finds it by the folder. One program at a time holds the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from skep.base.clock import Clock, SystemClock
from skep.base.errors import DataDirectoryInUse, ImageNotFound, LocalFailure, NotFound
from skep.deploy.build.images import Images
from skep.deploy.engines.process.building import TreeBuilder
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.records import Image
from skep.deploy.grid import Size, SliceGrid
from skep.deploy.hq.ground import ShellHooks
from skep.deploy.hq.routers import place_files
from skep.deploy.hq.sealed_rows import SealedRows
from skep.deploy.hq.sqlite_state import SqliteState
from skep.deploy.hq.variables import Variables, scope_of
from skep.deploy.launch.journal_rows import RowJournal
from skep.deploy.launch.launcher import Launcher
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import Request, Say, StackView, Verdict
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.router.records import Site
from skep.deploy.shell.local import LocalRunner
from skep.deploy.stack.records import Stack

BLOCK = "local"
PORT = 8080
_PORTS_TRIED = 100


def default_folder() -> Path:
    """``SKEP_LOCAL_DIR``, or ``skep/local`` in the user's folder for such things."""
    given = os.environ.get("SKEP_LOCAL_DIR")
    return (
        Path(given) if given else Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "skep/local"
    )


class LocalRouter:
    """A ``launch.ground.Router``: nginx on ports of its own, or nothing at all where there is no nginx."""

    def __init__(self, folder: Path, http_port: int, clock: Clock) -> None:
        self.port = http_port
        self._folder = folder
        self._runner = LocalRunner()
        self.nginx: NginxRouter | None = None
        if shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
            user = "root" if os.geteuid() == 0 else ""
            self.nginx = NginxRouter(
                self._runner, str(folder), http_port=http_port, https_port=http_port + 1, user=user, clock=clock
            )
        self._started = False

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        """As ``Router`` says."""
        if self.nginx is None or (not sites and not self._started and not await asyncio.to_thread(self._serves, stack)):
            return
        if not self._started:
            await self.nginx.start()
            self._started = True
        await self.nginx.apply(stack, sites)

    def _serves(self, stack: str) -> bool:
        """Whether nginx knows of the stack: where it does not, it need not be started to be told that there is none."""
        try:
            return f'"{stack}":' in (self._folder / "sites.json").read_text()
        except FileNotFoundError:
            return False

    async def drained(self, timeout_s: float) -> bool:
        """As ``Router`` says."""
        return self.nginx is None or not self._started or await self.nginx.drained(timeout_s)

    async def place(self, stack: str, files: Image) -> str:
        """As ``Router`` says."""
        if files.archive is None:
            raise ImageNotFound(f"the files {files.ref} of {stack} are not kept any more: start it again")
        return await place_files(self._runner, str(self._folder), stack, files)

    async def prune(self, stack: str, refs: Collection[str]) -> None:
        """As ``Router`` says: files of this machine take no room worth the trouble until the stack is stopped."""
        if not refs:
            await asyncio.to_thread(shutil.rmtree, self._folder / "files" / stack, ignore_errors=True)

    async def end_if_idle(self) -> None:
        """End nginx when it serves nothing."""
        if self.nginx is not None and self._started and not self.nginx.sites:
            for _ in range(50):  # it says its process id a moment after it was started
                if await self.nginx.workers():
                    break
                await asyncio.sleep(0.1)
            await self.nginx.stop()


class LocalMachine:
    """See the module. Fills ``launch.ground.Ground``."""

    def __init__(self, folder: Path, *, http_port: int = 0, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock: Clock = clock or SystemClock()
        self.hooks = ShellHooks()
        self._wanted_port = http_port
        self._closing = contextlib.AsyncExitStack()

    async def __aenter__(self) -> LocalMachine:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LocalFailure(f"{self.folder} cannot be made: {error.strerror}") from None
        self._closing.callback(os.close, _held(self.folder / "lock"))
        try:
            await self._open()
        except BaseException:
            await self._closing.aclose()
            raise
        return self

    async def _open(self) -> None:
        key = _key(self.folder / "seal")
        self._store = SqliteState(self.folder / "state.db")
        self._closing.push_async_callback(self._store.close)
        rows = SealedRows(self.folder / "journal.db", key)
        self._closing.push_async_callback(rows.close)
        self.journal = RowJournal(rows)
        self.variables = Variables(self._store, key)
        self.fleet = await self._name()
        self.grid = SliceGrid(clock=self.clock, file=self.folder / "grid.json", max=1)
        self.images = Images(self.folder / "images")
        self.builder = TreeBuilder(self.folder / "images" / "trees")
        self.router = LocalRouter(self.folder / "router", await self._port(), self.clock)
        self._engine = ProcessEngine(LocalRunner(BLOCK), str(self.folder / "engine"), python=sys.executable)
        self._closing.push_async_callback(self._engine.close)
        self.launcher = Launcher(self, Limits(drain_s=5.0))
        self._closing.push_async_callback(self.launcher.close)
        await self.launcher.recover()
        if not any(block.facts.id == BLOCK for block in self.grid.blocks):
            facts = await self._engine.facts()
            size = Size(memory_bytes=facts.memory_bytes, cpu_millis=facts.cpu_millis, disk_bytes=facts.disk_free_bytes)
            await self.grid.adopt(BLOCK, size, address="127.0.0.1")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.launcher.idle()
            await self.router.end_if_idle()
        await self._closing.aclose()

    # --- Ground -------------------------------------------------------------------------------

    def engine(self, block_id: str) -> ProcessEngine:
        """The engine of this machine."""
        return self._engine

    async def environment(self, stack: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """No global variables; those of the stack."""
        return {}, await self.variables.values(scope_of(stack))

    # --- What people do -----------------------------------------------------------------------

    async def start(self, stack: Stack, tree: Path, say: Say, env: Mapping[str, str] | None = None) -> Verdict:
        """Run a stack as a push of this tree would; ``env`` is set for it first."""
        if env:
            await self.variables.change(scope_of(stack.name), env)
        return await self.launcher.deploy(Request(stack=stack, tree=tree, revision="local", by="local"), say)

    async def stop(self, name: str, say: Say) -> Verdict:
        """End a stack. Volumes and variables stay. Raises NotFound."""
        if name not in await self.journal.stacks():
            raise NotFound(f"no stack {name} runs on this machine: `skep stack ps --local` lists them", stack=name)
        return await self.launcher.kill(name, say)

    async def views(self, name: str = "") -> tuple[StackView, ...]:
        """What runs here, of one stack or of all."""
        names = [one for one in await self.journal.stacks() if name in ("", one)]
        return tuple([await self.launcher.observe(one) for one in names])

    def urls(self, view: StackView) -> list[str]:
        """Where a stack is reached here: by its domains through nginx, and each web job by its port."""
        found = []
        if view.release is not None:
            if self.router.nginx is not None:
                domains = [d for job in view.release.stack.of_kind("web", "static") for d in job.domains if d[0] != "*"]
                found += [f"http://{domain}:{self.router.port}/" for domain in domains]
            web = {job.name for job in view.release.stack.of_kind("web")}
            found += [
                f"http://{bound.address}:{bound.host_port}/  ({one.id})"
                for one in view.slices
                if one.job in web
                for bound in one.bindings
            ]
        return found

    # --- Small change -------------------------------------------------------------------------

    async def _name(self) -> str:
        entry = await self._store.get("fleet")
        if entry is None:
            await self._store.put("fleet", f"local-{secrets.token_hex(4)}".encode())
            entry = await self._store.get("fleet")
            assert entry is not None
        return entry.value.decode()

    async def _port(self) -> int:
        """The port of nginx: the one asked for, the one it had, or the first that is free from PORT on."""
        entry = await self._store.get("port")
        port = self._wanted_port or (int(entry.value) if entry is not None else await asyncio.to_thread(_free_port))
        if entry is None or int(entry.value) != port:
            await self._store.put("port", str(port).encode())
        return port


def _free_port() -> int:
    for port in range(PORT, PORT + 2 * _PORTS_TRIED, 2):
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("0.0.0.0", port))  # noqa: S104 - only to see whether nginx could
            second.bind(("0.0.0.0", port + 1))  # noqa: S104
            return port
    raise LocalFailure(f"no two ports are free from {PORT} on: name one with --port")


def _held(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DataDirectoryInUse("another `skep stack` works on this machine's stacks: wait for it") from None
    return descriptor


def _key(path: Path) -> bytes:
    """The key that seals what is kept here; made when it is not there."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(descriptor)
    key = path.read_bytes()
    if len(key) != 32:
        raise LocalFailure(f"{path} is no key of ours: move {path.parent} away and start again")
    return key
