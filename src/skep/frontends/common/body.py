"""The body of a request as a stream with limits.

What always holds: at most one ASGI message is held at a time, so back-pressure reaches the
socket; a stream that ends without an exception was whole, exactly as long as declared; a client
that closes, stalls or lies about the length makes the stream raise, so that whoever writes what
they read from it writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from skep.base.errors import BodyTooLarge, ClientGone, LengthMismatch, TimedOut
from skep.base.waiting import within
from skep.frontends.common.asgi import Receive

PART_BYTES = 256 * 1024


class Body:
    """An async iterator over one request's body.

    ``declared``: bytes that Content-Length announced, or None; ``limit_bytes``: the most that is
    taken; ``idle_timeout_s``: the longest wait for the next bytes. Iterating raises BodyTooLarge,
    LengthMismatch, ClientGone and TimedOut.
    """

    __slots__ = ("_done", "_idle_timeout_s", "_limit_bytes", "_receive", "declared", "received_bytes")

    def __init__(self, receive: Receive, *, declared: int | None, limit_bytes: int, idle_timeout_s: float) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._idle_timeout_s = idle_timeout_s
        self._done = False
        self.declared = declared
        self.received_bytes = 0

    @property
    def finished(self) -> bool:
        """Whether the end of the body was seen."""
        return self._done

    def limited(self, limit_bytes: int) -> Body:
        """Lower the limit, before the first byte is read. Returns this body."""
        self._limit_bytes = min(self._limit_bytes, limit_bytes)
        return self

    def check_declared(self) -> None:
        """Refuse a body whose declared length is over the limit, before reading any of it."""
        if self.declared is not None and self.declared > self._limit_bytes:
            raise self._too_large(self.declared)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._done:
            data = await self._next_message()
            if data:
                return data
        raise StopAsyncIteration

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body at once. Raises BodyTooLarge when it is over ``limit_bytes``."""
        self.limited(limit_bytes).check_declared()
        parts = [part async for part in self]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def drain(self, limit_bytes: int, timeout_s: float) -> None:
        """Read on and forget, so that a client still sending can hear the answer. Never raises an error of ours."""
        start = self.received_bytes
        try:
            async with asyncio.timeout(timeout_s):
                while not self._done and self.received_bytes - start < limit_bytes:
                    await self._next_message()
        except (TimeoutError, ClientGone, LengthMismatch, BodyTooLarge, TimedOut):
            self._done = True

    async def _next_message(self) -> bytes:
        try:
            message = await within(self._receive(), self._idle_timeout_s)
        except TimeoutError:
            self._done = True
            raise TimedOut(
                f"The body stood still for {self._idle_timeout_s:g} s after {self.received_bytes} bytes: send it again."
            ) from None
        if message["type"] == "http.disconnect":
            self._done = True
            raise ClientGone(f"The client closed the connection after {self.received_bytes} bytes of the body.")
        data: bytes = message.get("body", b"")
        self.received_bytes += len(data)
        self._check(last=not message.get("more_body", False))
        return data

    def _check(self, *, last: bool) -> None:
        if self.received_bytes > self._limit_bytes:
            self._done = True
            raise self._too_large(self.received_bytes)
        if self.declared is None:
            self._done = last
            return
        self._done = last or self.received_bytes == self.declared  # the empty last message is not waited for
        if self.received_bytes > self.declared or (last and self.received_bytes < self.declared):
            self._done = True
            raise LengthMismatch(
                f"The body has {self.received_bytes} bytes where {self.declared} were declared: nothing was stored.",
                declared_bytes=self.declared,
                received_bytes=self.received_bytes,
            )

    def _too_large(self, size_bytes: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body is {size_bytes} bytes or more; this call takes at most {self._limit_bytes}.",
            limit_bytes=self._limit_bytes,
        )
