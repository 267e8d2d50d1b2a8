"""Turns by name: whoever changes a file has it alone, readers share it.

For servers that replace in two steps (delete, then move): one process uses a store, so its readers see whole values.
Letting go never waits, so that a cancelled caller lets go too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Turn:
    readers: int = 0
    writing: bool = False
    users: int = 0
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    async def until(self, free: Callable[[], bool]) -> None:
        while not free():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter

    def changed(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Turns:
    """A turn for each name that somebody uses now."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def reading(self, name: str) -> AsyncIterator[None]:
        """Share a name with other readers."""
        async with self._using(name) as turn:
            await turn.until(lambda: not turn.writing)
            turn.readers += 1
            try:
                yield
            finally:
                turn.readers -= 1
                turn.changed()

    @asynccontextmanager
    async def writing(self, name: str) -> AsyncIterator[None]:
        """Have a name alone."""
        async with self._using(name) as turn:
            await turn.until(lambda: not turn.writing and turn.readers == 0)
            turn.writing = True
            try:
                yield
            finally:
                turn.writing = False
                turn.changed()

    @asynccontextmanager
    async def _using(self, name: str) -> AsyncIterator[_Turn]:
        turn = self._turns.setdefault(name, _Turn())
        turn.users += 1
        try:
            yield turn
        finally:
            turn.users -= 1
            if not turn.users:
                self._turns.pop(name, None)
