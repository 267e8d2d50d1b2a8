"""The hub: who listens to what, inside one process.

What always holds:
- everything happens on the event loop's thread, and nothing that publishes ever waits;
- what happened here is told with ``relayed`` false, what another process told of (``events.relay``) with
  true, so that nothing is told back;
- a subscriber's queue is bounded: one that falls behind loses what it had waiting and gets one
  RESYNC mark instead, after which it must look for itself what is there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from enum import Enum
from types import TracebackType
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from skep.base.errors import LimitReached
from skep.base.ids import Id
from skep.events.records import Event

T = TypeVar("T")

QUEUE_MAX = 256
"""Items that wait for one subscriber."""
SUBSCRIBERS_MAX = 50_000


class Mark(Enum):
    """What a queue holds beside items."""

    RESYNC = "resync"


RESYNC: Final = Mark.RESYNC
"""Items were dropped: read the journal (or the state) anew."""

Resync: TypeAlias = Literal[Mark.RESYNC]


class Subscription(Generic[T]):
    """One subscriber's bounded queue. Use it in a ``with`` block; iterate it with ``async for``."""

    def __init__(self, listeners: set[Subscription[T]], queue_max: int) -> None:
        self._listeners = listeners
        self._queue_max = queue_max
        self._items: deque[T | Resync] = deque()
        self._ready = asyncio.Event()

    def __enter__(self) -> Subscription[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listeners.discard(self)

    async def get(self) -> T | Resync:
        """The next item, in order; waits for it without limit: put a timeout around it."""
        while not self._items:
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()

    async def __aiter__(self) -> AsyncIterator[T | Resync]:
        while True:
            yield await self.get()

    def offer(self, item: T) -> None:
        """Hub only: queue an item, or replace all that waits by the mark."""
        if len(self._items) >= self._queue_max:
            self._items.clear()
            self._items.append(RESYNC)
        else:
            self._items.append(item)
        self._ready.set()


class Listener(Protocol):
    """Who hears of everything; calls must return at once and raise nothing."""

    def changed(self, space_id: Id, number: int, *, relayed: bool) -> None:
        """The space's journal has this number, and all before it."""
        ...

    def voided(self, user_id: Id, *, relayed: bool) -> None:
        """What this user may do, or what proves who they are, is less than it was: look again."""
        ...

    def doubted(self, space_id: Id, *, relayed: bool) -> None:
        """Who may see what of this space through shares has changed: look again."""
        ...


class Hub:
    """Carries numbers of changes to those who wait for a space, and events to operators' listeners."""

    def __init__(self, *, queue_max: int = QUEUE_MAX) -> None:
        self._queue_max = queue_max
        self._spaces: dict[Id, set[Subscription[int]]] = {}
        self._operators: set[Subscription[Event]] = set()
        self._listeners: list[Listener] = []
        self._count = 0

    def listen(self, listener: Listener) -> None:
        """Tell this one of all changes and voids from now on, in the order of joining."""
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Tell it nothing more."""
        self._listeners = [other for other in self._listeners if other is not listener]

    def void(self, user_id: Id, *, relayed: bool = False) -> None:
        """Tell listeners that a user's rights or credentials became less: whoever relies on them looks again."""
        for listener in self._listeners:
            listener.voided(user_id, relayed=relayed)

    def doubt(self, space_id: Id, *, relayed: bool = False) -> None:
        """Tell listeners that shares of a space changed: whoever relies on one looks again."""
        for listener in self._listeners:
            listener.doubted(space_id, relayed=relayed)

    def publish(self, space_id: Id, number: int, *, relayed: bool = False) -> None:
        """Tell the space's subscribers that its journal has this number (and all before it)."""
        for listener in self._listeners:
            listener.changed(space_id, number, relayed=relayed)
        listeners = self._spaces.get(space_id)
        if listeners:
            for subscription in tuple(listeners):
                subscription.offer(number)
        elif listeners is not None:
            del self._spaces[space_id]

    def subscribe(self, space_id: Id) -> Subscription[int]:
        """Numbers of the space's changes from now on. Raises LimitReached."""
        self._tidy()
        return self._add(self._spaces.setdefault(space_id, set()))

    def emit(self, event: Event) -> None:
        """Tell operators' listeners what happened."""
        for subscription in tuple(self._operators):
            subscription.offer(event)

    def subscribe_events(self) -> Subscription[Event]:
        """Events for operators from now on. Raises LimitReached."""
        return self._add(self._operators)

    def subscribers(self) -> int:
        """How many listen."""
        return len(self._operators) + sum(map(len, self._spaces.values()))

    def _add(self, listeners: set[Subscription[T]]) -> Subscription[T]:
        if len(listeners) >= SUBSCRIBERS_MAX:
            raise LimitReached(f"{SUBSCRIBERS_MAX} listeners wait for the same thing: close some")
        subscription: Subscription[T] = Subscription(listeners, self._queue_max)
        listeners.add(subscription)
        return subscription

    def _tidy(self) -> None:
        """Now and then, forget spaces that nobody listens to any more."""
        self._count += 1
        if self._count % 1024 == 0:
            self._spaces = {space_id: found for space_id, found in self._spaces.items() if found}
