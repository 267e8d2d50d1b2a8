"""One link of an agent, on the hive's side, over any transport that carries messages.

    session = Session(service, transport, clock); await session.run()      # returns when the link is over

What always holds: the board shows the link only between READY and its end; when ``run`` returns, every call over the
link has failed and its store is known to be offline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from skep.base.clock import Clock
from skep.base.errors import MalformedRequest, SkepError, StoreOffline, TimedOut
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.durability.agents.greeting import Greeting
from skep.durability.agents.records import AgentInfo
from skep.stores.link.caller import STREAMS, LinkedStore
from skep.stores.link.frames import Frame, Kind, decode, encode
from skep.stores.link.liveness import DEAD_S, PING_S, Liveness
from skep.stores.link.messages import (
    Generation,
    Goodbye,
    Hello,
    Notice,
    Proof,
    Welcome,
    encode_message,
    read_message,
)
from skep.stores.link.outbox import Outbox, Outgoing

if TYPE_CHECKING:
    from skep.durability.agents.service import Agents

HANDSHAKE_S = 20.0
GOODBYE_S = 2.0
ANSWER_S = 5.0
_log = get_logger("skep.agents")


class Transport(Protocol):
    """What carries messages: a WebSocket."""

    async def receive(self) -> bytes | None:
        """The next message, or None when the other end is gone. Raises MalformedRequest for one that is not bytes."""
        ...

    async def send(self, message: Outgoing) -> None:
        """Send one message; returns when the socket took it. Raises ConnectionError or OSError."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...


