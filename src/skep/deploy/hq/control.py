"""The orders of ``skep`` to HQ: one JSON line in, JSON lines out, the same over SSH and over the folder's socket.

    {"command": "stack.scale", "args": {"stack": "shop", "jobs": {"web": 3}}}
    {"say": "web.2 is well"}
    {"result": {...}}            or    {"error": {"code": "not-found", "message": "…", "details": {…}}}

A session takes one order. Its reader may go away at any time: what was begun is brought to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from skep.base.errors import BadInput, SkepError
from skep.base.logs import get_logger
from skep.deploy.hq.people import Person
from skep.deploy.shell.protocol import ByteReader, ByteWriter

log = get_logger("skep.hq")
ORDER_MAX_BYTES = 4 << 20
ORDER_TIMEOUT_S = 30.0

Say: TypeAlias = Callable[[str], Awaitable[None]]
"""Tells a line to whoever gave the order; one who has gone away hears nothing."""
Emit: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Tells a line of any kind."""


class Order(msgspec.Struct, kw_only=True):
    """What was asked. ``person`` is not part of the line: the door says who it is."""

    command: str
    args: dict[str, Any] = {}
    token: str = ""
    updates: list[list[str]] = []
    objects: str = ""
    alternates: str = ""


Handler: TypeAlias = Callable[[Person, Order, Emit], Awaitable[Any]]
"""Carries an order out and gives its result."""


async def serve_order(person: Person, reader: ByteReader, writer: ByteWriter, handle: Handler) -> int:
    """Read one order, carry it out, tell how it went; 0 when it went well."""
    gone = False

    async def emit(told: Mapping[str, Any]) -> None:
        nonlocal gone
        if gone:
            return
        try:
            writer.write(msgspec.json.encode(told) + b"\n")
            await writer.drain()
        except Exception as error:  # asyncssh and sockets have their own words for a reader that is gone
            log.debug("nobody listens", error=str(error))
            gone = True
            if told.get("wanted"):
                raise

    try:
        order = await _read(reader)
        result = await handle(person, order, emit)
    except SkepError as error:
        details = {key: value for key, value in error.details.items() if _is_plain(value)}
        await emit({"error": {"code": error.code, "message": error.message, "details": details}})
        return 1
    except Exception as error:
        log.exception("an order failed")
        await emit({"error": {"code": "internal", "message": f"HQ failed at this: {type(error).__name__}", "details": {}}})
        return 1
    await emit({"result": result})
    return 0


async def _read(reader: ByteReader) -> Order:
    content = b""
    try:
        async with asyncio.timeout(ORDER_TIMEOUT_S):
            while b"\n" not in content:
                piece = await reader.read(1 << 16)
                if not piece:
                    break
                content += piece
                if len(content) > ORDER_MAX_BYTES:
                    raise BadInput(f"an order has at most {ORDER_MAX_BYTES} bytes")
    except TimeoutError:
        raise BadInput("no order came") from None
    try:
        return msgspec.json.decode(content.partition(b"\n")[0], type=Order)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"that is no order: {error}") from None


def _is_plain(value: object) -> bool:
    try:
        return len(msgspec.json.encode(value)) < 1 << 16
    except (TypeError, msgspec.EncodeError):
        return False
