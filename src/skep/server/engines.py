"""The HTTP servers underneath, in our own event loop: granian (the default) and uvicorn (for comparison).

Both run the application until ``stop`` is set and return when they listen no more. The hive itself is
opened and closed around them, so neither speaks the lifespan protocol.

A request with both Content-Length and Transfer-Encoding (RFC 9112 section 6.1): uvicorn hands both
over and ``check_head`` refuses it; granian's parser takes the chunks, hides the length from us and
closes the connection after the answer, so nothing can be smuggled behind it.

WebSockets: both refuse unmasked frames and answer pings themselves. granian takes frames of up to 16 MiB and
messages of up to 64 MiB before the door sees them; live streams
hear only guests who have shown a credential, agent links read no second frame of one that breaks their limits, and
what arrives meanwhile is counted by ``connections``.

A new certificate: uvicorn puts it into the context that new connections get. granian gets a second worker on the same
socket.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from skep.base.errors import Misconfigured
from skep.frontends.common.asgi import App
from skep.server.pairs import Pair, Pairs
from skep.stores.link.frames import FRAME_MAX_BYTES

BACKLOG = 1024
HEAD_BYTES_MAX = 64 * 1024
"""Of a head over HTTP/2; over HTTP/1 the parser has its own limit, and the edge this one for both."""
READ_BYTES_MAX = 2 << 20
"""What is read of a connection at most, before the application asks for more: each message costs some wake-ups."""
READY_POLL_S = 0.005
HAND_OVER_S = 0.5
"""How long two of granian's workers listen when one takes the other's place: the second one needs to begin."""
SOCKET_MESSAGE_BYTES_MAX = FRAME_MAX_BYTES
"""Of a WebSocket's message, where the engine lets us say; a door closes what is over its own limit."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how to listen. ``connections_max``: more wait to be taken."""

    host: str
    port: int
    tls: Pairs | None = None
    """The certificate now, and those that take its place; None: no TLS."""
    connections_max: int = 1024
    head_timeout_s: float = 15.0


Engine = Callable[[App, Listening, asyncio.Event, Callable[[], None]], Coroutine[Any, Any, None]]


def engine(name: str) -> Engine:
    """The engine of that name."""
    return {"granian": run_granian, "uvicorn": run_uvicorn}[name]


async def run_granian(app: App, listening: Listening, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Serve with granian: Rust does HTTP in a thread of its own, our loop runs the application."""
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings, HTTP2Settings

    pair = listening.tls.now if listening.tls else None
    server = _granian()(
        app,
        address=listening.host,
        port=listening.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.auto,
        backlog=BACKLOG,
        backpressure=listening.connections_max,
        http1_settings=HTTP1Settings(
            header_read_timeout=round(listening.head_timeout_s * 1000), max_buffer_size=READ_BYTES_MAX
        ),
        http2_settings=HTTP2Settings(max_headers_size=HEAD_BYTES_MAX),
        websockets=True,
        log_enabled=False,
    )
    if pair:
        server.ssl_ctx = tls_context(pair.certificate, pair.key)
    server.respawn_interval = HAND_OVER_S
    if listening.tls:
        listening.tls.subscribe(server.take)
    await _until(server.serve(), stop, server.stop, listening, ready)


def tls_context(certificate: Path, key: Path) -> tuple[object, ...]:
    """A pair in granian's form. Its own way to it resolves links, and so cannot name files in memory."""
    from granian.constants import SSLProtocols

    return (True, str(certificate), str(key), None, str(SSLProtocols.tls12), None, [], False)


@cache
def _granian() -> type[Any]:
    """granian's server, able to go on with another certificate.

    A second worker begins with it on the same socket, so that no connection is refused; the first takes no more
    connections, ends what it was asked, closes its WebSockets and goes.
    """
    net: Any = import_module("granian.net")
    embedded: Any = import_module("granian.server.embed").Server

    class Renewable(embedded):  # type: ignore[misc]
        def _init_shared_socket(self) -> None:
            self._listener = net.SocketSpec(self.bind_addr, self.bind_port, self.backlog).build()

        def _spawn_worker(self, *arguments: Any, **named: Any) -> Any:
            file, *more = self._listener.__getstate__()
            self._ssp, self._shd = None, net.SocketHolder(os.dup(file), *more)  # a worker closes what it listened on
            return super()._spawn_worker(*arguments, **named)

        async def shutdown(self, exit_code: int = 0) -> None:
            os.close(self._listener.get_fd())
            await super().shutdown(exit_code)

        def take(self, pair: Pair) -> None:
            self.ssl_ctx = tls_context(pair.certificate, pair.key)
            self.reload()

    return Renewable


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
        ssl_certfile=listening.tls.now.certificate if listening.tls else None,
        ssl_keyfile=listening.tls.now.key if listening.tls else None,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # uvicorn takes a handshake that was answered with a problem for one that was forgotten
    logging.getLogger("uvicorn.error").addFilter(lambda record: "completing handshake" not in record.getMessage())
    server = uvicorn.Server(config)

    def take(pair: Pair) -> None:
        assert config.ssl is not None, "a server with a certificate has a context"
        config.ssl.load_cert_chain(pair.certificate, pair.key)

    if listening.tls:
        listening.tls.subscribe(take)

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
