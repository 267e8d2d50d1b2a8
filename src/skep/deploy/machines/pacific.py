"""Pacific: machines added, removed and resized by their size, whoever rents them out. Usable alone.

    pacific = Pacific(driver)

    @pacific.on("added")
    async def added(id, machine): ...

    machine = await pacific.add(2048)            # the cheapest with at least 2048 MiB; or a type's name, or a Size
    await pacific.resize(machine.name, 4096)
    await pacific.remove(machine.name)

Handlers are awaited before a call returns. One that fails, fails the call; what was made stays, and the same call again
goes on: it finds the machine and tells its handlers once more. So handlers must not mind being told twice.

Calls for one name wait for each other. What is over the owner's limits is refused before anything is rented.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias, get_args

from skep.base.errors import BadInput, MachineNotFound, MachineRefused
from skep.base.ids import new_id
from skep.base.logs import get_logger
from skep.deploy.machines.protocol import Driver
from skep.deploy.machines.records import Limits, Machine, MachineType, cheapest, checked_name
from skep.deploy.stack.records import Size

Event: TypeAlias = Literal["added", "removed", "resized"]
Handler: TypeAlias = Callable[..., Awaitable[Any]]
Arrival: TypeAlias = Callable[[Machine], Awaitable[Machine]]
"""Waits until a new machine can be used, and tells it as it then is."""
_log = get_logger("skep.machines")


class Pacific:
    """A fleet's machines. ``arrive`` is awaited after a machine was made and before ``added`` is told."""

    def __init__(
        self,
        driver: Driver,
        *,
        limits: Limits | None = None,
        region: str = "",
        prefix: str = "skep",
        arrive: Arrival | None = None,
    ) -> None:
        self._driver = driver
        self._limits = limits or Limits()
        self._region = region
        self._prefix = prefix
        self._arrive = arrive
        self._handlers: dict[str, Handler] = {}
        self._names: dict[str, asyncio.Lock] = {}
        self._renting = asyncio.Lock()
        self._ordered: dict[str, MachineType] = {}

    @property
    def driver(self) -> Driver:
        """Where its machines come from."""
        return self._driver

    def on(self, event: Event, handler: Handler | None = None) -> Callable[[Handler], Handler]:
        """Register the handler of an event, as a call or a decorator: ``added(id, machine)``, ``removed(id)``,
        ``resized(id, machine)``. Raises BadInput for another event."""
        if event not in get_args(Event):
            raise BadInput(f"{event!r} is no event of machines: {', '.join(get_args(Event))}")

        def register(handler: Handler) -> Handler:
            self._handlers[event] = handler
            return handler

        if handler is not None:
            register(handler)
        return register

    async def types(self) -> tuple[MachineType, ...]:
        """What can be had in this fleet's region, cheapest first."""
        found = await self._driver.types()
        return tuple(one for one in found if not self._region or not one.regions or self._region in one.regions)

    async def list(self) -> tuple[Machine, ...]:
        """All machines of the fleet."""
        return await self._driver.list()

    async def add(self, size: Size | int | str, *, name: str = "") -> Machine:
        """A machine of at least this size (MiB of memory, a Size, or a type's name), when it can be used.

        ``name`` makes it safe to ask again: it is one machine. Empty: a new name. Raises MachineRefused
        over the limits, BadInput where no type is large enough, and what the driver and the handlers raise.
        """
        name = checked_name(name or f"{self._prefix}-{new_id().hex()[-10:]}")
        wanted = await self._wanted(size)
        async with self._lock(name):
            await self._admit(name, wanted)
            try:
                machine = await self._driver.create(name, wanted.name)
                if self._arrive is not None:
                    machine = await self._arrive(machine)
            finally:
                self._ordered.pop(name, None)
            _log.info("machine-added", name=name, type=machine.type, address=machine.address)
            await self._tell("added", name, machine)
            return machine

    async def remove(self, id: str) -> None:
        """Give a machine back. Not there: fine, and told all the same, as its first telling may have been lost."""
        async with self._lock(checked_name(id)):
            await self._driver.destroy(id)
            _log.info("machine-removed", name=id)
            await self._tell("removed", id)

    async def resize(self, id: str, size: Size | int | str) -> Machine:
        """Make a machine the cheapest type of at least this size. Raises MachineNotFound, MachineRefused, BadInput."""
        wanted = await self._wanted(size)
        async with self._lock(checked_name(id)):
            there = {machine.name: machine for machine in await self._driver.list()}
            if id not in there:
                raise MachineNotFound(f"there is no machine {id} in this fleet")
            if not self._driver.traits.resizes:
                raise BadInput(f"machines of {self._driver.traits.kind} cannot be resized: add another and remove {id}")
            self._check_price(sum(one.price_hourly for one in there.values() if one.name != id), wanted, id)
            machine = await self._driver.resize(id, wanted.name)
            _log.info("machine-resized", name=id, type=machine.type)
            await self._tell("resized", id, machine)
            return machine

    async def close(self) -> None:
        """Let go of connections; machines stay."""
        await self._driver.close()

    async def _wanted(self, size: Size | int | str) -> MachineType:
        types = await self.types()
        if isinstance(size, str):
            found = next((one for one in types if one.name == size), None)
        else:
            if isinstance(size, int):
                if size <= 0:
                    raise BadInput(f"{size} MiB is no size of a machine")
                size = Size(memory_bytes=size << 20, cpu_millis=0)
            found = cheapest(types, size)
        if found is None:
            names = ", ".join(one.name for one in types[:20]) or "none"
            raise BadInput(f"no machine of {size} can be had from {self._driver.traits.kind}; types: {names}")
        return found

    async def _admit(self, name: str, wanted: MachineType) -> None:
        """Count an order, or refuse it: what is there and what others just ordered is under the limits together."""
        async with self._renting:
            there = {machine.name: machine.price_hourly for machine in await self._driver.list()}
            if name in there:
                return
            there |= {other: one.price_hourly for other, one in self._ordered.items()}
            if len(there) >= self._limits.machines_max:
                raise MachineRefused(
                    f"machine {name} is not rented: {len(there)} are there, as many as machines_max allows"
                )
            self._check_price(sum(there.values()), wanted, name)
            self._ordered[name] = wanted

    def _check_price(self, others: float, wanted: MachineType, name: str) -> None:
        most = self._limits.price_hourly_max
        if most and others + wanted.price_hourly > most:
            raise MachineRefused(
                f"machine {name} is not rented: the fleet would cost {others + wanted.price_hourly:.4f} an hour, and "
                f"price_hourly_max is {most:g}"
            )

    def _lock(self, name: str) -> asyncio.Lock:
        if len(self._names) > 1000:
            self._names = {name: lock for name, lock in self._names.items() if lock.locked()}
        return self._names.setdefault(name, asyncio.Lock())

    async def _tell(self, event: Event, *given: object) -> None:
        handler = self._handlers.get(event)
        if handler is not None:
            await handler(*given)
