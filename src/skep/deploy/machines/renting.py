"""Machines for a grid: its events ``create`` and ``destroy`` on top of Pacific.

    grid = SliceGrid(types=[...], ...)
    renter = Renter(pacific)
    grid.on("create")(renter.create)
    grid.on("destroy")(renter.destroy)

The block's id is the machine's name, so an order that is asked for again, or given back without an answer, is about one
machine. ``strays`` tells what of a fleet the grid does not know: rented, and nobody uses it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from skep.deploy.machines.pacific import Pacific
from skep.deploy.machines.records import Machine


class Named(Protocol):
    """A type of server as the grid has it."""

    @property
    def name(self) -> str:
        """As the provider calls it."""
        ...


class Order(Protocol):
    """What the grid asks for (``CreateOrder``)."""

    @property
    def id(self) -> str:
        """The block's id."""
        ...

    @property
    def type(self) -> Named:
        """What to rent."""
        ...


class Block(Protocol):
    """What the grid gives back (``BlockFacts``)."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


class Renter:
    """The handlers of one grid."""

    def __init__(self, pacific: Pacific) -> None:
        self._pacific = pacific

    async def create(self, order: Order) -> dict[str, Any]:
        """Rent the machine; what the grid learns of it."""
        machine = await self._pacific.add(order.type.name, name=order.id)
        return told(machine)

    async def destroy(self, block: Block) -> None:
        """Give it back; not there is fine."""
        await self._pacific.remove(block.id)

    async def strays(self, known: Collection[str]) -> tuple[Machine, ...]:
        """Machines of the fleet that no block of the grid stands for: they cost, and nothing runs there."""
        return tuple(machine for machine in await self._pacific.list() if machine.name not in known)


def told(machine: Machine) -> dict[str, Any]:
    """A machine as an answer to ``create``."""
    answer: dict[str, Any] = {"address": machine.address}
    if machine.size is not None:
        answer["size"] = machine.size
    if machine.region:
        answer["region"] = machine.region
    if machine.price_hourly:
        answer["price"] = machine.price_hourly
    return answer
