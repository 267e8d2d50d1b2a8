"""``/api/agents/link``: a WebSocket (RFC 6455, ASGI's form of it) as the transport of an agent link.

Everything about the link itself is in ``durability.agents`` and ``stores.link``; here are only its messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from skep.base.clock import Clock
from skep.base.errors import MalformedRequest, NotFound
from skep.base.limits import Gate
from skep.durability.agents import Agents
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.stores.link.frames import SUBPROTOCOL
from skep.stores.link.outbox import Outgoing, joined

LINK_PATH: Final = "/api/agents/link"
LINKS_MAX: Final = 4_096
ACCEPT_WAIT_S: Final = 5.0


class AgentDoor:
    """The ASGI application."""

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents = agents
        self._gate = Gate("agent links", LINKS_MAX, clock, wait_s=ACCEPT_WAIT_S, queue_max=LINKS_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["route"] = LINK_PATH
        if scope["type"] != "websocket":
            raise NotFound("Agents connect here by WebSocket: `skep agent --help`.")
        await receive()
        if SUBPROTOCOL not in (scope.get("subprotocols") or []):
            raise MalformedRequest(f"This WebSocket speaks {SUBPROTOCOL}: name it as the subprotocol.")
        async with self._gate.enter():
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL, "headers": []})
            client = scope.get("client")
            known: Callable[[int | None], None] = scope["state"].get("known", lambda size_bytes: None)
            transport = SocketTransport(receive, send)
            await self._agents.serve(transport, client[0] if client else None, lambda: known(None))


class SocketTransport:
    """See ``durability.agents.session.Transport``."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._over = False

    async def receive(self) -> bytes | None:
        """The next message; None when the agent is gone. Raises MalformedRequest for text."""
        if self._over:
            return None
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._over = True
            return None
        raw = message.get("bytes")
        if raw is None:
            raise MalformedRequest("an agent sends binary messages only")
        return bytes(raw)

    async def send(self, message: Outgoing) -> None:
        """Send one message. Raises ConnectionResetError when the agent is gone."""
        if self._over:
            raise ConnectionResetError("the agent is gone")
        try:
            await self._send({"type": "websocket.send", "bytes": joined(message)})
        except (asyncio.CancelledError, OSError):
            raise
        except Exception as error:  # each server has its own for this
            self._over = True
            raise ConnectionResetError("the agent is gone") from error

    async def close(self) -> None:
        """Close the WebSocket."""
        if self._over:
            return
        self._over = True
        try:
            await self._send({"type": "websocket.close", "code": 1000})
        except (asyncio.CancelledError, OSError):
            raise
        except Exception as error:
            raise ConnectionResetError("the agent is gone") from error
