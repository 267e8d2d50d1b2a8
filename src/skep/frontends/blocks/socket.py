"""``/api/v0/websocket/<prefix>`` and ``/api/v0/websocket/<prefix>/<path>``: changes as they happen (RFC 6455).

One JSON text for each change. A path is for whoever knows it, a prefix for its owner. What a client says is read and
forgotten. Whoever takes too little is sent away (1013) and reads anew.
"""

from __future__ import annotations

import asyncio

import msgspec

from skep.base.errors import SkepError
from skep.base.logs import get_logger
from skep.base.waiting import within
from skep.frontends.blocks.callers import writable_by
from skep.frontends.blocks.errors import Refusal, refusal_of
from skep.frontends.blocks.news import Listener
from skep.frontends.blocks.services import BlocksGround
from skep.frontends.common.answers import raw_headers
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.headers import Headers
from skep.frontends.common.request import client_of

log = get_logger("skep.blocks")
SUBPROTOCOL = "v0.ws.block.qabel.de"
CLIENT_BYTES, CLIENT_BYTES_EACH_S = 256 << 10, 4 << 10
"""What the owner of a prefix may send at once and in each second, though nothing need be said."""
MESSAGES_MAX = 1_000
"""So many messages of a client are read and forgotten; it is sent away then."""


async def serve_socket(
    ground: BlocksGround, scope: Scope, receive: Receive, send: Send, prefix: str, path: str
) -> None:
    """One connection from its handshake to its close; ``path`` is empty for a whole prefix."""
    await receive()
    try:
        if path:
            subject = _of_path(prefix, path)
        else:
            subject = await _of_prefix(ground, scope, prefix)
        with ground.sockets.enter(client_of(scope)), ground.news.listening(subject) as listener:
            offered = scope.get("subprotocols") or []
            if SUBPROTOCOL not in offered:
                log.warning("a client of the block API's WebSocket does not offer its subprotocol", offered=offered[:8])
            chosen = SUBPROTOCOL if SUBPROTOCOL in offered else None
            if not path:  # whoever listens to a path stays a stranger, who may send little
                scope["state"].get("known", _unbounded)(CLIENT_BYTES, CLIENT_BYTES_EACH_S)
            await send({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
            ground.counts.sockets += 1
            try:
                await _run(ground, listener, receive, send)
            finally:
                ground.counts.sockets -= 1
    except SkepError as error:
        await _refuse(scope, send, refusal_of(error))
    except Refusal as refusal:
        await _refuse(scope, send, refusal)


def _unbounded(size_bytes: int, each_s_bytes: int) -> None:
    """Where nobody watches the sockets."""


def _of_path(prefix: str, path: str) -> str:
    """Blocks never change: nobody listens to one. Raises Refusal."""
    if "blocks" in path:
        raise Refusal(405, "Method Not Allowed")
    return f"{prefix}/{path}"


async def _of_prefix(ground: BlocksGround, scope: Scope, prefix: str) -> str:
    """The prefix, if whoever asks has it. Raises Refusal, what authentication meets."""
    headers: Headers = scope["state"]["headers"]
    if "authorization" not in headers:
        raise Refusal(403, "No authorization given")
    caller = await ground.callers.caller(headers, client_of(scope))
    if await writable_by(caller, ground.filesystem, prefix) is None:
        raise Refusal(403, "Not authorized for this prefix")
    return prefix


async def _run(ground: BlocksGround, listener: Listener, receive: Receive, send: Send) -> None:
    listening = asyncio.create_task(_hear(ground, receive))
    telling = asyncio.create_task(_tell(ground, listener, send))
    try:
        done, _ = await asyncio.wait((listening, telling), return_when=asyncio.FIRST_COMPLETED)
        if listening in done and listening.result():
            return
        code = 1008 if listening in done else 1012 if ground.news.ended else 1013
        await within(send({"type": "websocket.close", "code": code, "reason": ""}), ground.idle_timeout_s)
    except (OSError, TimeoutError):
        return
    finally:
        listening.cancel()
        telling.cancel()
        await asyncio.gather(listening, telling, return_exceptions=True)


async def _hear(ground: BlocksGround, receive: Receive) -> bool:
    """Read and forget what the client says; whether it left."""
    for _ in range(MESSAGES_MAX):
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return True
        ground.counts.messages += 1
        log.debug("a client of the block API's WebSocket spoke", size_bytes=len(message.get("text") or ""))
    return False


async def _tell(ground: BlocksGround, listener: Listener, send: Send) -> None:
    """Send each change; returns when no more can be told."""
    while (happening := await listener.next()) is not None:
        text = msgspec.json.encode(happening).decode()
        try:
            await within(send({"type": "websocket.send", "text": text}), ground.idle_timeout_s)
        except (OSError, TimeoutError):
            return


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer the handshake in this door's words, where the server can; else close it, which is a 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason[:120]})
        return
    headers = [("content-type", "text/html; charset=UTF-8"), ("content-length", str(len(refusal.body)))]
    start = {"type": "websocket.http.response.start", "status": refusal.status, "headers": raw_headers(headers)}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": refusal.body, "more_body": False})
