"""What waits to be written to the socket: control frames first, data in turn, both bounded.

What always holds: one frame is written at a time and whole; a caller that is cancelled while it waits has either sent
its frame or not; streams that send data take turns, frame by frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from skep.base.errors import LimitReached

DATA_FRAMES_MAX = 3
"""Data frames that wait at once: enough to keep the socket busy, and little to hold."""
CONTROL_FRAMES_MAX = 20_000


class Outbox:
    """The sending side of a link. Used from one event loop."""

    def __init__(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """``write`` sends one message and returns when the socket took it."""
        self._write = write
        self._control: deque[bytes] = deque()
        self._data: deque[bytes] = deque()
        self._room = asyncio.Semaphore(DATA_FRAMES_MAX)
        self._wanted: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self.sent_bytes = 0

    def post(self, frame: bytes) -> None:
        """Send a control frame before any data that waits. Raises LimitReached when nothing gets through."""
        if len(self._control) >= CONTROL_FRAMES_MAX:
            raise LimitReached("the other end of the link takes no messages: it is given up")
        self._control.append(frame)
        self._wake()

    async def send(self, frame: bytes) -> None:
        """Send a data frame; waits for its turn."""
        await self._room.acquire()
        self._data.append(frame)
        self._wake()

    async def run(self) -> None:
        """Write frames until cancelled. Raises what ``write`` raises."""
        while True:
            if self._control:
                frame = self._control.popleft()
                await self._write(frame)
            elif self._data:
                frame = self._data.popleft()
                try:
                    await self._write(frame)
                finally:
                    self._room.release()
            else:
                self._idle.set()
                self._wanted = asyncio.get_running_loop().create_future()
                await self._wanted
                continue
            self.sent_bytes += len(frame)

    async def flushed(self) -> None:
        """Return when nothing waits and nothing is being written. ``run`` must be running."""
        await self._idle.wait()

    def _wake(self) -> None:
        self._idle.clear()
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
