"""The head of a request: its headers by name, and the checks that every door needs before a body.

What always holds for an accepted head: at most one Content-Length, of digits alone, and never
together with Transfer-Encoding (RFC 9112 section 6.1: the pair is how requests are smuggled);
no header that must be single comes twice; names and values together are within the limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from skep.base.errors import BodyTooLarge, MalformedRequest
from skep.frontends.common.asgi import Scope

_DIGITS = re.compile(r"[0-9]{1,18}\Z")
_LIST_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "cookie",
        "forwarded",
        "if-match",
        "if-none-match",
        "pragma",
        "te",
        "trailer",
        "upgrade",
        "via",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
    }
)
_SINGLE_HEADERS = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "content-range",
        "host",
        "if-modified-since",
        "if-range",
        "if-unmodified-since",
        "range",
        "transfer-encoding",
    }
)


class Headers:
    """The headers of one request, by lower-case name; list-valued ones are joined with commas."""

    __slots__ = ("_values",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        values: dict[str, str] = {}
        for raw_name, raw_value in raw:
            name = raw_name.decode("latin-1").lower()
            value = raw_value.decode("latin-1").strip()
            if name not in values:
                values[name] = value
            elif name in _LIST_HEADERS:
                values[name] += ("; " if name == "cookie" else ", ") + value
            elif name in _SINGLE_HEADERS and values[name] != value:
                raise MalformedRequest(f"The header {name} came twice with different values: send it once.")
        self._values = values

    def get(self, name: str) -> str | None:
        """The value under a lower-case name, or None."""
        return self._values.get(name)

    def text(self, name: str) -> str | None:
        """A value that may hold UTF-8, which ASGI hands over as bytes: decoded, or None."""
        value = self._values.get(name)
        if value is None:
            return None
        try:
            return value.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            return value

    def replace(self, name: str, value: str) -> None:
        """Put another value under a lower-case name."""
        self._values[name] = value

    def forget(self) -> None:
        """Let go of all of them: of a request that goes on for hours, once they have been read."""
        self._values = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, name: str) -> bool:
        return name in self._values


def head_bytes(scope: Scope) -> int:
    """The size of the request's path, query and headers."""
    fields: list[tuple[bytes, bytes]] = scope["headers"]
    size = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
    for name, value in fields:
        size += len(name) + len(value) + 4
    return size


def declared_length(headers: Headers) -> int | None:
    """The body's length in bytes as Content-Length says it; None when it does not.

    Raises MalformedRequest for a length that is no number, and for one that comes with Transfer-Encoding.
    """
    text = headers.get("content-length")
    if text is None:
        return None
    if "transfer-encoding" in headers:
        raise MalformedRequest("Both Content-Length and Transfer-Encoding were sent: send one of them.")
    if not _DIGITS.match(text):
        raise MalformedRequest(f"The Content-Length {text[:40]!r} is not a number of bytes.")
    return int(text)


def check_head(scope: Scope, limit_bytes: int) -> Headers:
    """The headers of an HTTP scope. Raises BodyTooLarge (head over its limit) and MalformedRequest."""
    size = head_bytes(scope)
    if size > limit_bytes:
        raise BodyTooLarge(
            f"The request's line and headers are {size} bytes; at most {limit_bytes} are taken.",
            limit_bytes=limit_bytes,
            part="head",
        )
    headers = Headers(scope["headers"])
    declared_length(headers)
    return headers
