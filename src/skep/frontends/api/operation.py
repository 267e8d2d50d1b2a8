"""Operations as data: what a route does, who may, what goes in and what comes out.

The handler's own annotations are the schema. A JSON operation is

    async def move(call: Call, body: Move) -> Node: ...

with any of ``query`` (from the URL's query) and ``body`` (from JSON), both msgspec structs; it
returns what is encoded. A streaming one takes what it likes from ``call`` and answers itself:

    async def put_by_path(call: Call, query: PutQuery) -> None: ...     # streams=("application/octet-stream",)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import msgspec

Handler: TypeAlias = Callable[..., Awaitable[object]]


class Nothing(msgspec.Struct, frozen=True):
    """An empty object."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value with another status than the operation's usual one."""

    value: T
    status: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path.

    ``scope``: what the credential must have (empty: any will do; None: anyone may call); ``admin``: for administrators;
    ``takes``: media types of a streamed body; ``gives``: media types of a streamed answer;
    ``status``: of the usual answer; ``also``: other statuses of success, for the document;
    ``ticketed``: a ticket in the query may stand for the Authorization header (common/content_tickets).
    """

    method: str
    path: str
    handler: Handler
    scope: str | None
    tag: str
    admin: bool = False
    status: int = 200
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    ticketed: bool = False

    @property
    def name(self) -> str:
        """The operation's id in the document."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """The rest of the handler's docstring."""
        lines = (self.handler.__doc__ or "").strip().partition("\n")[2].splitlines()
        return "\n".join(line.strip() for line in lines).strip()

    @property
    def streams(self) -> bool:
        """Whether the handler reads the body or writes the answer itself."""
        return bool(self.takes or self.gives)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a handler's annotations say."""

    query: type[msgspec.Struct] | None
    body: Any
    answer: Any


def signature_of(operation: Operation) -> Signature:
    """Read the annotations of an operation's handler. Resolves names, so call it late."""
    return _signature(operation.handler)


@lru_cache(maxsize=1024)
def _signature(handler: Callable[..., Any]) -> Signature:
    hints = get_type_hints(handler, include_extras=True)
    answer = hints.get("return")
    if get_origin(answer) is Answer:
        (answer,) = get_args(answer)
    return Signature(hints.get("query"), hints.get("body"), None if answer is type(None) else answer)
