"""One request of the door as its verbs see it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from skep.frontends.blocks.callers import Caller
from skep.frontends.blocks.errors import Refusal
from skep.frontends.blocks.services import BlocksGround
from skep.frontends.common.asgi import Message
from skep.frontends.common.request import Request


@dataclass(slots=True, kw_only=True)
class BlockCall(Request):
    """A request. ``prefix_name`` and ``path`` are those of the URL."""

    ground: BlocksGround
    prefix_name: str = ""
    path: str = ""

    @property
    def stall_timeout_s(self) -> float:
        """How long a reader may take nothing."""
        return self.ground.idle_timeout_s

    @property
    def full_path(self) -> str:
        """The prefix and the path, as changes are told."""
        return f"{self.prefix_name}/{self.path}"

    def send(self, message: Message) -> Awaitable[None]:
        """See ``Request``; counts what is sent."""
        self.ground.counts.sent_bytes += len(message.get("body", b""))
        return Request.send(self, message)

    async def who(self) -> Caller:
        """Who asks, wherever they may come in. Raises Refusal, what authentication meets."""
        if "authorization" not in self.headers:
            raise Refusal(403, "No authorization given")
        return await self.ground.callers.caller(self.headers, self.client)
