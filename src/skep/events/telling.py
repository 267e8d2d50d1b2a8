"""Telling operators' listeners what happened, in one line where it happens.

tell(StoreAdded, store_id=member.id, name=member.name, zone=member.zone)
"""

from __future__ import annotations

from typing import Any, Protocol

from skep.base.clock import Clock
from skep.events.hub import Hub
from skep.events.records import Event


class Tell(Protocol):
    """Tells of an event of a kind with these fields, as happening now. On the event loop's thread; never waits."""

    def __call__(self, kind: type[Event], **fields: Any) -> None: ...


class Teller:
    """Tells the listeners of a hub."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub = hub
        self._clock = clock

    def __call__(self, kind: type[Event], **fields: Any) -> None:
        """Tell of it."""
        self._hub.emit(kind(at_us=self._clock.now_us(), **fields))


def tell_nobody(kind: type[Event], **fields: Any) -> None:
    """For what runs where nobody listens."""
