"""Machines that exist in memory alone: the first to keep the contract, and what tests rent."""

from __future__ import annotations

import asyncio

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, MachineNotFound, MachineRefused, TimedOut
from skep.deploy.machines.records import Machine, MachineType, Traits, checked_name
from skep.deploy.stack.records import Size

TYPES = (
    MachineType(name="small", size=Size(memory_bytes=1 << 30, cpu_millis=1000), price_hourly=0.01),
    MachineType(name="large", size=Size(memory_bytes=4 << 30, cpu_millis=4000), price_hourly=0.04),
)


class MemoryDriver:
    """Machines as records. ``making_s`` is how long one takes; at most ``room`` exist; ``log`` is what was done."""

    def __init__(
        self,
        types: tuple[MachineType, ...] = TYPES,
        *,
        making_s: float = 0.0,
        timeout_s: float = 600.0,
        room: int = 1000,
        clock: Clock | None = None,
    ) -> None:
        self._types = types
        self._making_s = making_s
        self._timeout_s = timeout_s
        self._room = room
        self._clock = clock or SystemClock()
        self._made = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self.machines: dict[str, Machine] = {}
        self.log: list[tuple[str, str]] = []

    @property
    def traits(self) -> Traits:
        return Traits(kind="memory", resizes=True, rents=True)

    async def types(self) -> tuple[MachineType, ...]:
        return tuple(sorted(self._types, key=lambda one: one.price_hourly))

    async def list(self) -> tuple[Machine, ...]:
        return tuple(self.machines[name] for name in sorted(self.machines))

    async def create(self, name: str, type: str) -> Machine:
        wanted = self._type(type)
        async with self._locks.setdefault(checked_name(name), asyncio.Lock()):
            if name not in self.machines:
                self._make(name, wanted)
            machine = self.machines[name]
            if machine.state == "making":
                machine = await self._finish(machine)
            return machine

    def _make(self, name: str, wanted: MachineType) -> None:
        if len(self.machines) >= self._room:
            raise MachineRefused(f"machine {name} is not made: {self._room} are the most here")
        self._made += 1
        self.log.append(("create", name))
        self.machines[name] = Machine(
            name=name,
            type=wanted.name,
            state="making",
            id=str(self._made),
            size=wanted.size,
            price_hourly=wanted.price_hourly,
            created_us=self._clock.now_us(),
        )

    async def _finish(self, machine: Machine) -> Machine:
        waited_s = min(self._timeout_s, self._making_s)
        if waited_s:
            await self._clock.sleep(waited_s)
        if waited_s < self._making_s:
            raise TimedOut(f"machine {machine.name} was not there within {waited_s:g} s: ask again")
        if machine.name not in self.machines:
            raise MachineNotFound(f"machine {machine.name} was given back while it was being made")
        number = int(machine.id)
        done = msgspec.structs.replace(machine, state="running", address=f"192.0.2.{number % 250 + 1}")
        self.machines[machine.name] = done
        return done

    async def destroy(self, name: str) -> None:
        if self.machines.pop(checked_name(name), None) is not None:
            self.log.append(("destroy", name))

    async def resize(self, name: str, type: str) -> Machine:
        wanted = self._type(type)
        if name not in self.machines:
            raise MachineNotFound(f"there is no machine {name}")
        if self.machines[name].type != type:
            self.log.append(("resize", name))
            self.machines[name] = msgspec.structs.replace(
                self.machines[name], type=type, size=wanted.size, price_hourly=wanted.price_hourly
            )
        return self.machines[name]

    async def close(self) -> None:
        """Nothing is held open."""

    def _type(self, name: str) -> MachineType:
        found = next((one for one in self._types if one.name == name), None)
        if found is None:
            raise BadInput(f"there is no type {name} here: {', '.join(one.name for one in self._types)}")
        return found
