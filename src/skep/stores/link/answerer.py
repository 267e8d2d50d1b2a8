"""The agent's end of a link that stands: requests become calls of a store.

What always holds:
- at most ``streams`` requests run; what they hold of shards is inside the memory budget, except a first window each;
- a put reaches the store only when all its bytes have come, so that a cut link leaves nothing;
- the bandwidth limits count every byte of shards, whichever way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from skep.base.errors import (
    BodyTooLarge,
    LengthMismatch,
    MalformedRequest,
    ObjectNotFound,
    RateLimited,
    SkepError,
    StoreReadOnly,
    StoreUnavailable,
)
from skep.base.ids import id_text, parse_id
from skep.base.limits import ByteBudget
from skep.base.logs import get_logger
from skep.stores.identity import StoreIdentity, claimable
from skep.stores.link.caller import FIRST_WINDOW_BYTES, OBJECT_SIZE_MAX_BYTES
from skep.stores.link.failures import to_wire
from skep.stores.link.frames import DATA_BYTES, Frame, Kind, data_header, decode_window, encode_window
from skep.stores.link.handshake import audit_digest
from skep.stores.link.messages import LIST_PAGE, Request, Response, encode_message, read_message
from skep.stores.link.outbox import Outbox
from skep.stores.link.pace import Pacer
from skep.stores.protocol import Buffer, Store

PACED_BYTES = 64 << 10
"""The size of data frames and grants while a bandwidth limit holds: small, so that it is even."""
SMALL_BYTES = 1 << 20
_log = get_logger("skep.agent")


class _Stream:
    """One request that is being answered."""

    __slots__ = ("credit_bytes", "ended", "granted_bytes", "news", "parts", "received_bytes", "task")

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.received_bytes = 0
        self.granted_bytes = FIRST_WINDOW_BYTES
        self.credit_bytes = 0
        self.ended = False
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Answerer:
    """Serves a store over one link. ``resting`` says why no new data is taken now, or nothing."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        *,
        memory: ByteBudget,
        up: Pacer,
        down: Pacer,
        streams: int,
        resting: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._memory = memory
        self._up, self._down = up, down
        self._streams_max = streams
        self._resting = resting
        self._streams: dict[int, _Stream] = {}
        self._last = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self._verbs: Mapping[str, Callable[[Request], Awaitable[Response]]] = {
            "stat": self._stat,
            "delete": self._delete,
            "list": self._list,
            "usage": self._usage,
            "audit": self._audit,
            "claim": self._claim,
            "identity": self._identity,
        }

    @property
    def busy(self) -> bool:
        """Whether requests are being answered."""
        return bool(self._streams)

    def received(self, frame: Frame) -> None:
        """Take in a frame of a stream. Raises MalformedRequest when the hive breaks the protocol."""
        if frame.kind is Kind.REQUEST:
            self._begin(frame)
            return
        stream = self._streams.get(frame.stream)
        if stream is None:
            if frame.stream > self._last:
                raise MalformedRequest("the hive continues a request that was never made")
            return
        match frame.kind:
            case Kind.DATA:
                self._take_data(stream, frame)
            case Kind.WINDOW:
                stream.credit_bytes += decode_window(frame)
                stream.news.set()
            case Kind.CANCEL:
                if stream.task is not None:
                    stream.task.cancel()
            case _:
                raise MalformedRequest(f"a hive does not send {frame.kind.name}")

    def _take_data(self, stream: _Stream, frame: Frame) -> None:
        size_bytes = frame.payload.nbytes
        stream.received_bytes += size_bytes
        if stream.ended or stream.received_bytes > stream.granted_bytes:
            raise MalformedRequest("the hive sends more data than it was granted")
        self.received_bytes += size_bytes
        stream.parts.append(frame.payload)
        if frame.end:
            stream.ended = True
            stream.news.set()

    def _begin(self, frame: Frame) -> None:
        if frame.stream <= self._last:
            raise MalformedRequest("the hive opens a stream twice")
        self._last = frame.stream
        request = read_message(frame, Request)
        if len(self._streams) >= self._streams_max:
            error = RateLimited(f"more than {self._streams_max} requests at once", retry_after_s=1)
            self._fail(frame.stream, error)
            return
        stream = _Stream()
        stream.ended = frame.end
        self._streams[frame.stream] = stream
        stream.task = asyncio.create_task(self._answer(frame.stream, stream, request))
        stream.task.add_done_callback(lambda _: self._streams.pop(frame.stream, None))

    async def _answer(self, number: int, stream: _Stream, request: Request) -> None:
        try:
            if request.verb == "put":
                await self._put(number, stream, request)
            elif request.verb == "get":
                await self._get(number, stream, request)
            else:
                response = await self._verbs[request.verb](request)
                self._outbox.post(encode_message(Kind.RESPONSE, response, stream=number))
        except SkepError as error:
            self._fail(number, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _log.exception("bug", verb=request.verb)
            self._fail(number, StoreUnavailable(f"the agent failed: {type(error).__name__}"))

    def _fail(self, number: int, error: SkepError) -> None:
        self._outbox.post(encode_message(Kind.ERROR, to_wire(error), stream=number))

    async def _put(self, number: int, stream: _Stream, request: Request) -> None:
        size_bytes = request.length
        if size_bytes is None or size_bytes > OBJECT_SIZE_MAX_BYTES:
            raise BodyTooLarge(f"a put says how many bytes follow, at most {OBJECT_SIZE_MAX_BYTES}")
        reason = self._resting()
        if reason is not None:
            raise StoreReadOnly(reason)
        async with self._memory.hold(size_bytes):
            await self._receive(number, stream, size_bytes)
            await self._store.put(request.key, stream.parts)
        self._outbox.post(encode_message(Kind.RESPONSE, Response(), stream=number))

    async def _receive(self, number: int, stream: _Stream, size_bytes: int) -> None:
        """Grant what is still to come, at the pace that is allowed, and wait for it."""
        step_bytes = OBJECT_SIZE_MAX_BYTES if self._down.rate is None else PACED_BYTES
        await self._down.spend(min(size_bytes, FIRST_WINDOW_BYTES))
        while stream.granted_bytes < size_bytes:
            more_bytes = min(step_bytes, size_bytes - stream.granted_bytes)
            stream.granted_bytes += more_bytes
            self._outbox.post(encode_window(number, more_bytes))
            await self._down.spend(more_bytes)
        while not stream.ended:
            await stream.news.wait()
            stream.news.clear()
        if stream.received_bytes != size_bytes:
            raise LengthMismatch(f"{stream.received_bytes} bytes came and {size_bytes} were announced")

    async def _get(self, number: int, stream: _Stream, request: Request) -> None:
        stream.credit_bytes += request.window
        length = request.length
        if length is None or length > SMALL_BYTES:
            there_bytes = max(0, (await self._store.stat(request.key)).size_bytes - request.offset)
            length = there_bytes if length is None else min(length, there_bytes)
        if length > OBJECT_SIZE_MAX_BYTES:
            raise BodyTooLarge(f"at most {OBJECT_SIZE_MAX_BYTES} bytes are read at once")
        async with self._memory.hold(length):
            value = await self._store.get(request.key, request.offset, length)
            response = Response(size=len(value))
            self._outbox.post(encode_message(Kind.RESPONSE, response, stream=number, end=not value))
            await self._send(number, stream, memoryview(value))

    async def _send(self, number: int, stream: _Stream, rest: memoryview) -> None:
        while rest:
            while not stream.credit_bytes:
                await stream.news.wait()
                stream.news.clear()
            step_bytes = min(DATA_BYTES if self._up.rate is None else PACED_BYTES, stream.credit_bytes, len(rest))
            piece, rest = rest[:step_bytes], rest[step_bytes:]
            stream.credit_bytes -= step_bytes
            await self._up.spend(step_bytes)
            await self._outbox.send((data_header(number, end=not rest), piece))
            self.sent_bytes += step_bytes

    async def _stat(self, request: Request) -> Response:
        return Response(size=(await self._store.stat(request.key)).size_bytes)

    async def _delete(self, request: Request) -> Response:
        await self._store.delete(request.key)
        return Response()

    async def _list(self, request: Request) -> Response:
        items: list[tuple[str, int]] = []
        more = False
        listing = self._store.list(request.prefix, request.after)
        try:
            async for info in listing:
                if len(items) == LIST_PAGE:
                    more = True
                    break
                items.append((info.key, info.size_bytes))
        finally:
            close = getattr(listing, "aclose", None)
            if close is not None:
                await close()
        return Response(items=items, more=more)

    async def _usage(self, request: Request) -> Response:
        usage = await self._store.usage()
        return Response(used=usage.used_bytes, free=0 if self._resting() is not None else usage.free_bytes)

    async def _audit(self, request: Request) -> Response:
        try:
            nonce = bytes.fromhex(request.nonce)
        except ValueError:
            raise MalformedRequest("the nonce of an audit is in hex") from None
        size_bytes = (await self._store.stat(request.key)).size_bytes
        pieces: list[Buffer] = []
        total_bytes = sum(length for _, length in request.ranges)
        if total_bytes > OBJECT_SIZE_MAX_BYTES:
            raise BodyTooLarge(f"an audit reads at most {OBJECT_SIZE_MAX_BYTES} bytes")
        async with self._memory.hold(total_bytes):
            for offset, length in request.ranges:
                if offset > size_bytes:
                    raise ObjectNotFound(f"{request.key} has {size_bytes} bytes, less than the audit asks for")
                pieces.append(await self._store.get(request.key, offset, length))
            digest = await asyncio.to_thread(audit_digest, nonce, request.ranges, pieces)
        return Response(digest=digest.hex())

    async def _claim(self, request: Request) -> Response:
        marked = claimable(self._store)
        if marked is None:
            raise StoreUnavailable("this agent's store cannot be marked")
        return _identity_response(await marked.claim(parse_id(request.hive_id), parse_id(request.store_id)))

    async def _identity(self, request: Request) -> Response:
        marked = claimable(self._store)
        return _identity_response(await marked.identity() if marked is not None else None)

    async def close(self) -> None:
        """Cancel what is being answered, and wait for it."""
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task


def _identity_response(identity: StoreIdentity | None) -> Response:
    if identity is None:
        return Response()
    return Response(
        hive_id=id_text(identity.hive_id), store_id=id_text(identity.store_id), created_us=identity.created_us
    )
