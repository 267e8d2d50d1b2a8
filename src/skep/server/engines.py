"""The HTTP servers underneath, in our own event loop: granian (the default) and uvicorn (for comparison).

Both run the application until ``stop`` is set and return when they listen no more. The hive itself is
opened and closed around them, so neither speaks the lifespan protocol.

A request with both Content-Length and Transfer-Encoding (RFC 9112 section 6.1): uvicorn hands both
over and ``check_head`` refuses it; granian's parser takes the chunks, hides the length from us and
closes the connection after the answer, so nothing can be smuggled behind it.

WebSockets: both refuse unmasked frames and answer pings themselves. granian takes frames of up to 16 MiB and
messages of up to 64 MiB before the door sees them; live streams
hear only guests who have shown a credential, agent links read no second frame of one that breaks their limits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skep.base.errors import Misconfigured
from skep.frontends.common.asgi import App
from skep.stores.link.frames import FRAME_MAX_BYTES

BACKLOG = 1024
HEAD_TIMEOUT_S = 15
READ_BYTES_MAX = 2 << 20
"""What is read of a connection at most, before the application asks for more: each message costs some wake-ups."""
READY_POLL_S = 0.005
SOCKET_MESSAGE_BYTES_MAX = FRAME_MAX_BYTES
"""Of a WebSocket's message, where the engine lets us say; a door closes what is over its own limit."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how to listen. ``requests_at_once`` bounds what the server hands over at once."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    requests_at_once: int = 1024


Engine = Callable[[App, Listening, asyncio.Event, Callable[[], None]], Coroutine[Any, Any, None]]


def engine(name: str) -> Engine:
    """The engine of that name."""
    return {"granian": run_granian, "uvicorn": run_uvicorn}[name]


async def run_granian(app: App, listening: Listening, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Serve with granian: Rust does HTTP in a thread of its own, our loop runs the application."""
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    server = Server(
        app,
        address=listening.host,
        port=listening.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.auto,
        backlog=BACKLOG,
        backpressure=listening.requests_at_once,
        http1_settings=HTTP1Settings(header_read_timeout=HEAD_TIMEOUT_S * 1000, max_buffer_size=READ_BYTES_MAX),
        websockets=True,
        log_enabled=False,
        ssl_cert=listening.certificate,
        ssl_key=listening.key,
        ssl_protocol_min=SSLProtocols.tls12,
    )
    await _until(server.serve(), stop, server.stop, listening, ready)


async def run_uvicorn(app: App, listening: Listening, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Serve with uvicorn and httptools."""
    import uvicorn

    config = uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        date_header=True,
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.key,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # uvicorn takes a handshake that was answered with a problem for one that was forgotten
    logging.getLogger("uvicorn.error").addFilter(lambda record: "completing handshake" not in record.getMessage())
    server = uvicorn.Server(config)

    def leave() -> None:
        server.should_exit = True

    await _until(server._serve(), stop, leave, listening, ready)


async def _until(
    serving: Awaitable[None],
    stop: asyncio.Event,
    leave: Callable[[], None],
    listening: Listening,
    ready: Callable[[], None],
) -> None:
    """Run a server's coroutine; say when it answers; ask it to leave when ``stop`` is set."""
    task = asyncio.ensure_future(serving)
    answering = asyncio.create_task(_answers(listening))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, answering), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            ready()
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leave()
        answering.cancel()
        stopping.cancel()
    try:
        await task
    except OSError as error:
        raise Misconfigured(f"The server cannot listen on {listening.host} port {listening.port}: {error}.") from None


async def _answers(listening: Listening) -> None:
    """Return once the port takes connections."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listening.host, listening.host)  # noqa: S104
    while True:
        try:
            _, writer = await asyncio.open_connection(host, listening.port)
        except OSError:
            await asyncio.sleep(READY_POLL_S)
        else:
            writer.close()
            return
