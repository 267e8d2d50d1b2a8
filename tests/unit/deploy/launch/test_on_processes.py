"""Launches with real processes behind a real nginx: a release is replaced under load, and a bad one is not noticed."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tarfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from skep.base.clock import SystemClock
from skep.deploy.build import Images
from skep.deploy.engines.process.building import TreeBuilder
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.protocol import Engine
from skep.deploy.engines.records import Image
from skep.deploy.grid import SliceGrid
from skep.deploy.launch.journal_rows import MemoryJournal, MemoryRows
from skep.deploy.launch.launcher import Launcher
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import Event, Request
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.router.records import Site
from skep.deploy.shell.local import LocalRunner
from skep.deploy.stack.reader import read_stack

APP = """
import asyncio, os, pathlib

VERSION = pathlib.Path("version").read_text()

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            body = (VERSION + " " + os.environ.get("CACHE_PORT", "")).encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body[:1])
            await writer.drain()
            if b"GET /slow" in head:
                await asyncio.sleep(1.5)  # a slow response is what is served
            writer.write(body[1:])
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    if VERSION == "bad":
        raise SystemExit("it does not work")
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()

asyncio.run(main())
"""
TEXT = f"""
cache: {{type: service, run: exec {sys.executable} -I -S app.py, expose: 6379}}
web:
  type: web
  run: exec {sys.executable} -I -S app.py
  domains: app.test
  scale: 2
  health: {{http: /, interval: 0.2s}}
docs: {{type: static, document_root: public, domains: docs.test}}
"""


class OneRouter:
    """nginx on this machine, with static files beside it."""

    def __init__(self, nginx: NginxRouter, folder: Path) -> None:
        self.nginx, self.folder = nginx, folder

    async def apply(self, stack: str, sites: Sequence[Site]) -> None:
        await self.nginx.apply(stack, sites)

    async def drained(self, timeout_s: float) -> bool:
        return await self.nginx.drained(timeout_s)

    async def place(self, stack: str, files: Image) -> str:
        target = self.folder / stack / files.ref.replace(":", "-")
        assert files.archive is not None
        with tarfile.open(files.archive) as tar:
            tar.extractall(target, filter="data")
        return str(target)

    async def prune(self, stack: str, refs: Collection[str]) -> None:
        del stack, refs


class NoHooks:
    async def run(self, command: str, env: Mapping[str, str], timeout_s: float) -> None:
        raise AssertionError(command)


class Here:
    """A Ground of this machine alone."""

    fleet = "here"

    def __init__(self, folder: Path, nginx: NginxRouter, rows: MemoryRows) -> None:
        self.clock = SystemClock()
        self.grid = SliceGrid(file=folder / "grid.json")
        self.journal = MemoryJournal(rows)
        self.images = Images(folder / "images")
        self.builder = TreeBuilder(folder / "builds")
        self.router = OneRouter(nginx, folder / "static")
        self.hooks = NoHooks()
        self.local = ProcessEngine(LocalRunner(), str(folder / "engine"), python=sys.executable)

    def engine(self, block_id: str) -> Engine:
        return self.local

    async def environment(self, stack: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
        return {}, {}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
async def nginx(tmp_path: Path, program: Callable[..., object]) -> AsyncIterator[NginxRouter]:
    program("nginx", "apt-get install nginx-full")
    user = "root" if os.geteuid() == 0 else ""
    made = NginxRouter(
        LocalRunner(), str(tmp_path / "router"), http_port=free_port(), https_port=free_port(), user=user
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await made.drained(10)


class Load:
    """Clients that ask without a pause until they are told to end."""

    def __init__(self, port: int) -> None:
        self.port, self.ended = port, False
        self.answers: Counter[str] = Counter()

    async def get(self, client: httpx.AsyncClient, path: str) -> httpx.Response:
        """A client asks again when an idle connection is closed just as it sends (RFC 9112, 9.3.1), and only then."""
        try:
            return await client.get(path)
        except httpx.RemoteProtocolError as error:
            if "without sending a response" not in str(error):
                raise
            return await client.get(path)

    async def ask(self, path: str) -> None:
        headers = {"host": "app.test"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=20.0) as client:
            while not self.ended:
                try:
                    answer = await self.get(client, path)
                    self.answers[f"{answer.status_code} {answer.text.split()[0]}"] += 1
                except httpx.HTTPError as error:
                    self.answers[repr(error)] += 1
                await asyncio.sleep(0.03)  # the pace of the load: the rest of the machine is for what is tested


async def test_a_release_is_replaced_under_load_without_a_lost_request(tmp_path: Path, nginx: NginxRouter) -> None:
    tree, port = tmp_path / "tree", nginx._ports["http_port"]
    (tree / "public").mkdir(parents=True)
    (tree / "public" / "index.html").write_text("hello")
    (tree / "app.py").write_text(APP)
    stack, rows, lines = read_stack(TEXT, "shop"), MemoryRows(), []

    async def say(event: Event) -> None:
        lines.append(f"{event.kind} {event.text}")

    async def push(launcher: Launcher, version: str) -> tuple[bool, str]:
        (tree / "version").write_text(version)
        verdict = await launcher.deploy(Request(stack=stack, tree=tree), say)
        return verdict.ok, " ".join(verdict.last_lines)

    ground = Here(tmp_path, nginx, rows)
    launcher = Launcher(ground, Limits(drain_s=10.0))
    await launcher.recover()
    await ground.grid.adopt("here", 8192)
    try:
        assert (await push(launcher, "one"))[0], lines
        load = Load(port)
        asking = [asyncio.ensure_future(load.ask(path)) for path in ("/", "/", "/slow")]
        assert (await push(launcher, "two"))[0], lines
        await launcher.idle()
        ok, last_lines = await push(launcher, "bad")
        assert not ok
        assert "it does not work" in last_lines
        load.ended = True
        await asyncio.gather(*asking)
        assert set(load.answers) == {"200 one", "200 two"}, load.answers
        assert load.answers["200 two"] > 10
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/", headers={"host": "docs.test"})).text == "hello"
            cache = await client.get("/", headers={"host": "app.test"})
            assert cache.text.startswith("two tcp://127.0.0.1:")
        before = {one.id: one.started_us for one in await ground.local.list()}
        await launcher.close()
        reborn = Here(tmp_path, nginx, rows)  # another HQ finds all as it is, and touches nothing
        launcher = Launcher(reborn, Limits(drain_s=10.0))
        assert await launcher.recover() == ()
        assert {one.id: one.started_us for one in await reborn.local.list()} == before
        view = await launcher.observe("shop")
        assert sorted((one.job, one.state, one.health) for one in view.slices) == [
            ("cache", "running", "healthy"),
            ("web", "running", "healthy"),
            ("web", "running", "healthy"),
        ]
    finally:
        await launcher.remove("shop", say)
        await launcher.close()
    assert await ground.local.list() == ()
