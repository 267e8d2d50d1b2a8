"""The ASGI application of ``/api/events`` and ``/api/events/ticket``.

It raises the errors of the tree before an answer has begun; what mounts it makes problem details of them.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec

from skep.base.errors import MalformedRequest, NotFound
from skep.events.relay import Relay
from skep.frontends.common.answers import raw_headers, send_bytes
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.live.socket import serve_socket
from skep.frontends.live.sse import serve_events
from skep.frontends.live.streams import Streams
from skep.frontends.live.tickets import TICKET_S, Tickets

PATH = "/api/events"
TICKET_PATH = "/api/events/ticket"
PATHS = (PATH, TICKET_PATH)
QUERY_FIELDS_MAX = 16
_METHODS = {PATH: ("GET", "HEAD", "OPTIONS"), TICKET_PATH: ("POST", "OPTIONS")}


class LiveApp:
    """The door."""

    def __init__(self, streams: Streams, tickets: Tickets) -> None:
        self.streams = streams
        self.relay: Relay | None = None
        """To the other processes on the same database, where there may be some."""
        self._tickets = tickets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        scope["state"]["route"] = path
        if scope["type"] == "websocket":
            if path != PATH:
                raise NotFound(f"There is no WebSocket at {path}: live changes are at {PATH}.")
            await serve_socket(self.streams, scope, _query(scope), receive, send)
            return
        method = scope["method"]
        if method not in _METHODS[path] or method == "OPTIONS":
            await _allow(send, 204 if method == "OPTIONS" else 405, _METHODS[path])
        elif path == TICKET_PATH:
            await self._give_ticket(scope, send)
        else:
            query = _query(scope)
            await serve_events(self.streams, scope, query, receive, send, head_only=method == "HEAD")

    async def _give_ticket(self, scope: Scope, send: Send) -> None:
        """``POST /api/events/ticket``: a ticket for the credential of this request."""
        headers = scope["state"]["headers"]
        async with self.streams.handshakes.enter():
            guest = await self.streams.guests.admit(headers, {}, scope["client"][0])
        guest.principal.require("files:read")
        body = msgspec.json.encode({"ticket": self._tickets.make(guest.authorization), "expires_in_s": TICKET_S})
        await send_bytes(send, 201, body, [("content-type", "application/json"), ("cache-control", "no-store")])


async def _allow(send: Send, status: int, methods: tuple[str, ...]) -> None:
    headers = raw_headers([("allow", ", ".join(methods)), *([("content-length", "0")] if status != 204 else [])])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _query(scope: Scope) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            scope.get("query_string", b"").decode("ascii"),
            keep_blank_values=True,
            max_num_fields=QUERY_FIELDS_MAX,
            errors="strict",
        )
    except (ValueError, UnicodeDecodeError):
        raise MalformedRequest("The query of the URL does not parse.") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise MalformedRequest("A field of the query came twice: send it once.")
    return dict(pairs)
