"""The ``stores`` worker: asks each store whether it is well, and tries again those that were not."""

from __future__ import annotations

from typing import Protocol

from skep.base.workers import Outcome, Progress
from skep.durability.repair import Repairer
from skep.durability.storeset import StoreSet
from skep.durability.traffic import Traffic


class Owners(Protocol):
    """What is to be looked after where stores have owners."""

    async def look(self) -> None: ...


class StoresWorker:
    """One round over all stores; when one comes back, what waits for it is repaired sooner."""

    name = "stores"
    description = "Asks every store whether it is well and how much room it has."

    owners: Owners | None = None
    """Plugged in once it is there: it stands on agents, and they on the repairer."""

    def __init__(self, stores: StoreSet, repairer: Repairer, traffic: Traffic) -> None:
        self._stores = stores
        self._repairer = repairer
        self._traffic = traffic

    async def run_once(self, progress: Progress) -> Outcome:
        """Probe all stores once."""
        back = await self._stores.probe()
        await self._traffic.look()
        if self.owners is not None:
            await self.owners.look()
        if back:
            await self._repairer.hurry()
        return Outcome(more_work=False, done_units=len(self._stores))
