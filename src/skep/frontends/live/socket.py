"""The WebSocket of ``/api/events`` (RFC 6455): many subscriptions over one connection, which fresh tokens prolong.

The credential is checked before the handshake is accepted, so no stranger's frame is ever read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from skep.base.clock import Clock
from skep.base.errors import ShuttingDown, SkepError
from skep.base.limits import TokenBucket
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.frontends.common.headers import Headers
from skep.frontends.live.messages import CLOSE_CODES, SUBPROTOCOL, Hello, Sent, decode_received, encoded
from skep.frontends.live.streams import Stream, Streams, forget_head
from skep.frontends.live.talk import GONE, Over, Talk

MESSAGE_BYTES_MAX = 16 << 10
INBOX_MAX = 64
MESSAGES_PER_S, MESSAGES_BURST = 10.0, 100.0
CLOSE_REASON_BYTES_MAX = 120
GUEST_BYTES, GUEST_BYTES_EACH_S = 4 << 20, 256 << 10
"""What a guest may send at once and in each second: more than its messages may come to."""


async def serve_socket(streams: Streams, scope: Scope, query: Mapping[str, str], receive: Receive, send: Send) -> None:
    """One connection from its handshake to its close. Raises, before it is accepted, what authentication meets."""
    headers: Headers = scope["state"]["headers"]
    offered = scope.get("subprotocols") or []
    await receive()
    async with streams.handshakes.enter():
        guest = await streams.guests.admit(headers, query, scope["client"][0], offered)
    if streams.stopping:
        raise ShuttingDown("The hive is stopping: connect again when it is back.")
    forget_head(scope)
    with streams.enter(guest, scope["state"]["request_id"]) as stream:
        scope["state"].get("known", _unbounded)(GUEST_BYTES, GUEST_BYTES_EACH_S)
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in offered else None
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        over = await _run(streams, stream, receive, send)
        scope["state"]["close_code"] = over.close_code
        if stream.gone:
            return
        reason = (over.closing.detail if over.closing else CLOSE_CODES.get(over.close_code, "")).encode()
        text = reason[:CLOSE_REASON_BYTES_MAX].decode(errors="ignore")
        try:
            async with asyncio.timeout(streams.limits.stall_s):
                await send({"type": "websocket.close", "code": over.close_code, "reason": text})
        except (OSError, TimeoutError):
            return


def _unbounded(size_bytes: int, each_s_bytes: int) -> None:
    """Where nobody watches the sockets."""


async def _run(streams: Streams, stream: Stream, receive: Receive, send: Send) -> Over:
    async def say(message: Sent) -> None:
        await send({"type": "websocket.send", "text": encoded(message)})

    talk = Talk(streams, stream, say, ends_when_empty=False)
    listening = asyncio.create_task(_listen(stream, receive, streams.clock))
    saying = asyncio.create_task(_say(streams, stream, talk))
    try:
        await asyncio.wait((listening, saying), return_when=asyncio.FIRST_COMPLETED)
        if saying.done():
            over = saying.result()
        else:
            over = listening.result()
            saying.cancel()
            await asyncio.wait((saying,))
        if over.closing is not None and not stream.gone:
            try:
                await talk.say(over.closing)
            except (SkepError, TimeoutError):
                return GONE
        return over
    finally:
        listening.cancel()
        saying.cancel()


async def _say(streams: Streams, stream: Stream, talk: Talk) -> Over:
    hello = Hello(
        request_id=stream.request_id, keepalive_s=streams.limits.keepalive_s, expires_in_s=stream.expires_in_s
    )
    try:
        await talk.say(hello)
    except (SkepError, TimeoutError):
        return GONE
    return await talk.run()


async def _listen(stream: Stream, receive: Receive, clock: Clock) -> Over:
    """Take the client's messages until it leaves or breaks the rules; why it is over."""
    pace = TokenBucket(clock, rate_per_s=MESSAGES_PER_S, burst=MESSAGES_BURST)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            stream.leave()
            return GONE
        text = message.get("text")
        if text is None:
            return Over(1003, None)
        if len(text) > MESSAGE_BYTES_MAX:
            return Over(1009, None)
        if pace.wait_s() > 0 or len(stream.inbox) >= INBOX_MAX:
            return Over(4429, None)
        try:
            stream.inbox.append(decode_received(text))
        except (msgspec.DecodeError, UnicodeEncodeError):
            return Over(4400, None)
        stream.news.set()
