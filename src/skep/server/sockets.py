"""WebSockets at the edge: what a handshake passes before its door sees it, and what is noted when it ends.

As a request, it gets an id, its head is checked, its client's address found, the rate held. Beyond that, a page of
another site is refused: browsers let any page open a WebSocket anywhere, with the user's remembered password, and only
say in ``Origin`` whose page it was (RFC 6455 section 10.2).
"""

from __future__ import annotations

import time
from collections.abc import Collection

from skep.base.errors import Forbidden, ShuttingDown, SkepError
from skep.base.logs import get_logger
from skep.frontends.api.errors import problem_of, problem_of_bug
from skep.frontends.common.answers import raw_headers
from skep.frontends.common.asgi import App, Message, Receive, Scope, Send
from skep.frontends.common.headers import Headers
from skep.frontends.common.origins import is_own
from skep.frontends.common.problems import PROBLEM_TYPE, Problem
from skep.server.metrics import RequestMetrics

log = get_logger("skep.http")


def check_origin(headers: Headers, allowed: Collection[str]) -> None:
    """Return if no page, this hive's own or an allowed one opens the WebSocket. Raises Forbidden.

    ``allowed``: origins as browsers write them (``https://app.example``).
    """
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return
    if is_own(origin, headers.get("host") or ""):
        return
    raise Forbidden(f"The page at {origin[:200]!r} may not open this: name it in events.origins if it should.")


class Handshake:
    """One WebSocket as it passes: whether it was accepted, and how much went through."""

    __slots__ = ("_receive", "_send", "accepted", "closed", "received_bytes", "scope", "sent_bytes", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.accepted = False
        self.closed = False
        self.received_bytes = 0
        self.sent_bytes = 0
        self.status = 0
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """ASGI's receive, counting."""
        message = await self._receive()
        self.received_bytes += len(message.get("text") or message.get("bytes") or b"")
        return message

    async def send(self, message: Message) -> None:
        """ASGI's send, counting."""
        kind = message["type"]
        if kind == "websocket.accept":
            self.accepted, self.status = True, 101
        elif kind == "websocket.close":
            self.closed = True
        else:
            self.sent_bytes += len(message.get("text") or message.get("bytes") or b"")
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer the handshake with a problem, or close what was accepted."""
        if self.closed:
            return
        if self.accepted:
            await self.send({"type": "websocket.close", "code": 1011, "reason": problem.code})
            return
        self.status = problem.status
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await self.send({"type": "websocket.close", "code": 1008, "reason": problem.code})
            return
        body = problem.encode(self.scope["state"]["request_id"])
        headers = raw_headers(
            [
                ("content-type", PROBLEM_TYPE),
                ("cache-control", "no-store"),
                ("content-length", str(len(body))),
                ("x-request-id", self.scope["state"]["request_id"]),
                *problem.headers,
            ]
        )
        await self._send({"type": "websocket.http.response.start", "status": problem.status, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": body, "more_body": False})


async def pass_socket(door: App, handshake: Handshake) -> None:
    """Hand a WebSocket to its door; what the door raises becomes the answer or the close."""
    try:
        await door(handshake.scope, handshake.receive, handshake.send)
    except SkepError as error:
        await handshake.refuse(problem_of(error))
    except Exception:
        log.exception("bug", path=handshake.scope["path"])
        await handshake.refuse(problem_of_bug())


def stopping() -> ShuttingDown:
    """The answer to a handshake while the hive stops."""
    return ShuttingDown("The hive is stopping: connect again when it is back.")


def account(handshake: Handshake, metrics: RequestMetrics, started_s: float, log_requests: str) -> None:
    """Count and log a WebSocket that is over."""
    scope, seconds = handshake.scope, time.perf_counter() - started_s
    status = handshake.status or 500
    route = scope["state"].get("route", "other")
    metrics.done("WEBSOCKET", route, status, seconds, handshake.received_bytes, handshake.sent_bytes)
    if log_requests == "none" or (log_requests == "failed" and status < 400):
        return
    log.info(
        "websocket",
        path=scope["path"],
        status=status,
        close_code=scope["state"].get("close_code"),
        client=scope["client"][0] if scope.get("client") else "",
        seconds=round(seconds, 6),
        received_bytes=handshake.received_bytes,
        sent_bytes=handshake.sent_bytes,
    )