class Session:
    """A link from its first message to its end."""

    def __init__(
        self,
        service: Agents,
        transport: Transport,
        clock: Clock,
        address: str | None = None,
        proven: Callable[[], None] = lambda: None,
    ) -> None:
        """``address``: where the agent connects from; ``proven`` is told when it has shown who it is."""
        self._address = address
        self._proven = proven
        self._service = service
        self._transport = transport
        self._clock = clock
        self._liveness = Liveness(clock.monotonic_s())
        self._over: asyncio.Future[Goodbye | None] = asyncio.get_running_loop().create_future()
        self._heard = asyncio.Event()
        self.outbox = Outbox(transport.send)
        self.linked = LinkedStore(self.outbox, "the agent")
        self.info: AgentInfo | None = None
        self.instance = ""
        self.ready = False
        self.settled = False
        """Whether the hive has done all that follows from the link's coming."""

    async def run(self) -> None:
        """Serve the link until it ends. Raises nothing but CancelledError."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                info, pending, astray = await self._shake_hands()
        except TimeoutError:
            await self._refuse(TimedOut("the handshake took too long"))
            return
        except SkepError as error:
            await self._refuse(error)
            return
        except OSError:
            await self._close()
            return
        self._proven()
        self.info = info
        self.linked = LinkedStore(self.outbox, f"the agent {info.name}")
        await self._serve(pending, astray)

    async def _shake_hands(self) -> tuple[AgentInfo, int, bool]:
        hello = read_message(await self._expect(Kind.HELLO), Hello)
        self.instance = hello.instance
        greeting: Greeting = self._service.greeter.greet(hello)
        await self._transport.send(encode_message(Kind.CHALLENGE, greeting.challenge))
        proof = read_message(await self._expect(Kind.PROOF), Proof)
        info = await self._service.greeter.check(greeting, proof)
        await self._service.admit(self, info)
        try:
            pending, astray = await self._service.book.begin(
                info.id, proof.generation, proof.capacity_bytes, self._address
            )
            welcome = Welcome(generation=pending, streams=STREAMS, ping_s=PING_S, dead_s=DEAD_S)
            await self._transport.send(encode_message(Kind.WELCOME, welcome))
            ready = read_message(await self._expect(Kind.READY), Generation)
            if ready.generation != pending:
                raise MalformedRequest("the agent confirms another generation than it was given")
            await self._service.book.confirm(info.id, pending)
        except BaseException:
            self._service.leave(self, info.id)
            raise
        return info, pending, astray

    async def _expect(self, kind: Kind) -> Frame:
        raw = await self._transport.receive()
        if raw is None:
            raise ConnectionResetError("the agent is gone")
        frame = decode(raw)
        if frame.kind is Kind.GOODBYE:
            raise ConnectionResetError("the agent said goodbye")
        if frame.kind is not kind:
            raise MalformedRequest(f"{kind.name} was expected and {frame.kind.name} came")
        return frame

    async def _refuse(self, error: SkepError) -> None:
        """Say why, and end: what is said here a stranger may hear."""
        _log.info("agent refused", code=error.code, detail=error.message)
        goodbye = encode_message(Kind.GOODBYE, Goodbye(code=error.code, message=error.message))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._transport.send(goodbye)
        await self._close()

    async def _serve(self, pending: int, astray: bool) -> None:
        assert self.info is not None
        self._liveness.heard(self._clock.monotonic_s())
        reading, writing = asyncio.create_task(self._read()), asyncio.create_task(self.outbox.run())
        self.ready = True
        coming = asyncio.create_task(self._service.came(self, astray))
        try:
            _log.info("agent connected", agent_id=self.info.id.hex(), name=self.info.name, generation=pending)
            await asyncio.wait((reading, writing, self._over), return_when=asyncio.FIRST_COMPLETED)
            await self._part(reading)
        finally:
            self.ready = False
            self.linked.cut(StoreOffline(f"the agent {self.info.name} is not connected"))
            for task in (reading, writing, coming):
                task.cancel()
            await asyncio.gather(reading, writing, coming, return_exceptions=True)
            await self._service.went(self)
            await self._close()
            _log.info("agent disconnected", agent_id=self.info.id.hex(), name=self.info.name)

    async def _part(self, reading: asyncio.Task[None]) -> None:
        """Say goodbye if the end is ours: it was asked for, or the agent broke the protocol."""
        goodbye: Goodbye | None = self._over.result() if self._over.done() else None
        failure = reading.exception() if reading.done() and not reading.cancelled() else None
        if isinstance(failure, SkepError):
            goodbye = Goodbye(code=failure.code, message=failure.message)
            _log.warning("agent breaks the protocol", detail=failure.message)
        elif failure is not None and not isinstance(failure, OSError):
            _log.error("bug", error=repr(failure))
        if goodbye is not None:
            with suppress(SkepError):
                self.outbox.post(encode_message(Kind.GOODBYE, goodbye))
            await asyncio.wait([asyncio.create_task(self.outbox.flushed())], timeout=GOODBYE_S)

    async def _close(self) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._transport.close()

    async def _read(self) -> None:
        while (raw := await self._transport.receive()) is not None:
            self._liveness.heard(self._clock.monotonic_s())
            self._heard.set()
            frame = decode(raw)
            if frame.stream:
                self.linked.received(frame)
            elif frame.kind is Kind.PING:
                self.outbox.post(encode(Kind.PONG, frame.payload))
            elif frame.kind is Kind.GOODBYE:
                return
            elif frame.kind is not Kind.PONG:
                await self._control(frame)

    async def _control(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.READY:
                await self._service.confirmed(self, read_message(frame, Generation).generation)
            case Kind.NOTICE:
                self._service.noticed(self, read_message(frame, Notice))
            case _:
                raise MalformedRequest(f"an agent does not send {frame.kind.name} now")

    # What the service asks of a link.

    @property
    def agent_id(self) -> Id:
        """Whose link this is."""
        assert self.info is not None
        return self.info.id

    def look(self) -> None:
        """Ask a silent agent whether it lives, and give up one that does not answer."""
        verdict = self._liveness.look(self._clock.monotonic_s(), busy=self.linked.busy)
        if verdict == "ask":
            self.outbox.post(encode(Kind.PING, bytes(8)))
        elif verdict == "dead":
            self.end(None)

    async def lives(self) -> bool:
        """Whether the agent answers now, within a few seconds."""
        self._heard.clear()
        self.outbox.post(encode(Kind.PING, bytes(8)))
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._heard.wait()
        except TimeoutError:
            return False
        return not self._over.done()

    def tell(self, notice: Notice) -> None:
        """Send a notice."""
        self.outbox.post(encode_message(Kind.NOTICE, notice))

    def end(self, goodbye: Goodbye | None) -> None:
        """End the link, with a word or, when nobody listens, without."""
        if not self._over.done():
            self._over.set_result(goodbye)
