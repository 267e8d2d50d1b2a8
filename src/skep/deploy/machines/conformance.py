"""What every driver of machines must do, as named checks against a live one. Free of any test framework.

    report = await check(Bench(open_driver, small="s-1vcpu-1gb", large="s-2vcpu-2gb"), progress=print)

A real provider's machines cost money while the checks run: a few of them, for minutes. Each check uses names of its own
and gives back what it made.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from skep.base.conformance import CheckResult, Failed, NotApplicable, run_checks
from skep.base.errors import BadInput, MachineNotFound, SkepError
from skep.base.ids import new_id
from skep.deploy.machines.protocol import Driver
from skep.deploy.machines.records import Machine


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """How drivers of one fleet are opened, and two types that they have."""

    open: Callable[[], Awaitable[Driver]]
    small: str
    large: str
    """At least as large as ``small``; the same where there is but one type."""
    usable: Callable[[Machine], Awaitable[None]] | None = None
    """Raises SkepError when nobody gets in at a machine that is there; None: its address is all that is looked at."""


class Place:
    """A driver, and the names that one check used."""

    def __init__(self, bench: Bench, driver: Driver, prefix: str) -> None:
        self.bench = bench
        self.driver = driver
        self._prefix = prefix
        self.names: list[str] = []

    def name(self) -> str:
        """A name that was never used."""
        self.names.append(f"{self._prefix}-{len(self.names)}")
        return self.names[-1]

    async def named(self, name: str) -> list[Machine]:
        """Machines of this name that the driver tells."""
        return [machine for machine in await self.driver.list() if machine.name == name]

    async def clean_up(self) -> None:
        """Give back everything that was made."""
        for name in self.names:
            with contextlib.suppress(SkepError):
                await self.driver.destroy(name)
        await self.driver.close()


Check: TypeAlias = Callable[[Place], Awaitable[None]]


def must(holds: bool, what: str) -> None:
    """Raises Failed unless it holds."""
    if not holds:
        raise Failed(what)


async def check_types_are_told_cheapest_first(place: Place) -> None:
    """Types have sizes and prices, and are told in the order of these."""
    types = await place.driver.types()
    names = [one.name for one in types]
    must({place.bench.small, place.bench.large} <= set(names), f"types of the bench are not among {names}")
    prices = [one.price_hourly for one in types]
    must(prices == sorted(prices), "types are not told cheapest first")
    must(all(one.size.memory_bytes > 0 and one.size.cpu_millis > 0 for one in types), "a type has no size")


async def check_create_makes_one_that_can_be_used(place: Place) -> None:
    """What is made has the name, the type and an address, and is told."""
    name = place.name()
    machine = await place.driver.create(name, place.bench.small)
    must(machine.name == name, f"another name: {machine.name}")
    must(machine.type == place.bench.small, f"another type: {machine.type}")
    must(machine.state == "running" and bool(machine.address), f"it is {machine.state} at {machine.address!r}")
    must([one.name for one in await place.named(name)] == [name], "it is not told by list")
    if place.bench.usable is not None:
        await place.bench.usable(machine)


async def check_create_again_is_the_same(place: Place) -> None:
    """A name is one machine, whatever type is asked for later."""
    name = place.name()
    first = await place.driver.create(name, place.bench.small)
    again = await place.driver.create(name, place.bench.large)
    must((again.id, again.type) == (first.id, first.type), "the second create made or changed something")
    must(len(await place.named(name)) == 1, "there are two of one name")


async def check_create_at_once_makes_one(place: Place) -> None:
    """Calls at the same time make one machine."""
    name = place.name()
    made = await asyncio.gather(*(place.driver.create(name, place.bench.small) for _ in range(4)))
    must(len({one.id for one in made}) == 1, "several were made")
    must(len(await place.named(name)) == 1, "there are two of one name")


async def check_two_programs_make_one(place: Place) -> None:
    """Two drivers of one fleet may both have ordered; one machine is left, the same for both."""
    name, other = place.name(), await place.bench.open()
    try:
        made = await asyncio.gather(
            place.driver.create(name, place.bench.small), other.create(name, place.bench.small), return_exceptions=True
        )
        broken = [one for one in made if isinstance(one, BaseException) and not isinstance(one, SkepError)]
        must(not broken, f"unexpected {broken}")
        settled = await place.driver.create(name, place.bench.small)
        must(len(await place.named(name)) == 1, "there are two of one name")
        must([one.id for one in await other.list() if one.name == name] == [settled.id], "they see different ones")
    finally:
        await other.close()


async def check_a_cancelled_create_goes_on(place: Place) -> None:
    """The next call completes what a cancelled one began."""
    name = place.name()
    making = asyncio.ensure_future(place.driver.create(name, place.bench.small))
    await asyncio.sleep(0)
    making.cancel()
    with contextlib.suppress(asyncio.CancelledError, SkepError):
        await making
    machine = await place.driver.create(name, place.bench.small)
    must(machine.state == "running", f"it is {machine.state}")
    must(len(await place.named(name)) == 1, "there are two of one name")


async def check_another_program_finds_it(place: Place) -> None:
    """A driver that is opened later tells what is there."""
    name = place.name()
    machine = await place.driver.create(name, place.bench.small)
    other = await place.bench.open()
    try:
        found = [one for one in await other.list() if one.name == name]
        must([one.id for one in found] == [machine.id], "another driver of the fleet does not tell it")
        must(found[0].address == machine.address, "another address")
    finally:
        await other.close()


async def check_destroy_gives_it_back_and_twice_is_fine(place: Place) -> None:
    """Gone is gone, and the name may be used again."""
    name = place.name()
    await place.driver.destroy(name)
    await place.driver.create(name, place.bench.small)
    await place.driver.destroy(name)
    must(await place.named(name) == [], "it is still told")
    await place.driver.destroy(name)
    await place.driver.create(name, place.bench.small)
    must(len(await place.named(name)) == 1, "a name cannot be used again")


async def check_machines_are_told_in_order(place: Place) -> None:
    """In the order of their names."""
    names = [place.name(), place.name()]
    for name in reversed(names):
        await place.driver.create(name, place.bench.small)
    told = [one.name for one in await place.driver.list() if one.name in names]
    must(told == sorted(names), f"not in the order of their names: {told}")


async def check_wrong_names_and_types_are_refused(place: Place) -> None:
    """Before anything is made."""
    for name in ("", "UPPER", "a b", "-a", "a" * 64, "a.b", "a/../b"):
        await _raises(BadInput, place.driver.create(name, place.bench.small), f"the name {name!r} was taken")
    await _raises(BadInput, place.driver.create(place.name(), "no-such-type"), "a type was taken that there is not")
    must(await place.named(place.names[-1]) == [], "something was made of a type that there is not")


async def check_resize_makes_it_the_other_type(place: Place) -> None:
    """The same machine, larger, and it can be used; or BadInput where that cannot be."""
    name = place.name()
    if not place.driver.traits.resizes:
        await place.driver.create(name, place.bench.small)
        await _raises(BadInput, place.driver.resize(name, place.bench.large), "it resizes and says it cannot")
        raise NotApplicable("its machines cannot be resized")
    await _raises(MachineNotFound, place.driver.resize(name, place.bench.large), "what is not there was resized")
    before = await place.driver.create(name, place.bench.small)
    machine = await place.driver.resize(name, place.bench.large)
    must((machine.id, machine.type) == (before.id, place.bench.large), f"it is now {machine.type}")
    must(machine.state == "running" and bool(machine.address), f"it is {machine.state} after resizing")
    again = await place.driver.resize(name, place.bench.large)
    must((await place.named(name)) == [again] or (await place.named(name))[0].type == place.bench.large, "not told so")
    if place.bench.usable is not None:
        await place.bench.usable(again)


async def _raises(error: type[SkepError], call: Awaitable[object], what: str) -> None:
    try:
        await call
    except error:
        return
    raise Failed(what)


CHECKS: dict[str, Check] = {
    name.removeprefix("check_").replace("_", "-"): run
    for name, run in list(globals().items())
    if name.startswith("check_")
}


async def check(
    bench: Bench, *, only: str | None = None, progress: Callable[[CheckResult], None] | None = None
) -> tuple[CheckResult, ...]:
    """Run the checks as ``run_checks`` says."""

    async def opened() -> Place:
        return Place(bench, await bench.open(), f"check-{new_id().hex()[-8:]}")

    return await run_checks(CHECKS, opened, only=only, progress=progress)
