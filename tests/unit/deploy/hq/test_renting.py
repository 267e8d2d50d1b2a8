"""Servers that HQ rents: a stack that grows gets one, one that shrinks gives it back, and a kill leaves no orphan."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skep.base.errors import Misconfigured
from skep.deploy.hq.folder import HqFolder
from skep.deploy.hq.renting import new_driver
from skep.deploy.hq.telling import plan_lines
from skep.testing.clouds.base import Rule
from skep.testing.digitalocean import DigitalOceanDouble
from skep.testing.hq import OpenHq, hq_settings, open_hq, ordered
from skep.testing.sshd import Sshd, sshd

WORKER = """\
work:
  type: worker
  run: exec sleep 600
  scale: 0
  size: 512MB
"""


@pytest.fixture
def cloud() -> Iterator[DigitalOceanDouble]:
    """An account whose droplets are all this machine, where an SSH server listens: rent one at a time."""
    double = DigitalOceanDouble()
    double.address_of = lambda droplet: "127.0.0.1"
    with double.served() as url:
        double.url = url  # type: ignore[attr-defined]
        yield double


@pytest.fixture
def host(tmp_path: Path, program: Callable[[str, str], Path]) -> Iterator[Sshd]:
    for name in ("sshd", "home"):
        (tmp_path / name).mkdir()
    openssh = program("sshd", "apt-get install openssh-server")
    with sshd(openssh, tmp_path / "sshd", home=tmp_path / "home") as running:
        yield running


def settings(cloud: DigitalOceanDouble, host: Sshd, tmp_path: Path) -> dict[str, dict[str, Any]]:
    token = tmp_path / "token"
    token.write_text(cloud.token + "\n")
    token.chmod(0o600)
    return {
        "grid": {"linger": "0s", "cooldown": "0s", "max": 1, "autosize": True},
        "machines": {
            "driver": "digitalocean", "types": ["s-1vcpu-1gb", "s-2vcpu-4gb"], "token_file": str(token),
            "api": cloud.url, "user": host.user, "ssh_port": host.port, "fence": False, "billing": "0s",  # type: ignore[attr-defined]
        },
        "care": {"tick": "200ms"},
    }  # fmt: skip


@pytest.fixture
async def hq(tmp_path: Path, cloud: DigitalOceanDouble, host: Sshd) -> AsyncIterator[OpenHq]:
    async with open_hq(tmp_path, **settings(cloud, host, tmp_path)) as opened:
        with (host.client_key.parent / "authorized").open("a") as authorized:
            authorized.write(opened.hq.folder.public_key() + "\n")
        yield opened


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(900):
        if holds():
            return
        await asyncio.sleep(0.05)  # until HQ's care has come round
    raise AssertionError("it never came so far")


async def test_a_stack_that_grows_rents_a_server_and_one_that_shrinks_gives_it_back(
    hq: OpenHq, cloud: DigitalOceanDouble
) -> None:
    code, said = await hq.push(hq.admin.repository("jobs", {"quarry.yml": WORKER}), "jobs")
    assert code == 0, said
    assert cloud.ever == {}
    current = await hq.hq.journal.current("jobs")
    assert current is not None
    plan = await hq.hq.launcher._compiled(msgspec.structs.replace(current, scales={"work": 1}), number=9)
    assert plan_lines(plan)[-3:] == [
        "  grid: rents s-1vcpu-1gb for jobs.work.9-0, 6.52 a month",
        "  grid: jobs.work.9-0 on s-1vcpu-1gb (new 1)",
        "  rented in all: 6.52 a month more",
    ]
    assert cloud.ever == {}
    await hq.order("stack.scale", stack="jobs", jobs={"work": 1})
    (droplet,) = cloud.droplets.values()
    assert droplet.size == "s-1vcpu-1gb", "the cheapest that takes it"
    (server,) = await hq.order("servers.ls")
    assert (server["id"], server["machine"], server["price"]) == ("s-1vcpu-1gb-1", "s-1vcpu-1gb", 0.00893)
    view = await hq.order("stack.ps", stack="jobs")
    assert [(one["block"], one["state"]) for one in view["slices"]] == [("s-1vcpu-1gb-1", "running")]
    status = await hq.order("hq.status")
    assert (status["machines"]["driver"], status["machines"]["rented"]) == ("digitalocean", ["s-1vcpu-1gb-1"])
    assert status["price"] == "1 servers, 6.52 a month"
    with pytest.raises(RuntimeError, match=r"grid-full"):
        await hq.order("servers.rm", id="s-1vcpu-1gb-1")  # its job would have no place: one server is the most

    await hq.order("stack.scale", stack="jobs", jobs={"work": 0})
    await until(lambda: not cloud.droplets)
    await until(lambda: not hq.hq.grid.blocks)
    assert await hq.order("servers.ls") == []
    assert len(cloud.ever) == 1


@pytest.mark.long
async def test_what_a_provider_does_not_give_is_a_verdict_and_leaves_nothing(
    hq: OpenHq, cloud: DigitalOceanDouble
) -> None:
    work = hq.admin.repository("jobs", {"quarry.yml": WORKER.replace("scale: 0", "scale: 1")})
    cloud.fail(Rule("/v2/droplets", method="POST", status=422, times=100))
    code, said = await hq.push(work, "jobs")
    assert code == 1, said
    cloud.rules.clear()
    await until(lambda: not hq.hq.grid.blocks)
    assert not cloud.droplets
    code, said = await hq.push(work, "jobs")
    assert code == 0, said
    assert len(cloud.droplets) == 1


class Served:
    """`skep hq serve` as a program that can be killed."""

    def __init__(self, folder: HqFolder) -> None:
        self.folder = folder
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "skep.cli.main", "hq", "serve", "--json", "--folder", str(self.folder.root),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            assert await self.process.stdout.readline(), "it does not start"

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def order(self, command: str, **args: Any) -> Any:
        return await ordered(self.folder, command, **args)

    async def fleet(self) -> tuple[int, int]:
        """How many blocks and servers it has."""
        return len((await self.order("grid"))["blocks"]), len(await self.order("servers.ls"))


@pytest.mark.crash
async def test_hq_that_is_killed_while_it_rents_leaves_neither_an_orphan_nor_a_double(
    cloud: DigitalOceanDouble, host: Sshd, tmp_path: Path
) -> None:
    """Killed before the droplet is active, after it is a server, and while it is given back."""
    over = settings(cloud, host, tmp_path)
    async with open_hq(tmp_path, **over) as opened:
        with (host.client_key.parent / "authorized").open("a") as authorized:
            authorized.write(opened.hq.folder.public_key() + "\n")
        code, said = await opened.push(opened.admin.repository("jobs", {"quarry.yml": WORKER}), "jobs")
        assert code == 0, said
        folder = opened.hq.folder
    base = {"ssh": {"listen": "127.0.0.1", "port": 0}, "deploy": {"host_folder": str(tmp_path / "host")}, **over}
    folder.settings.write_text("\n".join(
        f"[{section}]\n" + "".join(f"{key} = {msgspec.json.encode(value).decode()}\n" for key, value in keys.items())
        for section, keys in base.items()
    ))  # fmt: skip
    hq = Served(folder)
    await hq.start()
    try:
        (release,) = (await hq.order("stack.releases", stack="jobs"))["releases"]
        await hq.order("stack.rollback", stack="jobs", number=release["number"])
        cloud.making_s = 1e6
        growing = asyncio.ensure_future(hq.order("stack.scale", stack="jobs", jobs={"work": 1}))
        await until(lambda: len(cloud.droplets) == 1)
        await hq.kill()
        await asyncio.gather(growing, return_exceptions=True)
        await hq.start()
        assert len(cloud.droplets) == 1, "what is being made cannot be given back yet, and HQ has not waited for that"
        for droplet in cloud.ever.values():
            droplet.busy_until_us = 1  # it has come up by now
        await until_gone(hq, cloud)

        cloud.making_s = 0.0
        told = await hq.order("stack.scale", stack="jobs", jobs={"work": 1})
        assert told["ok"], told
        (kept,) = cloud.droplets
        await hq.kill()
        await hq.start()
        assert list(cloud.droplets) == [kept]
        assert await hq.fleet() == (1, 1)

        cloud.fail(Rule("/v2/droplets", method="DELETE", cut=True, times=1000))
        await hq.order("stack.scale", stack="jobs", jobs={"work": 0})
        async with asyncio.timeout(90):
            while "destroying" not in [block["state"] for block in (await hq.order("grid"))["blocks"]]:
                await asyncio.sleep(0.05)  # until HQ's care has come round
        await hq.kill()
        cloud.rules.clear()
        await hq.start()
        await until_gone(hq, cloud)
        assert len(cloud.ever) == 2
    finally:
        await hq.kill()


async def until_gone(hq: Served, cloud: DigitalOceanDouble) -> None:
    """No droplet, no block, no server."""
    async with asyncio.timeout(90):
        while cloud.droplets or await hq.fleet() != (0, 0):
            await asyncio.sleep(0.1)  # until HQ's care has come round


async def test_a_machine_that_no_block_stands_for_is_given_back(hq: OpenHq, cloud: DigitalOceanDouble) -> None:
    machines = hq.hq.machines
    assert machines is not None
    await machines._driver.create("stray-1", "s-1vcpu-1gb")
    assert len(cloud.droplets) == 1
    assert await machines.clear() == ("stray-1",)
    assert not cloud.droplets


def test_a_token_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "machines-token").write_text("x")
    (tmp_path / "keys" / "machines-token").chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        new_driver(
            hq_settings(tmp_path / "hq", machines={"driver": "digitalocean"}),
            root=tmp_path, fleet="hq-1", public_key="ssh-ed25519 " + "A" * 68, clock=None,  # type: ignore[arg-type]
        )  # fmt: skip
