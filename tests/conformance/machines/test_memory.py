"""The shared suite on machines in memory; and that the suite notices drivers that are wrong."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from skep.deploy.machines.conformance import CHECKS, Bench, check
from skep.deploy.machines.memory import MemoryDriver
from skep.deploy.machines.protocol import Driver
from skep.deploy.machines.records import Machine, MachineType


def bench(make: Callable[[], MemoryDriver] = MemoryDriver) -> Bench:
    driver = make()

    async def open_() -> Driver:
        return driver

    return Bench(open=open_, small="small", large="large")


@pytest.mark.parametrize("name", CHECKS)
async def test_memory(name: str) -> None:
    (result,) = await check(bench(), only=name)
    assert result.outcome == "passed", result.detail


class Twice(MemoryDriver):
    """Makes another one when it is asked again."""

    async def create(self, name: str, type: str) -> Machine:
        if name in self.machines:
            self.machines[name] = msgspec.structs.replace(self.machines[name], id=f"{self.machines[name].id}x")
        return await super().create(name, type)


class Keeps(MemoryDriver):
    """Does not give back."""

    async def destroy(self, name: str) -> None:
        pass


class Anything(MemoryDriver):
    """Takes every type."""

    def _type(self, name: str) -> MachineType:
        return self._types[0]


class Forgets(MemoryDriver):
    """Tells of nothing."""

    async def list(self) -> tuple[Machine, ...]:
        return ()


@pytest.mark.parametrize(
    ("driver", "wrong"),
    [
        (Twice, "create-again-is-the-same"),
        (Keeps, "destroy-gives-it-back-and-twice-is-fine"),
        (Anything, "wrong-names-and-types-are-refused"),
        (Forgets, "create-makes-one-that-can-be-used"),
    ],
)
async def test_the_suite_notices(driver: type[MemoryDriver], wrong: str) -> None:
    results = await check(bench(driver))
    assert wrong in {one.name for one in results if one.outcome == "failed"}
