"""The orders of ``skep`` to HQ: one JSON line in, JSON lines out, the same over SSH and over the folder's socket.

    {"command": "stack.scale", "args": {"stack": "shop", "jobs": {"web": 3}}}
    {"say": "web.2 is well"}
    {"result": {...}}            or    {"error": {"code": "not-found", "message": "…", "details": {…}}}

A session takes one order; a tree may follow its line, as tar. Who gave it may go away at any time: what was begun is
brought to its end, only what is told for as long as somebody listens (logs) ends with them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import msgspec

from skep.base.errors import BadInput, SkepError
from skep.base.logs import get_logger
from skep.deploy.hq.people import Person
from skep.deploy.shell.protocol import ByteReader, ByteWriter

log = get_logger("skep.hq")
ORDER_MAX_BYTES = 4 << 20
ORDER_TIMEOUT_S = 30.0
_PIECE_BYTES = 1 << 16


class Order(msgspec.Struct, kw_only=True):
    """What was asked. The last four are the hook's."""

    command: str
    args: dict[str, Any] = {}
    token: str = ""
    updates: list[list[str]] = []
    objects: str = ""
    alternates: str = ""


class Call:
    """One order and the way back to who gave it. ``body`` is what follows the order's line."""

    def __init__(self, person: Person, order: Order, body: Body, writer: ByteWriter) -> None:
        self.person = person
        self.order = order
        self.body = body
        self._writer = writer
        self._gone = False

    @property
    def args(self) -> Mapping[str, Any]:
        """What the order says."""
        return self.order.args

    async def emit(self, told: Mapping[str, Any]) -> None:
        """Tell a line of any kind; when nobody listens, nobody hears it."""
        if self._gone:
            return
        try:
            self._writer.write(msgspec.json.encode(told) + b"\n")
            await self._writer.drain()
        except Exception as error:  # asyncssh and sockets have their own words for a reader that is gone
            log.debug("nobody listens", error=str(error))
            self._gone = True

    async def say(self, text: str) -> None:
        """Tell people a line."""
        await self.emit({"say": text})

    async def while_heard(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this until its end, or until nobody listens any more."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self.body.end())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            for task in (working, leaving):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, SkepError):
                    await task


class Body:
    """A stream after a line of it was read."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._rest = b""

    async def line(self) -> bytes:
        """The first line. Raises BadInput when none comes, or one that is too long."""
        content = b""
        try:
            async with asyncio.timeout(ORDER_TIMEOUT_S):
                while b"\n" not in content:
                    piece = await self._reader.read(_PIECE_BYTES)
                    if not piece:
                        break
                    content += piece
                    if len(content) > ORDER_MAX_BYTES:
                        raise BadInput(f"an order has at most {ORDER_MAX_BYTES} bytes")
        except TimeoutError:
            raise BadInput("no order came") from None
        line, _, self._rest = content.partition(b"\n")
        return line

    async def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes of what follows; none at the end."""
        if not self._rest:
            return await self._reader.read(_PIECE_BYTES if n < 0 else n)
        n = len(self._rest) if n < 0 else n
        piece, self._rest = self._rest[:n], self._rest[n:]
        return piece

    async def end(self) -> None:
        """Wait until nothing more comes: who gave the order has gone."""
        with contextlib.suppress(Exception):
            while await self.read(_PIECE_BYTES):
                pass


Handler: TypeAlias = Callable[[Call], Awaitable[Any]]
"""Carries an order out and gives its result."""


async def serve_order(person: Person, reader: ByteReader, writer: ByteWriter, handle: Handler) -> int:
    """Read one order, carry it out, tell how it went; 0 when it went well."""
    body = Body(reader)
    call = Call(person, Order(command=""), body, writer)
    try:
        call.order = _decoded(await body.line())
        result = await handle(call)
    except SkepError as error:
        details = {key: value for key, value in error.details.items() if _is_plain(value)}
        await call.emit({"error": {"code": error.code, "message": error.message, "details": details}})
        return 1
    except Exception as error:
        log.exception("an order failed", command=call.order.command)
        said = f"HQ failed at this ({type(error).__name__}); its log says why"
        await call.emit({"error": {"code": "internal", "message": said, "details": {}}})
        return 1
    await call.emit({"result": result})
    return 0


def _decoded(line: bytes) -> Order:
    try:
        return msgspec.json.decode(line, type=Order)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"that is no order: {error}") from None


def _is_plain(value: object) -> bool:
    try:
        return len(msgspec.json.encode(value)) < 1 << 16
    except (TypeError, msgspec.EncodeError):
        return False
