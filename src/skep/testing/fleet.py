"""A fleet for tests: what launches stand on, over engines that the test chose, with nginx in front.

fleet = Fleet(tmp_path, {"one": engine, "two": engine}, router)
await fleet.open()
verdict = await fleet.launcher.deploy(fleet.request("shop", APP, version=1), say)
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, EngineUnavailable
from skep.deploy.build.images import Images
from skep.deploy.engines.process.building import TreeBuilder
from skep.deploy.engines.protocol import Builder, Engine
from skep.deploy.engines.records import Image
from skep.deploy.grid import Size, SliceGrid
from skep.deploy.launch.journal import Journal
from skep.deploy.launch.journal_rows import MemoryJournal
from skep.deploy.launch.launcher import Launcher
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import Event, Request
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.router.records import Site
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.records import Command
from skep.deploy.stack.reader import read_stack
from skep.testing import load_app

HOST_SIZE = Size(memory_bytes=8 << 30, cpu_millis=8000)
STACK = """\
app:
  type: web
  run: exec {python} load_app.py
  domains: {domain}
  scale: {scale}
  grace: 2s
  env:
    VERSION: "{version}"
    START_S: "{start_s}"
  health:
    http: /fast
    interval: 200ms
    timeout: 2s
    grace: 20s
"""


class SiteRouter:
    """nginx as launches use it, without static files."""

    def __init__(self, nginx: NginxRouter) -> None:
        self.nginx = nginx

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        """As ``Router`` says."""
        await self.nginx.apply(stack, sites)

    async def drained(self, timeout_s: float) -> bool:
        """As ``Router`` says."""
        return await self.nginx.drained(timeout_s)

    async def place(self, stack: str, files: Image) -> str:
        """Raises BadInput."""
        raise BadInput("the fleet of tests serves no files")

    async def prune(self, stack: str, refs: Collection[str]) -> None:
        """There are none."""


class NoRouter:
    """A router that leads nowhere and remembers what it was told."""

    def __init__(self) -> None:
        self.sites: dict[str, tuple[Site, ...]] = {}

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        """As ``Router`` says."""
        self.sites[stack] = tuple(sites)

    async def drained(self, timeout_s: float) -> bool:
        """As ``Router`` says."""
        return True

    async def place(self, stack: str, files: Image) -> str:
        """As ``Router`` says."""
        return f"/files/{stack}/{files.ref}"

    async def prune(self, stack: str, refs: Collection[str]) -> None:
        """As ``Router`` says."""


class _Hooks:
    async def run(self, command: str, env: Mapping[str, str], timeout_s: float) -> None:
        await LocalRunner("HQ").run(Command(argv=("sh", "-c", command), env=dict(env), timeout_s=timeout_s))


class Fleet:
    """A Ground. ``engines`` are its hosts by name; one that is taken out of ``engines`` does not answer any more."""

    def __init__(
        self,
        folder: Path,
        engines: Mapping[str, Engine],
        router: SiteRouter | NoRouter,
        *,
        journal: Journal | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
        size: Size = HOST_SIZE,
        fleet: str = "tests",
        builder: Builder | None = None,
    ) -> None:
        self.folder = folder
        self.engines = dict(engines)
        self.fleet = fleet
        self.router = router
        self.clock = clock or SystemClock()
        self.journal: Journal = journal or MemoryJournal()
        self.images = Images(folder / "images")
        self.builder: Builder = builder or TreeBuilder(folder / "building")
        self.hooks = _Hooks()
        self.grid = SliceGrid(file=folder / "grid.json", clock=self.clock)
        self.launcher = Launcher(self, limits)
        self._size = size

    async def open(self) -> None:
        """Recover, and use all hosts."""
        await self.launcher.recover()
        known = {block.facts.id for block in self.grid.blocks}
        for name in self.engines:
            if name not in known:
                await self.grid.adopt(name, self._size)

    async def close(self) -> None:
        """Let go; jobs go on."""
        await self.launcher.close()
        for engine in self.engines.values():
            await engine.close()

    async def clear(self) -> None:
        """End every job on every host, and close."""
        await self.launcher.close()
        for engine in self.engines.values():
            for job in await engine.list():
                await engine.remove(job.id)
            await engine.close()

    def engine(self, block_id: str) -> Engine:
        """As ``Ground`` says."""
        if block_id not in self.engines:
            raise EngineUnavailable(f"{block_id} does not answer")
        return self.engines[block_id]

    async def environment(self, stack: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """As ``Ground`` says."""
        return {}, {}

    def request(self, stack: str, text: str, files: Mapping[str, str] | None = None) -> Request:
        """A push of a tree with this stack file, the loaded app and more files."""
        trees = self.folder / "trees"
        trees.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.name) for path in trees.iterdir()), default=0)
        tree = trees / str(number)
        tree.mkdir()
        shutil.copyfile(Path(load_app.__file__), tree / "load_app.py")
        (tree / "quarry.yml").write_text(text)
        for name, content in (files or {}).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(content)
        return Request(stack=read_stack(text, stack), tree=tree, revision=str(number))


def app(python: str, *, version: object = 1, scale: int = 2, start_s: float = 0.0, domain: str = "app.test") -> str:
    """The stack file of the loaded app."""
    return STACK.format(python=python, version=version, scale=scale, start_s=start_s, domain=domain)


async def silent(event: Event) -> None:
    """Nobody listens."""


class FileRows:
    """Rows of a journal in one file, replaced whole and durably: for programs that are killed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, bytes] = {}

    async def load(self) -> dict[str, bytes]:
        """As ``Rows`` says."""
        if self._path.exists():
            self._rows = msgspec.json.decode(self._path.read_bytes(), type=dict[str, bytes])
        return dict(self._rows)

    async def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """As ``Rows`` says."""
        rows = {**self._rows, **{key: value for key, value in changes.items() if value is not None}}
        for key, value in changes.items():
            if value is None:
                rows.pop(key, None)
        await LocalRunner().put(msgspec.json.encode(rows), str(self._path), mode=0o600)
        self._rows = rows
