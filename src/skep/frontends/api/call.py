"""One call of the API as its operation sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from skep.base.errors import NodeNotFound, NotFound, SkepError
from skep.base.ids import Id, parse_id
from skep.frontends.common.answers import send_bytes, send_problem
from skep.frontends.common.problems import Problem
from skep.frontends.common.request import Request

if TYPE_CHECKING:
    from skep.frontends.api.services import Services

_encoder = msgspec.json.Encoder()
JSON_TYPE = "application/json"


@dataclass(slots=True, kw_only=True)
class Call(Request):
    """A request and what is needed to answer it.

    ``principal`` is who asks; only operations without a scope may see None there. ``path`` has the
    parts of the URL in braces. Streaming operations read ``body`` and answer through ``send``;
    ``started`` tells whether the head of an answer is out already.
    """

    services: Services
    path: Mapping[str, str]
    answer_headers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def method(self) -> str:
        """The HTTP method."""
        method: str = self.scope["method"]
        return method

    @property
    def stall_timeout_s(self) -> float:
        """How long a reader of the answer may take nothing."""
        return self.services.limits.idle_timeout_s

    def id(self, name: str, missing: type[NotFound] = NodeNotFound) -> Id:
        """The id in the URL. What does not parse as one names nothing: raises ``missing``."""
        text = self.path[name]
        try:
            return parse_id(text)
        except SkepError:
            raise missing(f"There is nothing with the id {text[:64]!r}.") from None

    async def answer(self, value: object, status: int = 200) -> None:
        """Answer with JSON; None with status 204 is no body."""
        if status == 204:
            await send_bytes(self.send, status, b"", self.answer_headers)
            return
        headers = [("content-type", JSON_TYPE), ("cache-control", "no-store"), *self.answer_headers]
        await send_bytes(self.send, status, _encoder.encode(value), headers, head_only=self.head_only)

    async def problem(self, problem: Problem) -> None:
        """Answer with problem details."""
        await send_problem(self.send, problem, self.request_id, head_only=self.head_only)
