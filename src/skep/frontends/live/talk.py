"""What goes on while a stream is open, whatever carries it: what is due is said, one message at a time, until the end.

What always holds: one task says things, in order; before each change the guest is known to be good; whatever the
client has not taken yet stays where it is (in the journal), so memory does not grow with its slowness.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from skep.base.errors import ClientGone, Denied, SkepError, TokenExpired, Unavailable
from skep.base.waiting import within
from skep.frontends.live.messages import (
    Changes,
    Closing,
    FromClient,
    Keepalive,
    Refused,
    Renew,
    Renewed,
    Sent,
    Subscribe,
    Unsubscribe,
)
from skep.frontends.live.streams import Stream, Streams

RETRY_S, RETRIES_MAX = 1.0, 30
"""How often, and how many times, a database that does not answer is asked again before the client is sent away."""
RECONNECT_S = 1.0

Say: TypeAlias = Callable[[Sent], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Over:
    """Why a stream ends: a code of a WebSocket's close, and the last message (None: nobody is there to hear it)."""

    close_code: int
    closing: Closing | None


GONE = Over(1000, None)


def over(error: SkepError) -> Over:
    """The end that an error makes of a stream: one map for both transports."""
    if isinstance(error, ClientGone):
        return GONE
    if isinstance(error, TokenExpired):
        return _over(4401, error)
    if isinstance(error, Denied):
        return _over(4403, error)
    return _over(4503, error, RECONNECT_S * 5)


def _over(close_code: int, error: SkepError, reconnect_after_s: float | None = None) -> Over:
    return Over(close_code, Closing(code=error.code, detail=error.message, reconnect_after_s=reconnect_after_s))


def stopped() -> Over:
    """The hive stops: come back soon."""
    said = "the hive stops or restarts: reconnect with your cursor"
    return Over(1012, Closing(code="shutting-down", detail=said, reconnect_after_s=RECONNECT_S))


class Talk:
    """One stream's saying."""

    __slots__ = ("_ends_when_empty", "_failures", "_held", "_say_raw", "_stream", "_streams")

    def __init__(self, streams: Streams, stream: Stream, say: Say, *, ends_when_empty: bool) -> None:
        """``ends_when_empty``: whether the stream is over with its last subscription."""
        self._streams = streams
        self._stream = stream
        self._say_raw = say
        self._ends_when_empty = ends_when_empty
        self._held: Sent | None = None
        self._failures = 0

    async def run(self) -> Over:
        """Say what is due until the end; why that came. Raises nothing of the error tree."""
        while True:
            try:
                done = await self._round()
                self._failures = 0
            except TimeoutError:
                return Over(4408, None)
            except Unavailable as error:
                if isinstance(error, ClientGone):
                    return GONE
                self._failures += 1
                if self._failures > RETRIES_MAX:
                    return over(error)
                await self._streams.clock.sleep(RETRY_S)
                continue
            except SkepError as error:
                return over(error)
            if done is not None:
                return done

    async def say(self, message: Sent) -> None:
        """Send one message. Raises TimeoutError when the client takes nothing, ClientGone when it left."""
        try:
            await within(self._say_raw(message), self._streams.limits.stall_s)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            raise ClientGone("the client left") from error
        self._stream.spoke()

    async def _round(self) -> Over | None:
        """One message, or a wait until there may be one."""
        stream = self._stream
        if stream.gone:
            return GONE
        if self._streams.stopping:
            return stopped()
        stream.news.clear()
        if stream.must_check:
            for ended in await stream.check():
                await self.say(ended)
        while stream.inbox:
            await self._obey(stream.inbox.pop(0))
        return await self._tell()

    async def _tell(self) -> Over | None:
        stream = self._stream
        if self._ends_when_empty and not stream.subscriptions:
            return Over(4403, Closing(code="ended", detail="what this stream followed cannot be followed any more"))
        message, self._held = self._held or await stream.pending(), None
        if message is None:
            if stream.keepalive_due:
                await self._sign_of_life()
            await stream.news.wait()
        elif stream.doubted:  # voided while the journal was read: look first
            self._held = message
        elif not isinstance(message, Changes) or message.id in stream.subscriptions:
            await self.say(message)
        return None

    async def _sign_of_life(self) -> None:
        moved = [m for s in self._stream.subscriptions.values() if (m := s.moved_on()) is not None]
        for message in moved or [Keepalive()]:
            await self.say(message)

    async def _obey(self, asked: FromClient) -> None:
        name = asked.id if isinstance(asked, Subscribe) else None
        try:
            if isinstance(asked, Subscribe):
                await self.say(await self._stream.subscribe(asked))
            elif isinstance(asked, Unsubscribe):
                self._stream.unsubscribe(asked.id)
            elif isinstance(asked, Renew):
                self._stream.set_guest(await self._streams.guests.renew(self._stream.guest, asked.token))
                self._stream.doubt()
                await self.say(Renewed(expires_in_s=self._stream.expires_in_s))
            else:
                await self.say(Keepalive())
        except ClientGone:
            raise
        except SkepError as error:
            await self.say(Refused(id=name, code=error.code, detail=error.message))
