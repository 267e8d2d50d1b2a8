"""A body that arrives: it may break off, stall or be told to end, and what came before counts.

What always holds:
- a stream that broke off ends like a whole one, and ``broken`` says why it ended;
- nothing past ``limit_bytes`` is passed on;
- only one body arrives for one upload at a time (``Arrivals``), in this process; across processes the offset, which
  every commit checks, lets only one of them go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from skep.base.clock import Clock
from skep.base.errors import BodyTooLarge, ClientGone, LengthMismatch, SkepError, TimedOut, UploadLocked
from skep.base.ids import Id
from skep.base.waiting import wait_for_event
from skep.crypto.hashing import Buffer
from skep.filesystem.uploads.records import Hasher

ALIVE_S = 2.0
"""A body that brought bytes within this time is being sent; one that did not may be of a dead connection."""
SETTLE_S = 10.0
"""The longest wait for a body that was told to end to be saved."""
HASH_BYTES = 1 << 20
"""Hashed at one go, in a thread."""
_BREAKS = (ClientGone, TimedOut, LengthMismatch)


class Arriving:
    """An async iterator over a body."""

    def __init__(self, stream: AsyncIterator[Buffer], clock: Clock, *, hashers: Sequence[Hasher] = ()) -> None:
        """``hashers`` see every byte."""
        self.received_bytes = 0
        self.limit_bytes: int | None = None
        """How many the upload still takes; None: as many as come."""
        self.broken: SkepError | None = None
        self.over = asyncio.Event()
        """Set when what arrived is saved, or given up."""
        self._stream = stream
        self._clock = clock
        self._hashers = hashers
        self._unhashed: list[Buffer] = []
        self._unhashed_bytes = 0
        self._moved_s = clock.monotonic_s()
        self._reader: asyncio.Task[object] | None = None
        self._stopped: SkepError | None = None

    @property
    def is_alive(self) -> bool:
        """Whether bytes came lately."""
        return self._stopped is None and self._clock.monotonic_s() - self._moved_s < ALIVE_S

    def stop(self, reason: SkepError) -> None:
        """Have the body end here, as if the connection had."""
        if self._stopped is None:
            self._stopped = reason
            if self._reader is not None:
                self._reader.cancel()

    def __aiter__(self) -> AsyncIterator[Buffer]:
        return self

    async def __anext__(self) -> Buffer:
        piece = None if self.broken is not None else await self._next()
        if piece is None:
            await self._hash()
            raise StopAsyncIteration
        self.received_bytes += len(piece)
        if self.limit_bytes is not None and self.received_bytes > self.limit_bytes:
            raise BodyTooLarge(
                f"the body goes past the end of the upload, which takes {self.limit_bytes} bytes more",
                limit_bytes=self.limit_bytes,
            )
        self._moved_s = self._clock.monotonic_s()
        if self._hashers:
            self._unhashed.append(piece)
            self._unhashed_bytes += len(piece)
            if self._unhashed_bytes >= HASH_BYTES or not isinstance(piece, bytes):
                await self._hash()
        return piece

    async def _next(self) -> Buffer | None:
        """The next piece; None at the end, whatever made it the end."""
        if self._end_if_stopped():
            return None
        self._reader = reader = asyncio.current_task()
        try:
            return await anext(self._stream, None)
        except _BREAKS as error:
            self.broken = error
        except asyncio.CancelledError:
            if not self._end_if_stopped():
                raise
            assert reader is not None
            reader.uncancel()
        finally:
            self._reader = None
        return None

    def _end_if_stopped(self) -> bool:
        if self._stopped is not None:
            self.broken = self._stopped
        return self._stopped is not None

    async def _hash(self) -> None:
        pieces, self._unhashed, self._unhashed_bytes = self._unhashed, [], 0
        if pieces:
            await asyncio.to_thread(_update, self._hashers, pieces)


def _update(hashers: Sequence[Hasher], pieces: Sequence[Buffer]) -> None:
    for hasher in hashers:
        for piece in pieces:
            hasher.update(piece)


class Arrivals:
    """The bodies that arrive now, by their upload. Lives on one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bodies: dict[Id, Arriving] = {}

    @contextmanager
    def enter(self, upload_id: Id, body: Arriving) -> Iterator[None]:
        """Be the one that sends to an upload. Raises UploadLocked."""
        if upload_id in self._bodies:
            raise _locked()
        self._bodies[upload_id] = body
        try:
            yield
        finally:
            del self._bodies[upload_id]
            body.over.set()

    async def settle(self, upload_id: Id, *, hurry: bool = False) -> bool:
        """Have a body that stands still saved as far as it came; whether nothing arrives any more.

        With ``hurry`` also one that is being sent is told to end.
        """
        body = self._bodies.get(upload_id)
        if body is None:
            return True
        if body.is_alive and not hurry:
            return False
        body.stop(_locked())
        return await wait_for_event(body.over, self._clock, SETTLE_S)

    async def require_free(self, upload_id: Id, *, hurry: bool = False) -> None:
        """Raise UploadLocked while another body is being sent to an upload; with ``hurry`` that one ends."""
        if not await self.settle(upload_id, hurry=hurry):
            raise _locked()


def _locked() -> UploadLocked:
    return UploadLocked("another request sends to this upload: ask where it stands, and go on from there")
