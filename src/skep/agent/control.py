"""The control socket: how `skep agent status` and `skep agent leave` speak to the agent that runs in a directory.

One line of JSON each way. The socket has mode 0600, so whoever may open it is the agent's own user.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from skep.base.errors import LocalFailure, SkepError, Unavailable
from skep.client.problems import from_problem

LINE_MAX_BYTES = 1 << 20
TIMEOUT_S = 15.0
ADDRESS_MAX_BYTES = 100
Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@asynccontextmanager
async def control_socket(path: Path, handler: Handler) -> AsyncIterator[None]:
    """Answer requests at a socket for the length of the block. Raises LocalFailure."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(TIMEOUT_S):
                answer = await _answer(handler, await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    listening = _listen(path)
    server = await asyncio.start_unix_server(serve, sock=listening, limit=LINE_MAX_BYTES)
    try:
        yield
    finally:
        server.close()
        _remove(path)


def _listen(path: Path) -> socket.socket:
    _remove(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _short(path) as address:
            listening.bind(address)
    except OSError as error:
        listening.close()
        raise LocalFailure(f"the control socket {path} cannot be made: {error.strerror}") from None
    finally:
        os.umask(before)
    return listening


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


async def _answer(handler: Handler, line: bytes) -> dict[str, Any]:
    try:
        return await handler(json.loads(line))
    except SkepError as error:
        return {"error": {"code": error.code, "detail": error.message}}


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the agent that runs in a directory. Raises Unavailable when none does, and what it answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            with _short(path) as address:
                connection.connect(address)
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline(LINE_MAX_BYTES)
        except OSError:
            raise Unavailable(f"no agent runs in {path.parent}: `skep agent {path.parent}` starts one") from None
    answer: dict[str, Any] = json.loads(line or b"{}")
    if "error" in answer:
        raise from_problem(answer["error"])
    return answer


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of the socket that fits into an address of 107 bytes, however deep its directory lies."""
    if len(os.fsencode(path)) <= ADDRESS_MAX_BYTES:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
