"""The hive's end of a link that stands: a store whose verbs are requests.

What always holds:
- a stream's data never exceeds what was granted; an agent that sends more, or on a stream that was never opened, is
  cut off (``received`` raises);
- after ``cut`` every call that waits has failed, and every new one fails at once;
- a call that is cancelled leaves nothing: its stream is cancelled and what still comes for it is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from skep.base.errors import CorruptRecord, MalformedRequest, SkepError, StoreOffline, StoreUnavailable
from skep.base.ids import Id, id_text, parse_id
from skep.stores.identity import StoreIdentity
from skep.stores.keys import check_key, check_list_bounds, check_size
from skep.stores.link.failures import from_wire
from skep.stores.link.frames import (
    DATA_BYTES,
    STREAM_MAX,
    Frame,
    Kind,
    Slices,
    decode_window,
    encode,
    encode_data,
    encode_window,
)
from skep.stores.link.handshake import Ranges
from skep.stores.link.messages import Failure, Request, Response, encode_message, read_message
from skep.stores.link.outbox import Outbox
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Usage

OBJECT_SIZE_MAX_BYTES = 128 << 20
FIRST_WINDOW_BYTES = 1 << 20
"""What may be sent of a put before the agent grants more."""
GET_WINDOW_BYTES = 8 << 20
STREAMS = 16
PROPERTIES = Properties(kind="array", durable=True, object_size_max_bytes=OBJECT_SIZE_MAX_BYTES, concurrency=STREAMS)


class _Call:
    """One open stream."""

    __slots__ = ("answer", "credit_bytes", "ended", "failure", "granted_bytes", "news", "parts", "received_bytes")

    def __init__(self) -> None:
        self.answer: Response | None = None
        self.failure: SkepError | None = None
        self.ended = False
        self.parts: list[memoryview] = []
        self.received_bytes = 0
        self.granted_bytes = 0
        self.credit_bytes = FIRST_WINDOW_BYTES
        self.news = asyncio.Event()

    def fail(self, error: SkepError) -> None:
        if self.failure is None:
            self.failure = error
        self.news.set()

    async def changed(self) -> None:
        """Wait for something new. Raises the failure."""
        await self.news.wait()
        self.news.clear()
        if self.failure is not None:
            raise self.failure

    async def answered(self) -> Response:
        """The response, once all that follows it has come. Raises the failure."""
        while self.answer is None or not self.ended:
            await self.changed()
        return self.answer


class LinkedStore:
    """A store at the other end of a link. See ``Store`` and ``Claimable``; ``who`` names it in errors."""

    def __init__(self, outbox: Outbox, who: str, *, streams: int = STREAMS) -> None:
        self._outbox = outbox
        self._who = who
        self._turn = asyncio.Semaphore(streams)
        self._calls: dict[int, _Call] = {}
        self._last = 0
        self._closed: SkepError | None = None
        self.calls_done = 0
        self.changes_done = 0
        """Puts and deletes that the agent acknowledged."""

    @property
    def properties(self) -> Properties:
        return PROPERTIES

    @property
    def busy(self) -> bool:
        """Whether calls wait for an answer."""
        return bool(self._calls)

    # What comes from the agent.

    def received(self, frame: Frame) -> None:
        """Take in a frame of a stream. Raises MalformedRequest when the agent breaks the protocol."""
        call = self._calls.get(frame.stream)
        if call is None:
            if frame.stream > self._last:
                raise MalformedRequest("the agent answers a request that was never made")
            return
        match frame.kind:
            case Kind.DATA:
                self._take_data(call, frame)
                return
            case Kind.RESPONSE:
                call.answer = read_message(frame, Response)
                call.ended = frame.end
            case Kind.ERROR:
                call.failure = from_wire(read_message(frame, Failure), self._who)
            case Kind.WINDOW:
                call.credit_bytes += decode_window(frame)
            case _:
                raise MalformedRequest(f"an agent does not send {frame.kind.name}")
        call.news.set()

    def _take_data(self, call: _Call, frame: Frame) -> None:
        size_bytes = frame.payload.nbytes
        call.received_bytes += size_bytes
        if call.answer is None or call.ended or call.received_bytes > call.granted_bytes:
            raise MalformedRequest("the agent sends data that nobody asked for")
        call.parts.append(frame.payload)
        call.ended = frame.end
        if frame.end or call.granted_bytes - call.received_bytes <= GET_WINDOW_BYTES // 2:
            call.news.set()

    def cut(self, error: SkepError) -> None:
        """Fail what waits and whatever is asked later."""
        if self._closed is None:
            self._closed = error
        for call in list(self._calls.values()):
            call.fail(self._closed)

    # The verbs.

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        size_bytes = check_size(key, parts, OBJECT_SIZE_MAX_BYTES)
        async with self._turn:
            with self._open(Request(verb="put", key=key, length=size_bytes), end=size_bytes == 0) as (stream, call):
                await self._send_data(stream, call, Slices(parts), size_bytes)
                await call.answered()
        self.changes_done += 1

    async def _send_data(self, stream: int, call: _Call, slices: Slices, left_bytes: int) -> None:
        while left_bytes:
            while not call.credit_bytes and call.failure is None:
                await call.changed()
            if call.failure is not None:
                raise call.failure
            step_bytes = min(DATA_BYTES, call.credit_bytes, left_bytes)
            left_bytes -= step_bytes
            call.credit_bytes -= step_bytes
            await self._outbox.send(encode_data(slices.take(step_bytes), stream=stream, end=not left_bytes))

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        asked_bytes = None if length is None else min(length, OBJECT_SIZE_MAX_BYTES)
        window_bytes = GET_WINDOW_BYTES if asked_bytes is None else min(GET_WINDOW_BYTES, asked_bytes)
        request = Request(verb="get", key=key, offset=offset, length=asked_bytes, window=window_bytes)
        async with self._turn:
            with self._open(request) as (stream, call):
                call.granted_bytes = window_bytes
                while call.answer is None or not call.ended:
                    await call.changed()
                    self._grant(stream, call)
                return self._joined(call, asked_bytes)

    def _grant(self, stream: int, call: _Call) -> None:
        """Let more come when half of the window is used up, as long as more is announced."""
        announced_bytes = call.answer.size if call.answer is not None else None
        if call.ended or announced_bytes is None:
            return
        if announced_bytes > OBJECT_SIZE_MAX_BYTES:
            raise StoreUnavailable(f"{self._who} announces an object of {announced_bytes} bytes, more than it may hold")
        rest_bytes = announced_bytes - call.granted_bytes
        if rest_bytes > 0 and call.granted_bytes - call.received_bytes <= GET_WINDOW_BYTES // 2:
            more_bytes = min(rest_bytes, GET_WINDOW_BYTES)
            call.granted_bytes += more_bytes
            self._outbox.post(encode_window(stream, more_bytes))

    def _joined(self, call: _Call, asked_bytes: int | None) -> bytes:
        assert call.answer is not None
        if call.received_bytes != (call.answer.size or 0):
            raise StoreUnavailable(f"{self._who} sent {call.received_bytes} bytes and announced {call.answer.size}")
        if asked_bytes is not None and call.received_bytes > asked_bytes:
            raise StoreUnavailable(f"{self._who} sent {call.received_bytes} bytes and was asked for {asked_bytes}")
        return b"".join(call.parts)

    async def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        response = await self._ask(Request(verb="stat", key=key))
        if response.size is None:
            raise StoreUnavailable(f"{self._who} answers a stat without a size")
        return ObjectInfo(key, response.size)

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._ask(Request(verb="delete", key=key))
        self.changes_done += 1

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        check_list_bounds(prefix, after)
        while True:
            page = await self._ask(Request(verb="list", prefix=prefix, after=after))
            for key, size_bytes in page.items:
                if key <= after or not key.startswith(prefix):
                    raise StoreUnavailable(f"{self._who} lists out of order")
                after = key
                yield ObjectInfo(key, size_bytes)
            if not page.more or not page.items:
                return

    async def usage(self) -> Usage:
        response = await self._ask(Request(verb="usage"))
        return Usage(response.used, response.free)

    async def audit(self, key: str, nonce: bytes, ranges: Ranges) -> bytes:
        """The agent's answer to a challenge: ``handshake.audit_digest``. Raises ObjectNotFound, StoreUnavailable."""
        check_key(key)
        response = await self._ask(Request(verb="audit", key=key, nonce=nonce.hex(), ranges=[*ranges]))
        try:
            return bytes.fromhex(response.digest)
        except ValueError:
            raise StoreUnavailable(f"{self._who} answers an audit with no digest") from None

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        request = Request(verb="claim", hive_id=id_text(hive_id), store_id=id_text(store_id))
        identity = self._identity_of(await self._ask(request))
        if identity is None:
            raise StoreUnavailable(f"{self._who} took the claim and has no mark")
        return identity

    async def identity(self) -> StoreIdentity | None:
        return self._identity_of(await self._ask(Request(verb="identity")))

    def _identity_of(self, response: Response) -> StoreIdentity | None:
        if not response.hive_id:
            return None
        try:
            return StoreIdentity(parse_id(response.hive_id), parse_id(response.store_id), response.created_us)
        except SkepError:
            raise CorruptRecord(f"{self._who} has a mark that does not parse") from None

    async def _ask(self, request: Request) -> Response:
        async with self._turn:
            with self._open(request) as (_, call):
                return await call.answered()

    @contextmanager
    def _open(self, request: Request, *, end: bool = True) -> Iterator[tuple[int, _Call]]:
        if self._closed is not None:
            raise self._closed
        if self._last == STREAM_MAX:
            raise StoreOffline(f"{self._who} has to connect anew")
        self._last += 1
        stream, call = self._last, _Call()
        self._calls[stream] = call
        try:
            self._outbox.post(encode_message(Kind.REQUEST, request, stream=stream, end=end))
            yield stream, call
        finally:
            del self._calls[stream]
            self.calls_done += 1
            if self._closed is None and not call.ended and call.failure is None:
                self._outbox.post(encode(Kind.CANCEL, stream=stream))
