"""Clients of live streams inside the test process: ASGI spoken directly, no socket between.

async with open_socket(hive.hive.app, token) as socket:
    assert (await socket.message())["type"] == "hello"
    await socket.say(type="subscribe", id="all")
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from skep.frontends.common.asgi import App, Message

LIMIT_S = 10.0


class Refused(Exception):
    """The handshake was answered with a problem."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('code')}")
        self.status = status
        self.problem = problem


class Exchange:
    """One ASGI call: what the application receives and what it sent."""

    def __init__(self) -> None:
        self.to_app: asyncio.Queue[Message] = asyncio.Queue()
        self.from_app: asyncio.Queue[Message] = asyncio.Queue()
        self.flows = asyncio.Event()
        """Cleared, the client takes nothing."""
        self.flows.set()
        self.task: asyncio.Task[None] | None = None

    async def send(self, message: Message) -> None:
        """ASGI's send: waits while the client takes nothing."""
        await self.flows.wait()
        self.from_app.put_nowait(message)

    async def sent(self) -> Message:
        """The application's next message."""
        async with asyncio.timeout(LIMIT_S):
            return await self.from_app.get()


class Socket(Exchange):
    """An accepted WebSocket."""

    closed: tuple[int, str] | None = None
    subprotocol: str | None = None

    async def message(self) -> dict[str, Any]:
        """The next message as JSON; ``{}`` when the connection was closed (see ``closed``)."""
        message = await self.sent()
        if message["type"] == "websocket.close":
            self.closed = (message["code"], message.get("reason", ""))
            return {}
        read: dict[str, Any] = json.loads(message["text"])
        return read

    async def until(self, kind: str) -> dict[str, Any]:
        """The next message of a type; others are passed over. ``{}`` at the end."""
        while (message := await self.message()) and message["type"] != kind:
            pass
        return message

    async def say(self, **message: object) -> None:
        """Send a message to the hive."""
        await self.frame(json.dumps(message))

    async def frame(self, text: str | bytes) -> None:
        """Send any frame."""
        self.to_app.put_nowait({"type": "websocket.receive", "text" if isinstance(text, str) else "bytes": text})


class Events(Exchange):
    """An open stream of Server-Sent Events."""

    status: int = 0
    headers: Mapping[str, str] = {}
    _rest: str = ""

    async def event(self) -> dict[str, str]:
        """The next event's fields, comments left out; ``{}`` at the end of the stream."""
        while True:
            while "\n\n" not in self._rest:
                message = await self.sent()
                self._rest += message.get("body", b"").decode()
                if not message.get("more_body"):
                    return {}
            block, _, self._rest = self._rest.partition("\n\n")
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if fields:
                return fields


def _scope(kind: str, path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode()) for name, value in {"host": "hive.test", **headers}.items()]
    offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",") if part.strip()]
    scope: dict[str, Any] = {
        "type": kind,
        "http_version": "1.1",
        "scheme": "ws" if kind == "websocket" else "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query).encode(),
        "headers": raw,
        "client": ("127.0.0.1", 1),
        "server": ("hive.test", 80),
        "state": {},
    }
    if kind == "websocket":
        return {**scope, "subprotocols": offered, "extensions": {"websocket.http.response": {}}}
    return {**scope, "method": "GET"}


@asynccontextmanager
async def open_socket(
    app: App, authorization: str | None = None, *, path: str = "/api/events", headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> AsyncIterator[Socket]:  # fmt: skip
    """A WebSocket for the length of the block. Raises Refused."""
    socket = Socket()
    given = {**({"authorization": authorization} if authorization else {}), **(headers or {})}
    socket.to_app.put_nowait({"type": "websocket.connect"})
    async with _called(app, socket, _scope("websocket", path, given, query or {}), "websocket.disconnect"):
        first = await socket.sent()
        if first["type"] == "websocket.http.response.start":
            body = (await socket.sent())["body"]
            is_json = (b"content-type", b"application/problem+json") in first["headers"]
            raise Refused(first["status"], json.loads(body) if is_json else {"code": body.decode()})
        assert first["type"] == "websocket.accept", first
        socket.subprotocol = first["subprotocol"]
        yield socket


@asynccontextmanager
async def open_events(
    app: App, authorization: str | None = None, *, headers: Mapping[str, str] | None = None, **query: str
) -> AsyncIterator[Events]:
    """A stream of events for the length of the block. Raises Refused."""
    events = Events()
    given = {**({"authorization": authorization} if authorization else {}), **(headers or {})}
    events.to_app.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    async with _called(app, events, _scope("http", "/api/events", given, query), "http.disconnect"):
        first = await events.sent()
        events.status = first["status"]
        events.headers = {name.decode(): value.decode() for name, value in first["headers"]}
        if events.status != 200:
            raise Refused(events.status, json.loads((await events.sent())["body"]))
        yield events


@asynccontextmanager
async def _called(app: App, exchange: Exchange, scope: dict[str, Any], leaving: str) -> AsyncIterator[None]:
    async def call() -> None:
        await app(scope, exchange.to_app.get, exchange.send)

    exchange.task = asyncio.create_task(call())
    try:
        yield
    finally:
        exchange.flows.set()
        exchange.to_app.put_nowait({"type": leaving, "code": 1000})
        await asyncio.wait((exchange.task,), timeout=LIMIT_S)
        exchange.task.cancel()
