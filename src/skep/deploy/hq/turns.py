"""One push at a time for each stack. One more may wait; a third takes its place, and whoever waited is told so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from skep.base.errors import Conflict


class Turns:
    """Who deploys which stack now, and who is next."""

    def __init__(self) -> None:
        self._busy: dict[str, object] = {}
        self._next: dict[str, asyncio.Future[None]] = {}

    @contextlib.asynccontextmanager
    async def turn(self, stack: str) -> AsyncIterator[None]:
        """Hold the stack for the body. Raises Conflict when a newer one came while this one waited."""
        await self.take(stack)
        try:
            yield
        finally:
            self.give(stack)

    async def take(self, stack: str) -> None:
        """Wait for the stack and hold it until ``give``. Raises Conflict as ``turn`` does."""
        if stack not in self._busy:
            self._busy[stack] = object()
            return
        earlier = self._next.pop(stack, None)
        if earlier is not None and not earlier.done():
            earlier.set_exception(Conflict(f"a newer push to {stack} came while this one waited: that one goes on"))
        mine = self._next[stack] = asyncio.get_running_loop().create_future()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self.give(stack)  # it was ours already
            raise
        finally:
            if self._next.get(stack) is mine:
                del self._next[stack]

    def give(self, stack: str) -> None:
        """Let the next one have it."""
        waiting = self._next.pop(stack, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        else:
            self._busy.pop(stack, None)

    def is_busy(self, stack: str) -> bool:
        """Whether somebody holds it."""
        return stack in self._busy
