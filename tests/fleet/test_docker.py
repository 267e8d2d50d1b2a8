"""Launches on real dockerds, each in a network namespace of its own. Opt in: SKEP_TEST_DOCKER=1 (needs root).

The image is made from busybox-static, so no registry is asked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from skep.deploy.engines.docker.engine import DockerEngine
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import Verdict
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.shell.local import LocalRunner
from skep.testing.dockerd import Dockerd, dockerd
from skep.testing.fleet import Fleet, SiteRouter, silent

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        os.environ.get("SKEP_TEST_DOCKER") != "1" or os.geteuid() != 0,
        reason="starts dockerd: SKEP_TEST_DOCKER=1 as root, after apt-get install docker.io busybox-static",
    ),
]
ROUNDS_MAX = 20
STACK = """\
app:
  type: web
  dockerfile: |
    FROM scratch
    COPY bin /bin
    COPY www /www
    {more}
    CMD ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"]
  expose: 80
  domains: app.test
  scale: {scale}
  grace: 2s
  health:
    http: /fast
    interval: 200ms
    grace: 10s
"""


@pytest.fixture(scope="module")
def daemons(program: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Dockerd]]:
    binary = program("dockerd", "apt-get install docker.io")
    program("busybox", "apt-get install busybox-static")
    with dockerd(binary, tmp_path_factory.mktemp("one")) as one, dockerd(binary, tmp_path_factory.mktemp("two")) as two:
        yield [one, two]


class Containers:
    """A fleet over two daemons, and nginx in front."""

    def __init__(self, fleet: Fleet, port: int, busybox: Path) -> None:
        self.fleet, self.port, self.busybox = fleet, port, busybox

    async def deploy(self, version: int, *, scale: int = 2, more: str = "ENV X=1") -> Verdict:
        text = STACK.format(scale=scale, more=more)
        request = self.fleet.request("shop", text, {"www/fast": f"fast {version}"})
        (request.tree / "bin").mkdir()
        shutil.copy(self.busybox, request.tree / "bin" / "busybox")
        return await self.fleet.launcher.deploy(request, silent)

    async def answers(self) -> set[str]:
        return {await asyncio.to_thread(self._answer) for _ in range(6)}

    def _answer(self) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/fast", headers={"host": "app.test"})
        with urllib.request.urlopen(request, timeout=10) as answered:
            return str(answered.read().decode()).removeprefix("fast ")

    async def at_rest(self) -> None:
        """Each live slice runs and nothing else does, after as many rounds of care as it takes."""
        running, live = [""], [""]
        for _ in range(ROUNDS_MAX):
            await self.fleet.launcher.idle()
            live = sorted(one.id for one in await self.fleet.journal.slices("shop") if one.state == "live")
            running = sorted([job.id for engine in self.fleet.engines.values() for job in await engine.list()])
            if running == live:
                return
            await asyncio.sleep(1.0)  # a daemon may have said no to what it should end; care asks again
            await self.fleet.launcher.tick()
        assert running == live


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def containers(
    daemons: list[Dockerd], program: Callable[[str, str], Path], tmp_path: Path
) -> AsyncIterator[Containers]:
    program("nginx", "apt-get install nginx")
    engines = {
        f"host-{number}": DockerEngine(
            f"host-{number}", archives=tmp_path / "archives", url=daemon.url, address=daemon.address
        )
        for number, daemon in enumerate(daemons)
    }
    port = free_port()
    nginx = NginxRouter(
        LocalRunner("router"), str(tmp_path / "router"), http_port=port, https_port=free_port(), user="root"
    )
    await nginx.start()
    builder = engines["host-0"]
    fleet = Fleet(tmp_path, engines, SiteRouter(nginx), limits=Limits(drain_s=10.0, sweep_s=1.0), builder=builder)
    await fleet.open()
    try:
        yield Containers(fleet, port, program("busybox", "apt-get install busybox-static"))
    finally:
        await fleet.clear()
        await nginx.stop()


async def test_releases_replace_each_other_on_two_daemons(containers: Containers) -> None:
    first = await containers.deploy(1)
    assert first.ok, first
    assert await containers.answers() == {"1"}
    blocks = {block for one in await containers.fleet.journal.slices("shop") for block in one.places}
    assert blocks == {"host-0", "host-1"}, "one on each: the image was shipped without a registry"
    second = await containers.deploy(2)
    assert second.ok, second
    assert await containers.answers() == {"2"}
    await containers.at_rest()
    failed = await containers.deploy(3, more="COPY there-is-no-such-file /x")
    assert not failed.ok
    assert await containers.answers() == {"2"}
    ill = await containers.deploy(4, more='ENTRYPOINT ["/bin/busybox", "false"]')
    assert not ill.ok
    assert ill.job == "app"
    assert await containers.answers() == {"2"}
    back = await containers.fleet.launcher.rollback("shop", None, silent)
    assert back.ok, back
    assert await containers.answers() == {"1"}
    await containers.at_rest()
    scaled = await containers.fleet.launcher.scale("shop", {"app": 3}, silent)
    assert scaled.ok, scaled
    moved = next(one for one in await containers.fleet.journal.slices("shop") if "host-0" in one.places)
    await containers.fleet.grid.move(moved.id, "host-1")
    assert await containers.answers() == {"1"}
    await containers.at_rest()
