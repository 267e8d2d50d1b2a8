"""Pacific, and the grid that rents through it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from skep.base.errors import BadInput, GridFull, MachineNotFound, MachineRefused, TimedOut
from skep.deploy.grid import ServerType, Size, SliceGrid
from skep.deploy.machines.arriving import Arriving
from skep.deploy.machines.checking import HostReport, Needs
from skep.deploy.machines.memory import MemoryDriver
from skep.deploy.machines.pacific import Pacific
from skep.deploy.machines.records import Limits, Machine, MachineType, cheapest
from skep.deploy.machines.renting import Renter
from skep.testing.clock import FakeClock
from skep.testing.sshd import Sshd


def watched(pacific: Pacific) -> list[tuple[object, ...]]:
    told: list[tuple[object, ...]] = []
    for event in ("added", "removed", "resized"):

        async def handler(*given: object, event: str = event) -> None:
            told.append((event, given[0], *(one.type for one in given[1:])))  # type: ignore[attr-defined]

        pacific.on(event, handler)  # type: ignore[arg-type]
    return told


async def test_machines_come_change_and_go_and_it_is_told() -> None:
    pacific = Pacific(MemoryDriver())
    told = watched(pacific)
    machine = await pacific.add(512)
    assert (machine.type, machine.state) == ("small", "running")
    assert machine.name.startswith("skep-")
    larger = await pacific.resize(machine.name, Size(memory_bytes=2 << 30, cpu_millis=2000))
    assert larger.type == "large"
    assert [one.name for one in await pacific.list()] == [machine.name]
    await pacific.remove(machine.name)
    assert await pacific.list() == ()
    name = machine.name
    assert told == [("added", name, "small"), ("resized", name, "large"), ("removed", name)]


async def test_sizes_are_mib_sizes_or_names() -> None:
    pacific = Pacific(MemoryDriver())
    assert (await pacific.add(1024)).type == "small"
    assert (await pacific.add(1025)).type == "large"
    assert (await pacific.add(Size(cpu_millis=1500))).type == "large"
    assert (await pacific.add("small")).type == "small"
    for wrong in (0, -1, 5000, "huge", Size(cpu_millis=9000)):
        with pytest.raises(BadInput):
            await pacific.add(wrong)
    with pytest.raises(BadInput, match="no event"):
        pacific.on("exploded")  # type: ignore[arg-type]
    with pytest.raises(MachineNotFound):
        await pacific.resize("nobody", 512)
    with pytest.raises(BadInput):
        await pacific.add(512, name="A.B")


async def test_a_handler_that_fails_fails_the_call_and_is_told_again() -> None:
    driver = MemoryDriver()
    pacific = Pacific(driver)
    told = []

    @pacific.on("added")
    async def added(id: str, machine: Machine) -> None:
        told.append(id)
        if len(told) == 1:
            raise MachineRefused("not yet")

    with pytest.raises(MachineRefused):
        await pacific.add(512, name="one")
    await pacific.add(512, name="one")
    assert told == ["one", "one"]
    assert driver.log == [("create", "one")]


async def test_limits_count_what_others_are_just_ordering() -> None:
    clock = FakeClock()
    driver = MemoryDriver(making_s=10, clock=clock)
    pacific = Pacific(driver, limits=Limits(machines_max=2))
    orders = [asyncio.ensure_future(pacific.add(512, name=f"m{number}")) for number in range(4)]
    await clock.advance(10)
    done = await asyncio.gather(*orders, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Machine", "Machine", "MachineRefused", "MachineRefused"]
    await clock.advance(0)
    assert (await pacific.add(512, name="m0")).name == "m0", "what is there is not counted again"
    dear = Pacific(MemoryDriver(), limits=Limits(price_hourly_max=0.03))
    await dear.add("small", name="a")
    with pytest.raises(MachineRefused, match=r"would cost 0\.0500 an hour"):
        await dear.add("large", name="b")
    with pytest.raises(MachineRefused):
        await dear.resize("a", "large")
    assert [one.type for one in await dear.list()] == ["small"]


def test_the_cheapest_that_takes_it_there() -> None:
    types = (
        MachineType(name="b", size=Size(memory_bytes=4 << 30, cpu_millis=1000), price_hourly=0.02, regions=("ams",)),
        MachineType(name="a", size=Size(memory_bytes=2 << 30, cpu_millis=1000), price_hourly=0.02, regions=("ams",)),
        MachineType(name="c", size=Size(memory_bytes=8 << 30, cpu_millis=1000), price_hourly=0.01, regions=("nyc",)),
    )
    assert cheapest(types, Size(memory_bytes=1), "ams") == types[1]
    assert cheapest(types, Size(memory_bytes=1)) == types[2]
    assert cheapest(types, Size(memory_bytes=9 << 30)) is None


async def test_a_grid_rents_and_gives_back(tmp_path: Path) -> None:
    clock = FakeClock()
    driver = MemoryDriver(clock=clock)
    pacific = Pacific(driver, limits=Limits(machines_max=2))
    types = [ServerType(one.name, one.size, one.price_hourly) for one in await pacific.types()]
    grid = SliceGrid(autosize=True, min=0, max=5, file=tmp_path / "grid.json", types=types, linger_s=60, clock=clock)
    renter = Renter(pacific)
    grid.on("create")(renter.create)
    grid.on("destroy")(renter.destroy)
    await grid.open()
    block = await grid.add("a", 900)
    assert (block.id, block.address) == ("small-1", driver.machines["small-1"].address)
    await grid.add("b", 900)
    with pytest.raises((MachineRefused, GridFull)):
        await grid.add("c", 900)
    assert [one.name for one in await renter.strays({"small-1"})] == ["small-2"]
    await grid.remove("b")
    await clock.advance(100)
    await grid.tick()
    assert list(driver.machines) == ["small-1"]
    assert ("destroy", "small-2") in driver.log


async def test_a_machine_arrives_when_it_takes_commands(ssh_server: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(ssh_server.client_key.read_bytes())
    key.chmod(0o600)
    key.with_name("key.pub").write_bytes(ssh_server.client_key.with_name("client.pub").read_bytes())
    known: list[tuple[Machine, HostReport]] = []

    async def remember(machine: Machine, report: HostReport) -> None:
        known.append((machine, report))

    needs = Needs(memory_bytes=1, disk_free_bytes=1)
    arriving = Arriving(key, remember, needs=needs, folder=str(tmp_path / "jobs"))
    there = Machine(name="one", type="own", address="127.0.0.1", port=ssh_server.port, user=ssh_server.user)
    machine = await arriving(there)
    assert machine.host_key == ssh_server.host_key
    assert machine.size is not None
    assert machine.size.memory_bytes == known[0][1].memory_bytes
    assert (tmp_path / "jobs").is_dir()
    with pytest.raises(MachineRefused, match="will not do: its disk has"):
        await Arriving(key, needs=Needs(disk_free_bytes=1 << 60), folder=str(tmp_path / "jobs"))(there)
    gone = Machine(name="two", type="own", address="127.0.0.1", port=1)
    with pytest.raises(TimedOut, match="two took no commands within"):
        await Arriving(key, needs=needs, timeout_s=20, clock=FakeClock(auto=True))(gone)
