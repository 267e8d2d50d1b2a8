"""Launches over four hosts, each with an SSH server, that die, freeze, are cut off, come back and fill up.

Whatever happens: a verdict, the old release serving, and in the end each live slice once and nothing else anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import SliceRecord, Verdict
from skep.deploy.machines.local import LocalDriver
from skep.deploy.shell.ssh import SshRunner
from skep.testing.fleet import Fleet, NoRouter, app, silent

HOSTS = ("one", "two", "three", "four")
ROOT = "/var/lib/skep/engine"
PATIENCE_S = 90.0


@dataclass
class Ground:
    """Four machines and a fleet over them."""

    driver: LocalDriver
    fleet: Fleet
    router: NoRouter
    key: Path

    async def deploy(self, version: int, *, scale: int = 4, files: dict[str, str] | None = None) -> Verdict:
        text = app(sys.executable, version=version, scale=scale)
        return await self.fleet.launcher.deploy(self.fleet.request("shop", text, files), silent)

    def pids(self, host: str) -> frozenset[int]:
        return self.driver.processes(host)

    def signal(self, host: str, number: int) -> None:
        for pid in self.pids(host):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def cable(self, host: str, state: str) -> None:
        subprocess.run(["ip", "-n", self.driver.namespace(host), "link", "set", "eth0", state], check=True)

    async def serving(self) -> dict[str, str]:
        """Backend -> the version that it answers."""
        (site,) = self.router.sites["shop"]
        answers = {}
        for backend in site.backends:
            url = f"http://{backend.host}:{backend.port}/fast"
            answers[str(backend)] = (await asyncio.to_thread(fetched, url)).removeprefix("fast ")
        return answers

    async def keeps_its_word(self, verdict: Verdict, *, new: str, old: str, without: str) -> None:
        """What the verdict says is what answers, on every host but one."""
        assert verdict.ok or verdict.reason, verdict
        lost = self.fleet.engines[without]._address  # type: ignore[attr-defined]
        (site,) = self.router.sites["shop"]
        served = {fetched(f"http://{one.host}:{one.port}/fast") for one in site.backends if one.host != lost}
        assert served == {f"fast {new if verdict.ok else old}"}, verdict

    async def live(self) -> list[SliceRecord]:
        return [one for one in await self.fleet.journal.slices("shop") if one.state == "live"]

    async def at_rest(self, hosts: tuple[str, ...] = HOSTS) -> list[str]:
        """What differs from: each live slice runs once, where the router leads; nothing else does."""
        await self.fleet.launcher.idle()
        live = await self.live()
        wrong = []
        for host in hosts:
            meant = {one.id for one in live if host in one.places}
            jobs = {job.id for job in await self.fleet.engines[host].list() if job.state == "running"}
            apps = sum(b"load_app" in command(pid) for pid in self.pids(host))
            if jobs != meant or apps != len(meant):
                wrong.append(f"{host}: {sorted(meant)} are meant, {sorted(jobs)} run in {apps} processes")
        places = sum(len(one.places) for one in live)
        if places != len(live):
            wrong.append(f"{len(live)} slices have {places} places")
        return wrong

    async def comes_to_rest(self, hosts: tuple[str, ...] = HOSTS) -> list[str]:
        """The same, after as many rounds of care as it takes."""
        until_s = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            await self.fleet.launcher.tick()
            wrong = await self.at_rest(hosts)
            if not wrong or asyncio.get_running_loop().time() > until_s:
                return wrong
            await asyncio.sleep(0.5)  # care has rounds


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
async def ground(program: Callable[[str, str], Path], tmp_path: Path) -> AsyncIterator[Ground]:
    if os.geteuid():
        pytest.skip("network namespaces need root")
    program("sshd", "apt-get install openssh-server")
    program("ip", "apt-get install iproute2")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    driver = LocalDriver(tmp_path / "machines", key.with_suffix(".pub").read_text())
    try:
        machines = [await driver.create(name, "local-large") for name in HOSTS]
        engines = {
            one.name: ProcessEngine(SshRunner(one.target(key)), ROOT, address=one.address, python=sys.executable)
            for one in machines
        }
        router = NoRouter()
        limits = Limits(tries=2, first_wait_s=0.2, sweep_s=1.0)
        fleet = Fleet(tmp_path, engines, router, limits=limits)
        await fleet.open()
        yield Ground(driver, fleet, router, key)
        await fleet.close()
    finally:
        for name in HOSTS:
            await driver.destroy(name)


def well(verdict: Verdict) -> None:
    assert verdict.ok, verdict


async def test_a_push_runs_on_four_hosts(ground: Ground) -> None:
    for version in ("1", "2"):
        well(await ground.deploy(int(version)))
        answers = await ground.serving()
        assert set(answers.values()) == {version}
        assert len({backend.partition(":")[0] for backend in answers}) == 4, "one slice on each host"
    assert await ground.at_rest() == []


@pytest.mark.long
async def test_a_host_that_dies_stops_nothing(ground: Ground) -> None:
    well(await ground.deploy(1))
    ground.signal("two", signal.SIGKILL)
    await ground.keeps_its_word(await ground.deploy(2), new="2", old="1", without="two")
    await ground.fleet.launcher.host_lost("two")
    well(await ground.deploy(3))
    assert set((await ground.serving()).values()) == {"3"}
    assert await ground.comes_to_rest(("one", "three", "four")) == []
    await ground.driver.create("two", "local-large")
    await ground.fleet.launcher.host_found("two")
    well(await ground.deploy(4))
    assert await ground.comes_to_rest() == []


@pytest.mark.long
async def test_a_host_that_comes_back_with_old_jobs_is_cleaned(ground: Ground) -> None:
    well(await ground.deploy(1))
    ground.cable("three", "down")
    moved = await ground.fleet.launcher.host_lost("three")
    assert moved == ()
    assert len(await ground.serving()) == 4, "what was there runs elsewhere"
    well(await ground.deploy(2))
    assert any(b"load_app" in command(pid) for pid in ground.pids("three")), "its old job runs on, cut off"
    ground.cable("three", "up")
    await ground.fleet.launcher.host_found("three")
    assert await ground.comes_to_rest() == []
    assert set((await ground.serving()).values()) == {"2"}


@pytest.mark.long
async def test_a_host_that_freezes_in_the_middle_ends_in_a_verdict_and_leaves_nothing(ground: Ground) -> None:
    well(await ground.deploy(1))
    launching = asyncio.ensure_future(ground.deploy(2))
    await asyncio.sleep(0.3)  # it is under way
    ground.signal("four", signal.SIGSTOP)
    verdict = await launching
    await ground.keeps_its_word(verdict, new="2", old="1", without="four")
    ground.signal("four", signal.SIGCONT)
    assert await ground.comes_to_rest() == []
    well(await ground.deploy(3))
    assert await ground.comes_to_rest() == []
    assert set((await ground.serving()).values()) == {"3"}


@pytest.mark.long
async def test_a_full_disk_is_said_and_the_old_release_serves(ground: Ground) -> None:
    well(await ground.deploy(1))
    before = await ground.serving()
    sshd = next(pid for pid in ground.pids("two") if b"sshd" in command(pid))
    images = f"{ROOT}/images"
    space = ["nsenter", "-t", str(sshd), "-m"]
    subprocess.run([*space, "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", images], check=True)
    failed = await ground.deploy(2, files={"large": os.urandom(3_000_000).hex()})
    assert not failed.ok
    assert "two" in failed.reason, failed
    assert any(word in failed.reason for word in ("full", "space", "room")), failed
    assert await ground.serving() == before
    assert await ground.comes_to_rest() == []
    subprocess.run([*space, "umount", images], check=True)
    well(await ground.deploy(3, files={"large": os.urandom(3_000_000).hex()}))
    assert await ground.comes_to_rest() == []
