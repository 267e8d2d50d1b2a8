"""One hive's link, kept up for ever: dial, prove, serve, and dial again when it breaks.

What always holds:
- the number that the hive gives is on the disk before READY is sent;
- whatever happens to a connection, its requests have ended before the next one begins;
- the wait between tries grows to a minute, with jitter; after a good while connected it begins anew.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import skep
from skep.agent.home import AgentHome, HiveLink
from skep.agent.socket import open_socket
from skep.base.clock import Clock
from skep.base.errors import (
    AgentNotFound,
    Conflict,
    Forbidden,
    IdentityInUse,
    MalformedRequest,
    SkepError,
    StoreUnavailable,
    TimedOut,
)
from skep.base.limits import ByteBudget
from skep.base.logs import get_logger
from skep.base.waiting import wait_for_event
from skep.crypto.signatures import VerifyKey
from skep.stores.identity import claimable
from skep.stores.link.answerer import Answerer
from skep.stores.link.frames import VERSION, Frame, Kind, decode, encode
from skep.stores.link.handshake import NONCE_BYTES, agent_text, hive_text
from skep.stores.link.liveness import BUSY_DEAD_S, LOOK_S, Liveness
from skep.stores.link.messages import (
    Challenge,
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
from skep.stores.link.pace import Pacer
from skep.stores.protocol import Store, Usage
from skep.stores.registry import open_store

HANDSHAKE_S = 30.0
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0
RETRY_REFUSED_S = 600.0
SETTLED_S = 60.0
WAKE_GAP_S = 15.0
"""Wall time that passed beyond the time that we ran: the computer slept."""
_log = get_logger("skep.agent")


class Connection(Protocol):
    """What carries messages to a hive and back: a WebSocket."""

    @property
    def certificate(self) -> str:
        """SHA-256 in hex of what TLS showed, empty without TLS."""
        ...

    async def receive(self) -> bytes | None:
        """The next message; None when the hive is gone. Raises MalformedRequest for one that is not bytes."""
        ...

    async def send(self, message: Outgoing) -> None:
        """Send one message; returns when there is room again. Raises ConnectionResetError."""
        ...

    async def close(self) -> None:
        """End the connection."""
        ...

    def address_is_gone(self) -> bool:
        """Whether the address that we speak from is this computer's no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all links of an agent have in common."""

    memory: ByteBudget
    up: Pacer
    down: Pacer
    clock: Clock
    instance: str
    resting: Callable[[], str | None]
    """Why no new data is taken now, or None."""
    dial: Callable[[str], Awaitable[Connection]] = open_socket


class Ended(Exception):
    """The hive said goodbye."""

    def __init__(self, goodbye: Goodbye) -> None:
        super().__init__(goodbye.message)
        self.goodbye = goodbye


