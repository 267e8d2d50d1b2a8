"""``GET /api/events``: one subscription as Server-Sent Events (WHATWG HTML section 9.2).

``?space=&path=&node=&cursor=`` say what to follow; the header ``Last-Event-ID``, which a reconnecting browser sends,
goes before ``cursor``. Each event's id is the cursor after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from skep.base.errors import MalformedRequest, ShuttingDown, SkepError
from skep.frontends.common.answers import raw_headers
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.headers import Headers
from skep.frontends.live.messages import Changes, Hello, Keepalive, Resync, Sent, Subscribe, as_event
from skep.frontends.live.streams import Stream, Streams, forget_head
from skep.frontends.live.talk import Talk

TYPE = "text/event-stream"
RETRY_MS = 2_000
FIELDS = ("space", "path", "node", "cursor")
_HEADERS = raw_headers(
    [
        ("content-type", f"{TYPE}; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),  # nginx must not collect events
        ("x-content-type-options", "nosniff"),
    ]
)


async def serve_events(
    streams: Streams, scope: Scope, query: Mapping[str, str], receive: Receive, send: Send, *, head_only: bool
) -> None:
    """Answer with a stream that ends when its credential, its right or the hive does.

    Raises, before the head of the answer, what authentication and the subscription meet.
    """
    wish = _wish(query, scope["state"]["headers"])
    async with streams.handshakes.enter():
        guest = await streams.guests.admit(scope["state"]["headers"], query, scope["client"][0])
    if streams.stopping:
        raise ShuttingDown("The hive is stopping: send this again when it is back.")
    forget_head(scope)
    with streams.enter(guest, scope["state"]["request_id"]) as stream:
        voice = _Voice(stream, send)
        if await _begin(streams, stream, voice, wish, head_only=head_only):
            await _run(streams, stream, voice, receive)


async def _begin(streams: Streams, stream: Stream, voice: _Voice, wish: Subscribe, *, head_only: bool) -> bool:
    """Subscribe and say so; whether there is more to say. Raises, before the head, what the subscription meets."""
    begun = await stream.subscribe(wish)
    await voice.head()
    if head_only:
        await voice.part(b"", more=False)
        return False
    await voice.part(f"retry: {RETRY_MS}\n".encode())
    hello = Hello(
        request_id=stream.request_id, keepalive_s=streams.limits.keepalive_s, expires_in_s=stream.expires_in_s
    )
    await voice.say(hello)
    await voice.part(as_event(begun, begun.cursor))
    return True


async def _run(streams: Streams, stream: Stream, voice: _Voice, receive: Receive) -> None:
    watching = asyncio.create_task(_watch(stream, receive))
    talk = Talk(streams, stream, voice.say, ends_when_empty=True)
    try:
        over = await talk.run()
        if over.closing is not None:
            try:
                await talk.say(over.closing)
            except (SkepError, TimeoutError):
                return
        if not stream.gone:
            await voice.part(b"", more=False)
    except OSError:
        return
    finally:
        watching.cancel()


async def _watch(stream: Stream, receive: Receive) -> None:
    """Notice that the client left; a body, which nobody needs, is passed over."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.leave()


def _wish(query: Mapping[str, str], headers: Headers) -> Subscribe:
    asked = {name: query[name] for name in FIELDS if query.get(name)}
    unknown = sorted(set(query) - {*FIELDS, "ticket"})
    last = headers.get("last-event-id")
    try:
        wish = msgspec.convert({"type": "subscribe", **asked, **({"cursor": last} if last else {})}, Subscribe)
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"The query does not fit: {error}.") from None
    if unknown and not {"token", "access_token", "bearer", "authorization", "password"}.intersection(unknown):
        raise MalformedRequest(f"The query has an unknown field {unknown[0][:40]!r}: there are {', '.join(FIELDS)}.")
    return wish


class _Voice:
    """Writes messages as events."""

    __slots__ = ("_send", "_stream")

    def __init__(self, stream: Stream, send: Send) -> None:
        self._stream = stream
        self._send = send

    async def head(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})

    async def say(self, message: Sent) -> None:
        if isinstance(message, Keepalive):
            await self.part(b":\n\n")
        elif isinstance(message, Changes | Resync):
            await self.part(as_event(message, message.cursor))
        else:
            await self.part(as_event(message))

    async def part(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
