"""Which agents are connected now, and the store that each of them is. Used from one event loop."""

from __future__ import annotations

from typing import Protocol

from skep.base.errors import StoreOffline
from skep.base.ids import Id, id_text
from skep.stores.link.caller import LinkedStore


class Links(Protocol):
    """Where the array driver finds a connected agent."""

    def linked(self, agent_id: Id) -> LinkedStore:
        """The store at the other end of the agent's link. Raises StoreOffline at once when there is none."""
        ...


class LinkBoard:
    """The links that stand."""

    def __init__(self) -> None:
        self._linked: dict[Id, LinkedStore] = {}

    def linked(self, agent_id: Id) -> LinkedStore:
        found = self._linked.get(agent_id)
        if found is None:
            raise StoreOffline(f"the agent {id_text(agent_id)} is not connected")
        return found

    def has(self, agent_id: Id) -> bool:
        """Whether the agent is connected."""
        return agent_id in self._linked

    def put(self, agent_id: Id, linked: LinkedStore) -> None:
        """A link stands; it takes the place of an older one of the agent."""
        self._linked[agent_id] = linked

    def drop(self, agent_id: Id, linked: LinkedStore) -> None:
        """This link is over; another of the same agent stays."""
        if self._linked.get(agent_id) is linked:
            del self._linked[agent_id]

    def __len__(self) -> int:
        return len(self._linked)
