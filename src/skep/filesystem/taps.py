"""Where bytes flow into a space and out of it: counted for its owner, if the hive has a meter with something to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple

from skep.base.ids import Id
from skep.crypto.hashing import Buffer
from skep.filesystem.ports import Meter, Passage


class Tap(NamedTuple):
    """A meter and who pays."""

    meter: Meter
    kind: str
    owner_id: Id

    async def out(self, parts: Any, size_bytes: int) -> AsyncIterator[bytes]:
        """The parts of a content, each counted before it is given. Raises TrafficExceeded, CreditExhausted."""
        passage = await self.meter.admit(self.kind, self.owner_id, "out", size_bytes)
        try:
            async with aclosing(parts) as given:
                async for part in given:
                    await passage.take(len(part))
                    yield part
        finally:
            passage.end()

    async def counted_out(self, size_bytes: int) -> None:
        """Count a content that is given in one piece. Raises TrafficExceeded, CreditExhausted."""
        passage = await self.meter.admit(self.kind, self.owner_id, "out", size_bytes)
        try:
            await passage.take(size_bytes)
        finally:
            passage.end()


class Inflow:
    """What comes into a space in one request: enter it, and read ``counted``. A failure costs nothing."""

    def __init__(self, tap: Tap | None, size_bytes: int | None) -> None:
        self._tap = tap
        self._size_bytes = size_bytes
        self._passage: Passage | None = None

    async def __aenter__(self) -> Inflow:
        if self._tap is not None:
            tap = self._tap
            self._passage = await tap.meter.admit(tap.kind, tap.owner_id, "in", self._size_bytes)
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if self._passage is not None:
            self._passage.end(counts=kind is None)

    async def take(self, size_bytes: int) -> None:
        """Count bytes that came as a whole."""
        if self._passage is not None and size_bytes:
            await self._passage.take(size_bytes)

    def counted(self, stream: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        """The stream, each part of it counted before it is taken."""
        return stream if self._passage is None else _counted(self._passage, stream)


class Late:
    """Counts a stream that was handed on before it was known into which space it goes."""

    inflow: Inflow | None = None

    async def counted(self, stream: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        """The stream, each part of it counted before it is taken."""
        async for part in stream:
            if self.inflow is not None:
                await self.inflow.take(len(part))
            yield part


async def _counted(passage: Passage, stream: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    async for part in stream:
        await passage.take(len(part))
        yield part


def tap_of(meter: Meter | None, kind: str, owner_id: Id) -> Tap | None:
    """What counts for the owner of a space (``personal`` or ``group``; empty: nobody pays); None: nothing does."""
    return None if meter is None or not meter.active or not kind else Tap(meter, kind, owner_id)
