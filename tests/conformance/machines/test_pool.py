"""The shared suite on a pool of hosts that people own; and what happens to hosts that do not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from skep.base.errors import HostUnavailable, MachineRefused
from skep.deploy.machines.conformance import CHECKS, Bench, check
from skep.deploy.machines.pool import OwnHost, SshPool
from skep.deploy.machines.protocol import Driver
from skep.deploy.shell.recording import RecordingRunner
from skep.deploy.shell.records import Command, Result
from skep.deploy.shell.ssh import SshTarget
from skep.deploy.stack.records import Size


def hosts(count: int = 4) -> list[OwnHost]:
    return [
        OwnHost(
            name=f"h{number}",
            target=SshTarget(address=f"192.0.2.{number}", host_key="ssh-ed25519 AAAA"),
            size=Size(memory_bytes=(1 + number) << 30, cpu_millis=1000 * number),
            type="own" if number < count else "big",
        )
        for number in range(1, count + 1)
    ]


def pool(file: Path, silent: set[str] = frozenset()) -> SshPool:  # type: ignore[assignment]
    def connect(target: SshTarget) -> RecordingRunner:
        def answer(command: Command) -> Result:
            if target.address in silent:
                raise HostUnavailable(f"{target.address} does not answer")
            return Result(exit_code=0)

        return RecordingRunner(target.address, answer=answer)

    return SshPool(file, hosts(), connect=connect)


@pytest.mark.parametrize("name", CHECKS)
async def test_pool(name: str, tmp_path: Path) -> None:
    async def open_() -> Driver:
        return pool(tmp_path / "pool.json")

    (result,) = await check(Bench(open=open_, small="own", large="big"), only=name)
    assert result.outcome == ("skipped" if name == "resize-makes-it-the-other-type" else "passed"), result.detail


async def test_types_promise_what_each_host_has(tmp_path: Path) -> None:
    own, big = await pool(tmp_path / "pool.json").types()
    assert (own.name, own.size.memory_bytes, own.size.cpu_millis) == ("own", 2 << 30, 1000)
    assert (big.name, big.size.memory_bytes) == ("big", 5 << 30)


async def test_a_silent_host_is_passed_over_and_one_with_jobs_is_not(tmp_path: Path) -> None:
    silent: set[str] = {"192.0.2.1"}
    driver = pool(tmp_path / "pool.json", silent)
    machine = await driver.create("web", "own")
    assert machine.id == "h2"
    silent.add("192.0.2.2")
    with pytest.raises(HostUnavailable):
        await pool(tmp_path / "pool.json", silent).create("web", "own")
    assert [one.id for one in await driver.list()] == ["h2"], "its jobs are there: it stays its host"
    silent.add("192.0.2.3")
    with pytest.raises(MachineRefused, match=r"h1, h3 do not answer: add one"):
        await driver.create("other", "own")
    assert len(await driver.list()) == 1
    silent.clear()
    await driver.create("a", "own")
    await driver.create("b", "own")
    with pytest.raises(MachineRefused, match="no host of type own is free: add one"):
        await driver.create("c", "own")
