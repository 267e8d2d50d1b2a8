"""Answering a GET or HEAD of any content: ranges, conditions, a safe type and name (RFC 9110 sections 13 to 15)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import NamedTuple, Protocol

from skep.base.errors import PreconditionFailed
from skep.frontends.common.answers import send_bytes, send_stream
from skep.frontends.common.asgi import Message
from skep.frontends.common.conditions import Verdict, judge_read, quoted, range_applies
from skep.frontends.common.disposition import content_disposition, may_show_inline, safe_content_type
from skep.frontends.common.headers import Headers
from skep.frontends.common.httpdate import http_date
from skep.frontends.common.ranges import ByteRange, parse_range

AT_ONCE_BYTES = 256 << 10
"""Ranges up to this size are answered with one message."""
SANDBOX = "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; img-src 'self'; sandbox"


class Content(NamedTuple):
    """What is to be sent. ``read(offset, length)`` gives its bytes."""

    name: str
    size_bytes: int
    etag: str
    mime: str
    modified_us: int
    read: Callable[[int, int], AsyncIterator[bytes]]
    whole: Callable[[int, int], Awaitable[bytes]] | None = None
    """The same in one piece, for a range of up to AT_ONCE_BYTES; None: read it in parts."""


class Reader(Protocol):
    """A request that reads a content, whatever its door."""

    @property
    def headers(self) -> Headers: ...
    @property
    def head_only(self) -> bool: ...
    @property
    def stall_timeout_s(self) -> float:
        """How long a reader may take nothing."""
        ...

    def send(self, message: Message) -> Awaitable[None]: ...


async def serve(call: Reader, content: Content, *, download: bool) -> None:
    """Answer with the content, the ranges of it that are asked for, or 304.

    Raises PreconditionFailed, InvalidRange and what reading raises.
    """
    match judge_read(call.headers, content.etag, content.modified_us):
        case Verdict.NOT_MODIFIED:
            await send_bytes(call.send, 304, b"", _validators(content))
            return
        case Verdict.FAILED:
            raise PreconditionFailed("The content is not the one that the condition names.", etag=content.etag)
        case Verdict.GO_ON:
            pass
    headers = [*_validators(content), *_description(content, download)]
    ranges = _wanted_ranges(call, content)
    if ranges is None:
        await _send_one(call, 200, headers, content, 0, content.size_bytes)
    elif len(ranges) == 1:
        one = ranges[0]
        headers.append(("content-range", one.content_range(content.size_bytes)))
        await _send_one(call, 206, headers, content, one.start, one.size_bytes)
    else:
        await _send_several(call, headers, content, ranges)


async def _send_one(
    call: Reader, status: int, headers: list[tuple[str, str]], content: Content, start: int, size_bytes: int
) -> None:
    if content.whole is None or size_bytes > AT_ONCE_BYTES or call.head_only:
        await _send(call, status, headers, size_bytes, content.read(start, size_bytes))
        return
    body = await content.whole(start, size_bytes)
    await send_bytes(call.send, status, body, headers)


def _wanted_ranges(call: Reader, content: Content) -> tuple[ByteRange, ...] | None:
    """None: all of it. A HEAD has no ranges (RFC 9110 section 14.2)."""
    if call.head_only or not range_applies(call.headers, content.etag, content.modified_us):
        return None
    return parse_range(call.headers.get("range"), content.size_bytes)


def _validators(content: Content) -> list[tuple[str, str]]:
    return [
        ("etag", quoted(content.etag)),
        ("last-modified", http_date(content.modified_us)),
        ("cache-control", "private, no-cache"),
        ("accept-ranges", "bytes"),
    ]


def _description(content: Content, download: bool) -> list[tuple[str, str]]:
    """Type and name. Whatever could run as a page in the hive's own origin is sent as an attachment."""
    mime, is_safe = _kind(content.mime)
    attachment = download or not is_safe
    return [
        ("content-type", mime),
        ("content-disposition", content_disposition(content.name, attachment=attachment)),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", SANDBOX),
    ]


@lru_cache(maxsize=256)
def _kind(mime: str) -> tuple[str, bool]:
    """The type to send for a stored one, and whether a browser may show it."""
    sent = safe_content_type(mime)
    return sent, may_show_inline(sent)


async def _send(
    call: Reader, status: int, headers: list[tuple[str, str]], size_bytes: int, parts: AsyncIterator[bytes]
) -> None:
    headers.append(("content-length", str(size_bytes)))
    async with aclosing(closing_source(parts)) as stream:
        source = empty() if call.head_only else stream
        await send_stream(call.send, status, headers, source, stall_timeout_s=call.stall_timeout_s)


async def empty() -> AsyncIterator[bytes]:
    """No bytes."""
    parts: tuple[bytes, ...] = ()
    for part in parts:
        yield part


async def closing_source(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The parts as a generator, so that leaving early also closes what they come from."""
    try:
        async for part in parts:
            yield part
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()


async def _send_several(
    call: Reader, headers: list[tuple[str, str]], content: Content, ranges: Sequence[ByteRange]
) -> None:
    """A multipart/byteranges answer (RFC 9110 section 14.6), its length known before the first byte."""
    boundary = secrets.token_hex(16)
    mime = safe_content_type(content.mime)
    heads = [_part_head(boundary, mime, one.content_range(content.size_bytes)) for one in ranges]
    tail = f"\r\n--{boundary}--\r\n".encode()
    size = sum(len(head) for head in heads) + sum(one.size_bytes for one in ranges) + len(tail)
    kept = [(name, value) for name, value in headers if name != "content-type"]
    kept.append(("content-type", f"multipart/byteranges; boundary={boundary}"))
    await _send(call, 206, kept, size, _several(content, heads, ranges, tail))


def _part_head(boundary: str, mime: str, content_range: str) -> bytes:
    return f"\r\n--{boundary}\r\nContent-Type: {mime}\r\nContent-Range: {content_range}\r\n\r\n".encode("latin-1")


async def _several(
    content: Content, heads: Sequence[bytes], ranges: Sequence[ByteRange], tail: bytes
) -> AsyncIterator[bytes]:
    for head, one in zip(heads, ranges, strict=True):
        yield head
        async with aclosing(closing_source(content.read(one.start, one.size_bytes))) as parts:
            async for part in parts:
                yield part
    yield tail
