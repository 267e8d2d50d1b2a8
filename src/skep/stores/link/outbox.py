"""What waits to be written to the socket: control frames first, data in turn, both bounded.

What always holds: one frame is written at a time and whole; a caller that is cancelled while it waits has either sent
its frame or not; streams that send data take turns, frame by frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from skep.base.errors import LimitReached

Outgoing: TypeAlias = bytes | tuple[bytes, memoryview]
"""A frame as bytes, or its header and its payload, so that a socket that copies anyway need not copy twice."""
DATA_FRAMES_MAX = 3
"""Data frames that wait at once: enough to keep the socket busy, and little to hold."""
CONTROL_FRAMES_MAX = 20_000


def joined(frame: Outgoing) -> bytes:
    """A frame as one run of bytes."""
    return frame if isinstance(frame, bytes) else b"".join(frame)


class Outbox:
    """The sending side of a link. Used from one event loop."""

    def __init__(self, write: Callable[[Outgoing], Awaitable[None]]) -> None:
        """``write`` sends one message and returns when the socket took it."""
        self._write = write
        self._control: deque[bytes] = deque()
        self._data: deque[Outgoing] = deque()
        self._room = asyncio.Semaphore(DATA_FRAMES_MAX)
        self._wanted: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()

    def post(self, frame: bytes) -> None:
        """Send a control frame before any data that waits. Raises LimitReached when nothing gets through."""
        if len(self._control) >= CONTROL_FRAMES_MAX:
            raise LimitReached("the other end of the link takes no messages: it is given up")
        self._control.append(frame)
        self._wake()

    async def send(self, frame: Outgoing) -> None:
        """Send a data frame; waits for its turn. The payload must not change until the socket took it."""
        await self._room.acquire()
        self._data.append(frame)
        self._wake()

    async def run(self) -> None:
        """Write frames until cancelled. Raises what ``write`` raises."""
        while True:
            if self._control:
                await self._write(self._control.popleft())
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

    async def flushed(self) -> None:
        """Return when nothing waits and nothing is being written. ``run`` must be running."""
        await self._idle.wait()

    def _wake(self) -> None:
        self._idle.clear()
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
