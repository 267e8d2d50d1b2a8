"""One HTTP request as the doors see it: what a door adds to it stands in a class of its own."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skep.frontends.common.asgi import Message, Scope, Send
from skep.frontends.common.body import Body
from skep.frontends.common.headers import Headers

if TYPE_CHECKING:
    from skep.auth import Principal


@dataclass(slots=True, kw_only=True)
class Request:
    """A request, who asks, and whether the head of its answer is out already (``started``)."""

    scope: Scope
    headers: Headers
    body: Body
    request_id: str
    client: str
    """The client's address, for rate limits."""
    _send: Send
    caller: Principal | None = None
    started: bool = False

    @property
    def principal(self) -> Principal:
        """Who asks; only what is open to everybody is done for nobody."""
        assert self.caller is not None, "nobody has shown who they are"
        return self.caller

    @property
    def head_only(self) -> bool:
        """Whether the answer's body stays out (HEAD)."""
        return bool(self.scope["method"] == "HEAD")

    @property
    def must_close(self) -> bool:
        """Whether bytes of the body are still to come, so that the connection cannot carry another request."""
        has_body = bool(self.body.declared) or "transfer-encoding" in self.headers
        return has_body and not self.body.finished

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI's send, noting that the answer has begun."""
        self.started = True
        return self._send(message)


def client_of(scope: Scope) -> str:
    """The address that a request came from; empty where it is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""
