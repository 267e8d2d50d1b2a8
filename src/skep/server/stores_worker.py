"""The ``stores`` worker: asks each store whether it is well, and tries again those that were not."""

from __future__ import annotations

from typing import Protocol

from skep.base.ids import Id
from skep.base.logs import redact_text
from skep.base.workers import Outcome, Progress
from skep.durability.repair import Repairer
from skep.durability.storeset import StoreSet
from skep.durability.traffic import Traffic
from skep.events.records import StoreAlmostFull, StoreLost, StoreRecovered


class Owners(Protocol):
    """What is to be looked after where stores have owners."""

    async def look(self) -> None: ...


class StoresWorker:
    """One round over all stores; when one comes back, what waits for it is repaired sooner."""

    name = "stores"
    description = "Asks every store whether it is well and how much room it has."

    owners: Owners | None = None
    """Plugged in once it is there: it stands on agents, and they on the repairer."""

    def __init__(self, stores: StoreSet, repairer: Repairer, traffic: Traffic, low_bytes: int) -> None:
        """``low_bytes``: a store with less room is told of as almost full."""
        self._low_bytes = low_bytes
        self._lost: set[Id] = set()
        self._full: set[Id] = set()
        self._stores = stores
        self._repairer = repairer
        self._traffic = traffic

    async def run_once(self, progress: Progress) -> Outcome:
        """Probe all stores once."""
        back = await self._stores.probe()
        await self._traffic.look()
        if self.owners is not None:
            await self.owners.look()
        self._tell()
        if back:
            await self._repairer.hurry()
        return Outcome(more_work=False, done_units=len(self._stores))

    def _tell(self) -> None:
        """Tell of stores that went away, came back or became almost full since the last round."""
        tell = self._stores.tell
        lost = {member.id for member in self._stores if member.down}
        rooms = {member.id: member.free_bytes for member in self._stores}
        full = {store_id for store_id, room in rooms.items() if room is not None and room < self._low_bytes}
        for member in self._stores:
            if member.id in lost - self._lost:
                error = redact_text(member.error or "does not answer")
                tell(StoreLost, store_id=member.id, name=member.name, error=error)
            elif member.id in self._lost - lost:
                tell(StoreRecovered, store_id=member.id, name=member.name)
            if member.id in full - self._full:
                tell(StoreAlmostFull, store_id=member.id, name=member.name, free_bytes=member.free_bytes)
        self._lost, self._full = lost, full
