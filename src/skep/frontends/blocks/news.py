"""What changes under prefixes, for those who listen: in this process, as it happens.

What always holds: whoever listens has heard everything since the last message that they took, or is told that they
were too slow (``lost``); a listener costs at most ``WAITING_MAX`` messages.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from skep.base.errors import LimitReached, ShuttingDown

WAITING_MAX = 256
LISTENERS_MAX = 4_096
LISTENERS_OF_ONE_MAX = 256
"""Of one path or prefix."""


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change, as it is sent."""

    operation: str
    """``POST`` or ``DELETE``."""
    prefix: str
    path: str
    """The prefix, a slash, and the path under it."""
    etag: str | None = None


class Listener:
    """One who listens."""

    def __init__(self) -> None:
        self.lost = False
        self._waiting: deque[Happening] = deque()
        self._news = asyncio.Event()

    def tell(self, happening: Happening) -> None:
        """Put a message where it will be taken from; of one too many nothing more is kept."""
        if len(self._waiting) >= WAITING_MAX:
            self.lost = True
        else:
            self._waiting.append(happening)
        self._news.set()

    def end(self) -> None:
        """Wake it for the last time."""
        self.lost = True
        self._news.set()

    async def next(self) -> Happening | None:
        """The next message, waited for; None: messages were lost, or there will be no more."""
        while not self._waiting:
            if self.lost:
                return None
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


class News:
    """Listeners by what they listen to: a path with its prefix, or a whole prefix."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}
        self._count = 0
        self.ended = False
        """Nobody hears anything any more."""

    @property
    def count(self) -> int:
        """How many listen."""
        return self._count

    @contextmanager
    def listening(self, subject: str) -> Iterator[Listener]:
        """Listen to ``<prefix>/<path>``, or to ``<prefix>``. Raises LimitReached, ShuttingDown."""
        if self.ended:
            raise ShuttingDown("the hive is stopping: connect again when it is back")
        there = self._listeners.get(subject, set())
        if self._count >= LISTENERS_MAX or len(there) >= LISTENERS_OF_ONE_MAX:
            raise LimitReached("too many listen already: try again later")
        listener = Listener()
        self._listeners.setdefault(subject, set()).add(listener)
        self._count += 1
        try:
            yield listener
        finally:
            self._count -= 1
            there = self._listeners[subject]
            there.discard(listener)
            if not there:
                del self._listeners[subject]

    def tell(self, happening: Happening) -> None:
        """Tell those who listen to the path or to its prefix."""
        if not self._count:
            return
        for subject in (happening.path, happening.prefix):
            for listener in self._listeners.get(subject, ()):
                listener.tell(happening)

    def end(self) -> None:
        """Send everybody away; nobody may listen any more."""
        self.ended = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.end()
