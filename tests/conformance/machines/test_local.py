"""The shared suite on machines that are network namespaces of this machine, with SSH servers of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skep.base.errors import CommandFailed, HostUnavailable
from skep.deploy.machines.checking import Needs, check_host
from skep.deploy.machines.conformance import CHECKS, Bench, check
from skep.deploy.machines.local import LocalDriver
from skep.deploy.machines.protocol import Driver
from skep.deploy.machines.records import Machine
from skep.deploy.shell.records import Command
from skep.deploy.shell.ssh import SshRunner

ALWAYS = {"create-makes-one-that-can-be-used"}


@pytest.fixture
async def bench(tmp_path: Path, program: Callable[[str, str], Path]) -> AsyncIterator[Bench]:
    if os.geteuid():
        pytest.skip("network namespaces need root")
    program("sshd", "apt-get install openssh-server")
    program("ip", "apt-get install iproute2")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    folder = tmp_path / "machines"

    def driver() -> LocalDriver:
        return LocalDriver(folder, (tmp_path / "key.pub").read_text())

    async def open_() -> Driver:
        return driver()

    async def usable(machine: Machine) -> None:
        runner = SshRunner(machine.target(tmp_path / "key"))
        try:
            report = await check_host(runner, Needs(memory_bytes=1, disk_free_bytes=1))
        finally:
            await runner.close()
        if report.hostname != machine.name or not report.fits:
            raise CommandFailed(f"{report}", exit_code=1)

    yield Bench(open=open_, small="local-small", large="local-medium", usable=usable)
    for machine in await driver().list():
        await driver().destroy(machine.name)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in ALWAYS else pytest.mark.long) for n in CHECKS])
async def test_local(name: str, bench: Bench) -> None:
    (result,) = await check(bench, only=name)
    assert result.outcome == "passed", result.detail
    assert await (await bench.open()).list() == ()


async def test_machines_are_apart_outlive_their_driver_and_start_again(bench: Bench, tmp_path: Path) -> None:
    driver = await bench.open()
    assert isinstance(driver, LocalDriver)
    one, two = await driver.create("one", "local-small"), await driver.create("two", "local-small")
    runners = {machine.name: SshRunner(machine.target(tmp_path / "key")) for machine in (one, two)}
    for name, runner in runners.items():
        await runner.run(Command.shell('echo "$1" > /etc/hosts; echo "$1" > /var/lib/skep/mine', name))
        await runner.run(Command.shell("setsid sleep 1000 >/dev/null 2>&1 &"))
    seen = await runners["one"].run(Command.shell("cat /etc/hosts /var/lib/skep/mine; ls -d /proc/[0-9]* | wc -l"))
    assert seen.text.split()[:2] == ["one", "one"]
    assert int(seen.text.split()[2]) < 20, "it sees its own processes alone"
    home = (await runners["one"].run(Command.shell('echo "$HOME"'))).text
    assert Path(home) == tmp_path / "machines" / "one" / "home", "what prepares a host adds a key to its home"
    for pid in driver.processes("one"):
        with contextlib.suppress(ProcessLookupError):  # the kernel ends all when the first has ended
            os.kill(pid, 9)
    again = await bench.open()
    while {machine.name: machine.state for machine in await again.list()} != {"one": "stopped", "two": "running"}:
        await asyncio.sleep(0.02)  # until the kernel has ended all of them
    with pytest.raises(HostUnavailable):
        await SshRunner(one.target(tmp_path / "key")).run(Command.of("true"))
    back = await again.create("one", "local-small")
    assert (back.id, back.address, back.host_key) == (one.id, one.address, one.host_key)
    runner = SshRunner(back.target(tmp_path / "key"))
    assert (await runner.run(Command.of("cat", "/var/lib/skep/mine"))).text == "one", "its disk is as it was"
    for open_runner in (runner, *runners.values()):
        await open_runner.close()
    await again.destroy("one")
    await again.destroy("two")
    assert shutil.which("ip")
    links = subprocess.check_output(["ip", "-o", "link"], text=True)
    assert f"sk{again._tag}" not in links  # type: ignore[attr-defined]
    assert [path.name for path in (tmp_path / "machines").iterdir()] == [".lock"]
