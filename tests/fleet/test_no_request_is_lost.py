"""Not a request is lost while releases come and go: real nginx, real processes, an open-loop client beside them.

The long test makes 20,000 requests over 100 instructions (SKEP_LOAD_REQUESTS and SKEP_LOAD_RATE say how many, and how
many a second: what two processors serve beside another test). The control replaces the same app as the oldest quarry
did, with a fixed sleep instead of health and draining: it must lose some, or the client would not notice anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from skep.base.errors import GridFull, InUse
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.records import Binding
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import SliceRecord, Verdict
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.router.records import Backend, Site
from skep.deploy.shell.local import LocalRunner
from skep.testing.fleet import Fleet, SiteRouter, app, silent

BLOCKS = ("one", "two", "three", "four")
STACK = "shop"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def fleet(program: Callable[[str, str], Path], tmp_path: Path) -> AsyncIterator[Fleet]:
    """Four hosts on this machine, and nginx in front of them on ``fleet.port``."""
    program("nginx", "apt-get install nginx")
    engines = {name: ProcessEngine(LocalRunner(name), str(tmp_path / name), python=sys.executable) for name in BLOCKS}
    port = free_port()
    user = "root" if os.geteuid() == 0 else ""
    nginx = NginxRouter(
        LocalRunner("router"), str(tmp_path / "router"), http_port=port, https_port=free_port(), user=user
    )
    await nginx.start()
    made = Fleet(tmp_path, engines, SiteRouter(nginx), limits=Limits(drain_s=30.0))
    made.port = port  # type: ignore[attr-defined]
    await made.open()
    try:
        yield made
    finally:
        await made.clear()
        await nginx.stop()


@contextlib.asynccontextmanager
async def loaded(
    fleet: Fleet, *, rate: float, requests: int, long_s: float, to_the_end: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """A client beside the block; its result is in the dictionary afterwards."""
    result: dict[str, Any] = {}
    words = ("--address", f"127.0.0.1:{fleet.port}", "--rate", str(rate), "--requests", str(requests))  # type: ignore[attr-defined]
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "skep.testing.load", *words, "--long-s", str(long_s),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        assert await client.stdout.readline() == b"begun\n"
        yield result
        if not to_the_end:
            client.stdin.close()
        result |= json.loads(await client.stdout.readline())
        await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()


class Instructions:
    """Random orders to a launcher, from one seed."""

    def __init__(self, fleet: Fleet, seed: int, start_s: float) -> None:
        self.fleet, self.start_s = fleet, start_s
        self.random = random.Random(seed)
        self.version = 0
        self.done: dict[str, int] = {}

    async def deploy(self) -> None:
        self.version += 1
        text = app(sys.executable, version=self.version, start_s=self.start_s)
        well(await self.fleet.launcher.deploy(self.fleet.request(STACK, text), silent))

    async def scale(self) -> None:
        well(await self.fleet.launcher.scale(STACK, {"app": self.random.randint(2, 4)}, silent))

    async def rollback(self) -> None:
        kept = await self.fleet.journal.releases(STACK)
        well(await self.fleet.launcher.rollback(STACK, self.random.choice(kept).number, silent))

    async def kill(self) -> None:
        """One slice goes, one stays."""
        well(await self.fleet.launcher.scale(STACK, {"app": 3}, silent))
        well(await self.fleet.launcher.scale(STACK, {"app": 2}, silent))

    async def restart(self) -> None:
        well(await self.fleet.launcher.restart(STACK, ["app"], silent))

    async def move(self) -> None:
        live = await live_slices(self.fleet)
        slice_id = self.random.choice([one.id for one in live])
        with contextlib.suppress(GridFull, InUse):  # it is just being ended, or there is no room
            await self.fleet.grid.move(slice_id, self.random.choice(BLOCKS))

    async def run(self, count: int) -> None:
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.deploy, self.deploy, self.scale, self.rollback, self.kill, self.restart, self.move, self.move,
        ]  # fmt: skip
        for _ in range(count):
            order = self.random.choice(kinds)
            await order()
            self.done[order.__name__] = self.done.get(order.__name__, 0) + 1


def well(verdict: Verdict) -> None:
    assert verdict.ok, verdict


async def live_slices(fleet: Fleet) -> list[SliceRecord]:
    return [one for one in await fleet.journal.slices(STACK) if one.state == "live"]


async def nothing_is_left_over(fleet: Fleet) -> None:
    """Each live slice runs once, and nothing else runs anywhere."""
    await fleet.launcher.idle()
    live = {one.id for one in await live_slices(fleet)}
    running = [job.id for engine in fleet.engines.values() for job in await engine.list()]
    assert sorted(running) == sorted(live)


async def test_a_few_instructions_lose_nothing(fleet: Fleet) -> None:
    orders = Instructions(fleet, seed=1, start_s=0.1)
    await orders.deploy()
    async with loaded(fleet, rate=100, requests=100_000, long_s=0.6) as result:
        for order in (orders.deploy, orders.move, orders.rollback):
            await order()
    assert result["failures"] == 0, result
    assert {"fast", "upload", "long"} <= set(result["well"])
    assert len(result["versions"]) >= 2
    await nothing_is_left_over(fleet)


@pytest.mark.long
async def test_a_hundred_instructions_lose_no_request(fleet: Fleet) -> None:
    requests = int(os.environ.get("SKEP_LOAD_REQUESTS", "20000"))
    instructions = int(os.environ.get("SKEP_LOAD_INSTRUCTIONS", "100"))
    rate = float(os.environ.get("SKEP_LOAD_RATE", "80"))
    orders = Instructions(fleet, seed=int(os.environ.get("SKEP_LOAD_SEED", "7")), start_s=0.1)
    await orders.deploy()
    async with loaded(fleet, rate=rate, requests=requests, long_s=2.0, to_the_end=True) as result:
        await orders.run(instructions)
    print(json.dumps(result), orders.done)
    assert result["failures"] == 0, result
    assert result["requests"] == requests
    assert sum(orders.done.values()) == instructions
    await nothing_is_left_over(fleet)


@pytest.mark.long
async def test_the_control_with_a_fixed_sleep_loses_some(fleet: Fleet) -> None:
    """As the oldest quarry: start the new ones, sleep, tell the router, stop the old ones."""
    orders = Instructions(fleet, seed=1, start_s=0.1)
    await orders.deploy()
    async with loaded(fleet, rate=100, requests=100_000, long_s=1.0) as result:
        await asyncio.sleep(1.0)  # until longer answers are under way
        for _ in range(3):
            await replaced_after_a_sleep(fleet, sleep_s=0.2)
    assert result["failures"] > 0, result


async def replaced_after_a_sleep(fleet: Fleet, sleep_s: float) -> None:
    old = [job for engine in fleet.engines.values() for job in await engine.list()]
    template = (await live_slices(fleet))[0]
    bindings: list[Binding] = []
    for number, engine in enumerate(fleet.engines.values()):
        labels = old[0].labels.__class__(stack=STACK, job="app", slice=f"naive.{old[0].id}.{number}"[-120:])
        bindings += (await engine.ensure(template.spec, labels)).bindings if number < 2 else ()
    await asyncio.sleep(sleep_s)  # this is what is wrong with it
    backends = tuple(Backend(one.address, one.host_port) for one in bindings)
    await fleet.router.apply(STACK, (Site(job="app", domains=("app.test",), backends=backends),))
    for job in old:
        for engine in fleet.engines.values():
            await engine.remove(job.id)
