"""An ASGI application on a free port of the loopback, in a thread with a loop of its own.

with served(app) as url:
    httpx.get(url)
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

START_S = 20.0


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Two loops in one process hand the interpreter to and fro: at the usual 5 ms a turn, requests take as long."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The URL at which ``app`` answers until the block is left. Connections that are open then are cut."""
    with socket.create_server(("127.0.0.1", 0)) as listening, _quick_turns():
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0, http="httptools", ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), name="served", daemon=True)
        thread.start()
        until = time.monotonic() + START_S
        while not server.started:
            if time.monotonic() > until or not thread.is_alive():
                raise AssertionError("the server did not start")
            time.sleep(0.01)  # it has no other way to tell
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(START_S)


@asynccontextmanager
async def served_here(app: ASGIApp) -> AsyncIterator[str]:
    """The URL at which ``app`` answers until the block is left, in the loop that runs now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1, http="httptools", ws="none"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            async with asyncio.timeout(START_S):
                while not server.started:  # noqa: ASYNC110 - uvicorn has no other way to tell
                    await asyncio.sleep(0.01)  # it has no other way to tell
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait((serving,), timeout=START_S)
