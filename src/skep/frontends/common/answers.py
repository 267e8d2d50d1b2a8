"""Writing answers to ASGI's ``send``: whole, or streamed part by part with the socket's back-pressure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import lru_cache

from skep.base.errors import ClientGone
from skep.base.waiting import within
from skep.frontends.common.asgi import RawHeaders, Send
from skep.frontends.common.problems import PROBLEM_TYPE, Problem


class AnswerBroken(Exception):
    """An answer failed after its head was out: the connection must be cut, so that the client notices."""


def raw_headers(pairs: Iterable[tuple[str, str]]) -> RawHeaders:
    """Headers as ASGI wants them. Values are latin-1; a line break in one is a bug and raises ValueError."""
    raw: RawHeaders = []
    for name, value in pairs:
        if "\r" in value or "\n" in value:
            raise ValueError(f"line break in the header {name}")
        raw.append((_raw_name(name), value.encode("latin-1")))
    return raw


@lru_cache(maxsize=256)
def _raw_name(name: str) -> bytes:
    return name.lower().encode("latin-1")


async def send_bytes(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[str, str]], *, head_only: bool = False
) -> None:
    """One whole answer; ``head_only`` leaves the body out and keeps its Content-Length (HEAD)."""
    raw = raw_headers(headers)
    if status not in (204, 304):
        raw.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head_only else body})


async def send_problem(
    send: Send, problem: Problem, request_id: str | None, *, head_only: bool = False, close: bool = False
) -> None:
    """A failure as application/problem+json."""
    headers = [("content-type", PROBLEM_TYPE), ("cache-control", "no-store"), *problem.headers]
    if close:
        headers.append(("connection", "close"))
    await send_bytes(send, problem.status, problem.encode(request_id), headers, head_only=head_only)


async def send_stream(
    send: Send,
    status: int,
    headers: Iterable[tuple[str, str]],
    parts: AsyncIterator[bytes],
    *,
    stall_timeout_s: float,
) -> int:
    """A streamed answer; returns the body's size in bytes.

    The first part is fetched before the head is sent, so that content that cannot be read is a
    clean error and not a broken 200. Each part waits until the socket has room; a reader that
    takes nothing for ``stall_timeout_s`` raises ClientGone. The caller closes ``parts``.
    """
    first = await anext(parts, b"")
    await send({"type": "http.response.start", "status": status, "headers": raw_headers(headers)})
    sent_bytes = 0
    part: bytes | None = first
    while part is not None:
        sent_bytes += len(part)
        await _send_part(send, part, stall_timeout_s)
        part = await anext(parts, None)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    return sent_bytes


async def _send_part(send: Send, part: bytes, stall_timeout_s: float) -> None:
    try:
        await within(send({"type": "http.response.body", "body": bytes(part), "more_body": True}), stall_timeout_s)
    except TimeoutError:
        raise ClientGone(f"The client took no byte for {stall_timeout_s:g} s.") from None
    except OSError as error:
        raise ClientGone("The client closed the connection while the answer was sent.") from error