class AgentLink:
    """The link to one hive. ``state``: connecting, connected, waiting, refused or left."""

    def __init__(self, home: AgentHome, link: HiveLink, shared: Shared) -> None:
        self.link = link
        self._home = home
        self._shared = shared
        self._clock = shared.clock
        self.state = "connecting"
        self.error = ""
        self.shards_left: int | None = None
        self.leaving = False
        self.connections = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.since_us = shared.clock.now_us()
        self._retry_at_s = 0.0
        self._sooner = asyncio.Event()
        self._outbox: Outbox | None = None
        self._answerer: Answerer | None = None
        self._store: Store | None = None

    async def run(self) -> None:
        """Keep the link up until the hive lets us go. Raises only CancelledError."""
        try:
            await self._keep_up()
        finally:
            await self._close_store()

    async def _keep_up(self) -> None:
        failures = 0
        while self.state != "left":
            started_s = self._clock.monotonic_s()
            wait_s = RETRY_MAX_S
            try:
                self._become("connecting")
                await self._connect_and_serve()
                self.error = "the connection broke"
            except Ended as end:
                wait_s = self._after_goodbye(end.goodbye)
            except (AgentNotFound, Forbidden, IdentityInUse, Conflict) as error:
                self.error, self.state = error.message, "refused"
                wait_s = RETRY_REFUSED_S
            except (SkepError, OSError) as error:
                self.error = error.message if isinstance(error, SkepError) else str(error)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                _log.exception("bug", hive=self.link.url)
                self.error = f"a bug of the agent: {type(error).__name__}"
            if self.state == "left":
                break
            failures = 0 if self._clock.monotonic_s() - started_s >= SETTLED_S else failures + 1
            await self._rest(failures, wait_s)

    def _become(self, state: str) -> None:
        self.state, self.since_us = state, self._clock.now_us()

    def _after_goodbye(self, goodbye: Goodbye) -> float:
        """How long to stay away after a goodbye, at most."""
        self.error = goodbye.message
        _log.info("hive says goodbye", hive=self.link.url, code=goodbye.code, detail=goodbye.message)
        if goodbye.code == "left":
            self._become("left")
        elif goodbye.code in (AgentNotFound.code, IdentityInUse.code, Forbidden.code):
            self._become("refused")
            return RETRY_REFUSED_S
        return RETRY_MAX_S

    async def _rest(self, failures: int, wait_s: float) -> None:
        if self.state != "refused":
            self._become("waiting")
            wait_s = min(wait_s, RETRY_MIN_S * 2.0 ** min(failures, 10))
        wait_s *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads the agents of a hive that was down
        self._retry_at_s = self._clock.monotonic_s() + wait_s
        _log.info("link is down", hive=self.link.url, state=self.state, detail=self.error, retry_s=round(wait_s, 1))
        self._sooner.clear()
        await wait_for_event(self._sooner, self._clock, wait_s)

    def hurry(self) -> None:
        """Try again now."""
        self._sooner.set()

    async def _connect_and_serve(self) -> None:
        store = await self._opened_store()
        connection = await self._shared.dial(self.link.url)
        try:
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    welcome = await self._shake_hands(connection)
            except TimeoutError:
                raise TimedOut(f"{self.link.url} did not finish the handshake") from None
            await self._serve(connection, store, welcome)
        finally:
            with suppress(OSError):
                await connection.close()

    async def _opened_store(self) -> Store:
        """The directory store. Raises Conflict when it holds another hive's data."""
        if self._store is None:
            self._store = open_store(self._home.store_url(self.link))
        marked = claimable(self._store)
        held = await asyncio.to_thread(self._home.generation, self.link)
        if marked is not None and held > 0:
            found = await marked.identity()
            if found is not None and found.hive_id != self.link.hive:
                raise Conflict(f"{self._home.space} holds the data of another hive: put back what was there")
        return self._store

    async def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def _shake_hands(self, connection: Connection) -> Welcome:
        link = self.link
        key = self._home.key_of(link)
        hello = Hello(
            versions=[VERSION],
            agent_id=link.agent_id,
            nonce=os.urandom(NONCE_BYTES).hex(),
            instance=self._shared.instance,
            program=f"skep {skep.__version__}",
        )
        await connection.send(encode_message(Kind.HELLO, hello))
        challenge = read_message(await _expect(connection, Kind.CHALLENGE), Challenge)
        nonce = bytes.fromhex(challenge.nonce)
        self._check_hive(challenge, hello, nonce)
        generation = await asyncio.to_thread(self._home.generation, link)
        text = agent_text(link.hive, nonce, hello, VERSION, connection.certificate, generation)
        proof = Proof(
            signature=key.sign(text).hex(),
            certificate=connection.certificate,
            generation=generation,
            capacity_bytes=link.share_bytes,
        )
        await connection.send(encode_message(Kind.PROOF, proof))
        welcome = read_message(await _expect(connection, Kind.WELCOME), Welcome)
        await asyncio.to_thread(self._home.set_generation, link, welcome.generation)
        await connection.send(encode_message(Kind.READY, Generation(welcome.generation)))
        return welcome

    def _check_hive(self, challenge: Challenge, hello: Hello, nonce: bytes) -> None:
        """Raises Forbidden unless this is the hive that we enrolled at."""
        if challenge.version != VERSION:
            raise MalformedRequest("the hive chose a version of the link that we did not offer")
        signature = bytes.fromhex(challenge.signature)
        text = hive_text(self.link.hive, nonce, hello, VERSION)
        if challenge.hive_id != self.link.hive_id or not VerifyKey(self.link.hive_key_raw).verify(text, signature):
            raise Forbidden(f"what answers at {self.link.url} is not the hive that this computer enrolled at")

    async def _serve(self, connection: Connection, store: Store, welcome: Welcome) -> None:
        shared = self._shared
        outbox = self._outbox = Outbox(connection.send)
        answerer = self._answerer = Answerer(
            store,
            outbox,
            memory=shared.memory,
            up=shared.up,
            down=shared.down,
            streams=welcome.streams,
            resting=shared.resting,
        )
        liveness = Liveness(self._clock.monotonic_s(), welcome.ping_s, welcome.dead_s)
        self.error = ""
        self.connections += 1
        self._become("connected")
        _log.info("connected", hive=self.link.url, name=self.link.name, generation=welcome.generation)
        if self.leaving:
            outbox.post(encode_message(Kind.NOTICE, Notice(kind="leaving")))
        tasks = [
            asyncio.create_task(self._read(connection, answerer, liveness)),
            asyncio.create_task(outbox.run()),
            asyncio.create_task(self._watch(connection, liveness, answerer)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            failure = next((error for task in done if (error := task.exception()) is not None), None)
            if isinstance(failure, SkepError) and not isinstance(failure, StoreUnavailable):
                await self._say_goodbye(connection, failure)
            if failure is not None:
                raise failure
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await answerer.close()
            self.received_bytes += answerer.received_bytes
            self.sent_bytes += answerer.sent_bytes
            self._outbox = self._answerer = None

    async def _say_goodbye(self, connection: Connection, error: SkepError) -> None:
        goodbye = encode_message(Kind.GOODBYE, Goodbye(code=error.code, message=error.message))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await connection.send(goodbye)

    async def _read(self, connection: Connection, answerer: Answerer, liveness: Liveness) -> None:
        outbox = self._outbox
        assert outbox is not None
        while (raw := await connection.receive()) is not None:
            liveness.heard(self._clock.monotonic_s())
            frame = decode(raw)
            if frame.stream:
                answerer.received(frame)
                continue
            match frame.kind:
                case Kind.PING:
                    outbox.post(encode(Kind.PONG, frame.payload))
                case Kind.PONG:
                    pass
                case Kind.ADVANCE:
                    number = read_message(frame, Generation)
                    await asyncio.to_thread(self._home.set_generation, self.link, number.generation)
                    outbox.post(encode_message(Kind.READY, number))
                case Kind.NOTICE:
                    notice = read_message(frame, Notice)
                    if notice.kind == "draining":
                        self.leaving, self.shards_left = True, notice.shards_left
                case Kind.GOODBYE:
                    raise Ended(read_message(frame, Goodbye))
                case _:
                    raise MalformedRequest(f"a hive does not send {frame.kind.name} now")

    async def _watch(self, connection: Connection, liveness: Liveness, answerer: Answerer) -> None:
        """Return when the link is dead: silent for too long, or from an address that is ours no more."""
        outbox = self._outbox
        assert outbox is not None
        resting = self._shared.resting() is not None
        wall_us, running_s = self._clock.now_us(), self._clock.monotonic_s()
        hurried_until_s = 0.0
        while True:
            await self._clock.sleep(LOOK_S)
            now_us, now_s = self._clock.now_us(), self._clock.monotonic_s()
            if (now_us - wall_us) / 1e6 - (now_s - running_s) >= WAKE_GAP_S:
                _log.info("woke up", hive=self.link.url)
                hurried_until_s = now_s + BUSY_DEAD_S
            wall_us, running_s = now_us, now_s
            if connection.address_is_gone():
                raise StoreUnavailable("this computer has moved to another network")
            verdict = liveness.look(now_s, busy=answerer.busy or now_s < hurried_until_s)
            if verdict == "dead":
                raise StoreUnavailable("the hive does not answer any more")
            if verdict == "ask":
                outbox.post(encode(Kind.PING, bytes(8)))
            if resting != (self._shared.resting() is not None):
                resting = not resting
                outbox.post(encode_message(Kind.NOTICE, Notice(kind="room")))

    # What the program asks.

    def leave(self) -> None:
        """Ask the hive to drain us and let us go."""
        self.leaving = True
        if self._outbox is not None:
            self._outbox.post(encode_message(Kind.NOTICE, Notice(kind="leaving")))
        self.hurry()

    async def usage(self) -> Usage:
        """What the shards take and what is free; unknown while the disk does not say."""
        if self._store is None:
            return Usage(None, None)
        try:
            async with asyncio.timeout(5.0):
                return await self._store.usage()
        except (SkepError, TimeoutError):
            return Usage(None, None)

    def traffic(self) -> tuple[int, int]:
        """Bytes of shards received and sent since the agent started."""
        now = self._answerer
        if now is None:
            return self.received_bytes, self.sent_bytes
        return self.received_bytes + now.received_bytes, self.sent_bytes + now.sent_bytes

    def retry_in_s(self) -> float | None:
        """Seconds until the next try, while waiting for it."""
        if self.state not in ("waiting", "refused"):
            return None
        return max(0.0, self._retry_at_s - self._clock.monotonic_s())


async def _expect(connection: Connection, kind: Kind) -> Frame:
    raw = await connection.receive()
    if raw is None:
        raise StoreUnavailable("the hive broke the handshake off")
    frame = decode(raw)
    if frame.kind is Kind.GOODBYE:
        raise Ended(read_message(frame, Goodbye))
    if frame.kind is not kind:
        raise MalformedRequest(f"{kind.name} was expected and {frame.kind.name} came")
    return frame
