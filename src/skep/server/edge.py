"""What every request passes first and last, whatever door it is for.

It gets an id; its head is checked; the client's address is found; the limits on requests hold; its
bytes and time are counted; one line is logged. What is raised out of a door without an answer
becomes one. While the hive stops, new requests are turned away and those in flight are counted down.
Streams, which last for hours, hold no place among the requests and are not waited for.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Container
from functools import partial
from typing import Any

from skep.base.chance import random_bytes
from skep.base.errors import ClientGone, NotFound, ShuttingDown, SkepError
from skep.base.limits import Gate, RateLimit
from skep.base.logs import get_logger, request_context
from skep.frontends.api.errors import problem_of, problem_of_bug
from skep.frontends.common.answers import AnswerBroken, send_problem
from skep.frontends.common.asgi import App, Message, Receive, Scope, Send
from skep.frontends.common.headers import Headers, check_head
from skep.server.addresses import Proxies
from skep.server.connections import Connections, Peer
from skep.server.metrics import RequestMetrics
from skep.server.sockets import Handshake, account, check_origin, pass_socket, stopping

log = get_logger("skep.http")
_LINK_TOKEN = re.compile(r"skn_[A-Za-z0-9_-]+")


Refuse = Callable[[Scope, Send, SkepError], Awaitable[bool]]
Owned = Callable[[Scope, Headers], bool]


class InFlight:
    """The requests that are being answered. Says when there are none, and can cut them off."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._none: asyncio.Event | None = None
        """Set when there are none, once somebody waits for that."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._tasks)

    def enter(self) -> asyncio.Task[Any]:
        """Count the current task's request."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        return task

    def leave(self, task: asyncio.Task[Any]) -> None:
        """Count it no more."""
        self._tasks.discard(task)
        if self._none is not None and not self._tasks:
            self._none.set()

    async def none(self, timeout_s: float) -> bool:
        """Wait until there are none; whether that came within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    self._none = asyncio.Event()
                    await self._none.wait()
        except TimeoutError:
            return False
        return True

    async def cut(self, timeout_s: float) -> None:
        """Cancel all: what they have not acknowledged is undone. Waits for them up to ``timeout_s``."""
        for task in tuple(self._tasks):
            task.cancel()
        await self.none(timeout_s)


class _Exchange:
    """One request as it passes: what was received and sent so far."""

    __slots__ = ("_receive", "_send", "expects", "received_bytes", "request_id", "sent_bytes", "started", "status")

    def __init__(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        self.request_id = request_id
        self.expects = scope.get("http_version") == "1.1" and any(name == b"expect" for name, _ in scope["headers"])
        """The client asks to be told (100 Continue) before it sends its body."""
        self.received_bytes = 0
        self.sent_bytes = 0
        self.status = 0
        self.started = False
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        body = message.get("body")
        if body:
            self.received_bytes += len(body)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode())]
            if self.expects and not self.received_bytes and (b"connection", b"close") not in message["headers"]:
                # Whether a body follows is unsure. And the AWS CLI, told a final status where it waits for 100, takes
                # it for the status of its next request on that connection, too, whatever that is answered.
                message["headers"].append((b"connection", b"close"))
        else:
            self.sent_bytes += len(message.get("body", b""))
        return self._send(message)


class Edge:
    """The outermost ASGI application."""

    def __init__(
        self,
        doors: App,
        *,
        metrics: RequestMetrics,
        gate: Gate,
        rate: RateLimit,
        proxies: Proxies,
        head_limit_bytes: int,
        unlimited: frozenset[str],
        streams: Container[str] = frozenset(),
        origins: frozenset[str] = frozenset(),
        log_requests: str = "all",
        refuse: Refuse | None = None,
        owned: Owned = lambda scope, headers: False,
        connections: Connections,
    ) -> None:
        """``refuse`` may tell a refusal in a door's own words, and says whether it did.

        ``owned``: whether a request came by a port or host name that is a door's own: no path is special there.

        ``unlimited``: paths that are answered even at the limits and while the hive stops.

        ``streams``: paths whose answers go on for as long as both sides like; their door has limits of its own.
        ``origins``: other sites whose pages may open WebSockets.

        ``log_requests``: ``all``, ``failed`` or ``none``, as in the settings.
        """
        self._doors = doors
        self._metrics = metrics
        self._gate = gate
        self._rate = rate
        self._proxies = proxies
        self._head_limit_bytes = head_limit_bytes
        self._unlimited = unlimited
        self._streams = streams
        self._origins = origins
        self._log_requests = log_requests
        self._refuse = refuse
        self._owned = owned
        self.connections = connections
        self._numbers = itertools.count(1)
        self._prefix = random_bytes(6).hex()
        self.in_flight = InFlight()
        self.streams = InFlight()
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self._socket if scope["type"] == "websocket" else _lifespan)(scope, receive, send)
            return
        exchange = _Exchange(f"{self._prefix}-{next(self._numbers):x}", scope, receive, send)
        state = scope.setdefault("state", {})
        state["request_id"] = exchange.request_id
        started_s = time.perf_counter()
        task = self.in_flight.enter()
        peer = _peer(scope)
        self.connections.enter(peer)
        self._metrics.in_flight += 1
        with request_context(exchange.request_id):
            try:
                await self._answer(scope, exchange)
            finally:
                self._metrics.in_flight -= 1
                self.in_flight.leave(task)
                self.streams.leave(task)
                self.connections.leave(peer)
                self._account(scope, exchange, time.perf_counter() - started_s)

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            await self._admit(scope, exchange)
        except ClientGone:
            scope["state"]["gone"] = True
        except SkepError as error:
            if exchange.started:
                raise
            if self._refuse is not None and await self._refuse(scope, exchange.send, error):
                return
            head_only = scope["method"] == "HEAD"
            await send_problem(exchange.send, problem_of(error), exchange.request_id, head_only=head_only, close=True)
        except (asyncio.CancelledError, AnswerBroken):
            raise
        except Exception:
            log.exception("bug", path=shown_path(scope["path"]))
            if exchange.started:
                raise
            await send_problem(exchange.send, problem_of_bug(), exchange.request_id, close=True)

    async def _admit(self, scope: Scope, exchange: _Exchange) -> None:
        headers = check_head(scope, self._head_limit_bytes)
        scope["state"]["headers"] = headers
        client = self._proxies.apply(scope, headers)
        path = "" if self._owned(scope, headers) else scope["path"]
        if path in self._unlimited:
            await self._doors(scope, exchange.receive, exchange.send)
            return
        if self.stopping:
            raise ShuttingDown("The hive is stopping: send this again when it is back.")
        self._rate.check(client)
        if path in self._streams:
            self.in_flight.leave(self.streams.enter())
            await self._doors(scope, exchange.receive, exchange.send)
            return
        if not self._gate.take_place():
            await self._gate.take(1)
        try:
            await self._doors(scope, exchange.receive, exchange.send)
        finally:
            self._gate.give_back(1)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, from its handshake to its end."""
        request_id = f"{self._prefix}-{next(self._numbers):x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        started_s = time.perf_counter()
        handshake = Handshake(scope, receive, send)
        task = self.streams.enter()
        peer = _peer(scope)
        self.connections.enter(peer)
        self.connections.meet(peer)
        state["known"] = partial(self.connections.know, peer)
        with request_context(request_id):
            try:
                await pass_socket(self._admit_socket, handshake)
            finally:
                self.streams.leave(task)
                self.connections.leave(peer)
                self.connections.part(peer)
                account(handshake, self._metrics, started_s, self._log_requests)

    async def _admit_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = check_head(scope, self._head_limit_bytes)
        scope["state"]["headers"] = headers
        client = self._proxies.apply(scope, headers)
        if self.stopping:
            raise stopping()
        self._rate.check(client)
        if scope["path"] not in self._streams or self._owned(scope, headers):
            raise NotFound(f"There is no WebSocket at {scope['path'][:200]}.")
        check_origin(headers, self._origins)
        await self._doors(scope, receive, send)

    def _account(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        state = scope["state"]
        gone = bool(state.get("gone"))
        status = exchange.status or (499 if gone else 500)
        route = state.get("route", "other")
        self._metrics.done(scope["method"], route, status, seconds, exchange.received_bytes, exchange.sent_bytes)
        if gone:
            self._metrics.client_gone()
        if self._log_requests == "none" or (self._log_requests == "failed" and status < 400):
            return
        log.info(
            "request",
            method=scope["method"],
            path=shown_path(scope["path"]),
            status=status,
            client=scope["client"][0] if scope.get("client") else "",
            seconds=round(seconds, 6),
            received_bytes=exchange.received_bytes,
            sent_bytes=exchange.sent_bytes,
            **({"gone": True} if gone else {}),
        )


def shown_path(path: str) -> str:
    """A path as logs may have it: without the token of a link, which is all that opens it."""
    return _LINK_TOKEN.sub("skn_...", path)


def _peer(scope: Scope) -> Peer:
    """The other end of the connection, before a proxy is believed."""
    client = scope.get("client")
    return (str(client[0]), int(client[1])) if client else ("", 0)  # granian says the port as text


async def _lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the lifespan protocol with nothing to do: the hive is opened around the server."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
