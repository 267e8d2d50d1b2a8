"""The open streams of this process: how many, whose, until when; and what each follows.

What always holds:
- a stream is in the registry exactly while its ``with`` block is open, and holds one of its user's places;
- a stream has one task that sends; whatever concerns it (a change, a void, its end, a stop) wakes that task;
- no change is sent between a void and the look that finds the user may still see it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from skep.auth import Principal
from skep.base.clock import Clock
from skep.base.errors import Forbidden, LimitReached, NotFound, SkepError, TokenExpired
from skep.base.ids import Id, parse_id
from skep.base.limits import Gate, Shares
from skep.base.waiting import Wake
from skep.events import Feeds, Follower, Hub, Skip, decode_cursor, encode_cursor
from skep.filesystem.following import Following, Sight
from skep.frontends.common.asgi import Scope
from skep.frontends.common.headers import Headers
from skep.frontends.common.id_text import text_of
from skep.frontends.live.guests import Guest, Guests
from skep.frontends.live.messages import Changes, Ended, FromClient, Resync, Sent, Subscribe, Subscribed, changes_of

TICK_S = 1.0
RECHECK_S = 300.0
"""A guest is looked at again this often, should a void that another process told of have got lost."""
AT_ONCE = 100
"""Changes of one message."""
SUBSCRIPTIONS_MAX = 32
HANDSHAKES_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What streams may take. Times in seconds."""

    at_once: int
    of_one: int
    keepalive_s: float
    stall_s: float
    """A client that takes nothing for so long is let go."""


def forget_head(scope: Scope) -> None:
    """Let go of a request's headers, which nobody reads again while its stream goes on."""
    headers: Headers = scope["state"]["headers"]
    headers.forget()
    scope["headers"] = []


class Subscription:
    """One sight of one stream."""

    __slots__ = ("_following", "follower", "name", "quiet", "sight")

    def __init__(self, name: str, sight: Sight, follower: Follower, following: Following) -> None:
        self.name = name
        self.sight = sight
        self.follower = follower
        self.quiet = False
        """Whether changes were passed over since the client last heard of a cursor."""
        self._following = following

    @property
    def cursor(self) -> str:
        """Where the client stands once it has what was taken."""
        return self._cursor_at(self.follower.position)

    def _cursor_at(self, number: int) -> str:
        return encode_cursor(self.sight.seen_id, number)

    async def next(self, principal: Principal) -> Sent | None:
        """What is to be sent next, None when it is up to date. Raises SpaceNotFound, Forbidden."""
        while (item := await self.follower.take(AT_ONCE)) is not None:
            if isinstance(item, Skip):
                return self._resync(item.why, None if item.why == "too-old" else item.seen)
            if self.sight.is_share:
                await self._following.look_again(principal, self.sight)
                if item.changes[0].number <= self.sight.since:
                    self.follower.position = max(item.position, self.sight.since)
                    return self._resync("too-old", None)
            shown = tuple([seen for change in item.changes if (seen := self.sight.seen(change)) is not None])
            if shown:
                self.quiet = False
                return changes_of(self.name, shown, self.cursor)
            self.quiet = True
        return None

    def _resync(self, why: str, seen: int | None) -> Resync:
        self.quiet = False
        return Resync(id=self.name, why=why, seen=None if seen is None else self._cursor_at(seen), cursor=self.cursor)

    def moved_on(self) -> Sent | None:
        """An empty message with the cursor, if changes that the client did not ask for moved it."""
        if not self.quiet:
            return None
        self.quiet = False
        return Changes(id=self.name, changes=(), cursor=self.cursor)


class Stream:
    """One open connection: its guest, its subscriptions, and what wakes it."""

    __slots__ = (
        "_checked_s", "_spoke_s", "_streams", "doubted", "end_s", "gone", "guest", "inbox", "keepalive_due", "news",
        "request_id", "subscriptions", "user_id",
    )  # fmt: skip

    def __init__(self, streams: Streams, guest: Guest, request_id: str) -> None:
        self.guest = guest
        self.user_id = guest.principal.user_id
        """Whose place it holds: a guest who comes back with a fresh token is the same user."""
        self.request_id = request_id
        self.subscriptions: dict[str, Subscription] = {}
        self.news = Wake()
        self.doubted = False
        """Whether the guest must be looked at before anything more is sent."""
        self.keepalive_due = False
        self.gone = False
        self.inbox: list[FromClient] = []
        """Messages of the client's that are to be done; bounded by who fills it."""
        self._streams = streams
        self._checked_s = streams.clock.monotonic_s()
        self._spoke_s = self._checked_s
        self.set_guest(guest)

    def __enter__(self) -> Stream:
        self._streams._enter(self)
        return self

    def __exit__(self, *failure: object) -> None:
        self._streams._leave(self)

    def set_guest(self, guest: Guest) -> None:
        """The guest as it was just found, and when its credential ends."""
        clock = self._streams.clock
        self.guest = guest
        self._checked_s = clock.monotonic_s()
        self.end_s = None if guest.end_us is None else self._checked_s + (guest.end_us - clock.now_us()) / 1e6

    @property
    def expires_in_s(self) -> int | None:
        """Seconds until the credential ends."""
        return None if self.end_s is None else max(0, int(self.end_s - self._streams.clock.monotonic_s()))

    def tick(self, now_s: float, keepalive_s: float) -> None:
        """Time has passed: wake the stream if something is due."""
        if self.end_s is not None and now_s >= self.end_s:
            self.news.set()
        if now_s - self._checked_s >= RECHECK_S:
            self.doubt()
        if now_s - self._spoke_s >= keepalive_s:
            self.keepalive_due = True
            self.news.set()

    def spoke(self) -> None:
        """Something was sent."""
        self.keepalive_due = False
        self._spoke_s = self._streams.clock.monotonic_s()

    def doubt(self) -> None:
        """Look at the guest before anything more is sent."""
        self.doubted = True
        self.news.set()

    def leave(self) -> None:
        """The client is gone."""
        self.gone = True
        self.news.set()

    async def subscribe(self, wish: Subscribe) -> Subscribed:
        """Begin a subscription. Raises what the wish meets; then nothing has changed."""
        if wish.id not in self.subscriptions and len(self.subscriptions) >= SUBSCRIPTIONS_MAX:
            raise LimitReached(f"one connection has at most {SUBSCRIPTIONS_MAX} subscriptions: end one first")
        subscription = await self._streams.open(self, wish)
        self.unsubscribe(wish.id)
        self.subscriptions[wish.id] = subscription
        self.news.set()
        return Subscribed(id=wish.id, space=text_of(subscription.sight.seen_id), cursor=subscription.cursor)

    def unsubscribe(self, name: str) -> None:
        """End a subscription, if it is there."""
        subscription = self.subscriptions.pop(name, None)
        if subscription is not None:
            subscription.follower.close()

    @property
    def must_check(self) -> bool:
        """Whether ``check`` has something to do."""
        return self.doubted or (self.end_s is not None and self._streams.clock.monotonic_s() >= self.end_s)

    async def check(self) -> list[Ended]:
        """Raise when the connection must end; the subscriptions that must, after ending them.

        Raises TokenExpired, and what showing the credential again does.
        """
        if self.end_s is not None and self._streams.clock.monotonic_s() >= self.end_s:
            raise TokenExpired("the credential of this connection has expired: come back with a fresh one")
        if not self.doubted:
            return []
        self.doubted = False
        try:
            self.set_guest(await self._streams.guests.again(self.guest))
            return [ended for name in tuple(self.subscriptions) if (ended := await self._still(name)) is not None]
        except BaseException:
            self.doubted = True
            raise

    async def _still(self, name: str) -> Ended | None:
        try:
            await self._streams.following.look_again(self.guest.principal, self.subscriptions[name].sight)
        except (NotFound, Forbidden) as error:
            return self._end(name, error)
        return None

    def _end(self, name: str, error: SkepError) -> Ended:
        self.unsubscribe(name)
        return Ended(id=name, code=error.code, detail=error.message)

    async def pending(self) -> Sent | None:
        """The next message of any subscription, each in its turn; None when all are up to date."""
        for name, subscription in tuple(self.subscriptions.items()):
            try:
                message = await subscription.next(self.guest.principal)
            except (NotFound, Forbidden) as error:
                return self._end(name, error)
            if message is not None:
                self.subscriptions[name] = self.subscriptions.pop(name)
                return message
        return None


class Streams:
    """All open streams. Lives on one event loop; listens to the hub between ``start`` and ``stop``."""

    stopping: bool = False

    def __init__(
        self, guests: Guests, following: Following, feeds: Feeds, hub: Hub, clock: Clock, limits: StreamLimits
    ) -> None:
        self.guests = guests
        self.following = following
        self.clock = clock
        self.limits: Final = limits
        self.handshakes = Gate("handshakes of streams", HANDSHAKES_AT_ONCE, clock, wait_s=10.0, queue_max=4096)
        self._feeds = feeds
        self._hub = hub
        self._shares = Shares("streams", limits.at_once, each_max=limits.of_one)
        self._open: set[Stream] = set()
        self._of_user: dict[Id, set[Stream]] = {}
        self._ticker: asyncio.Task[None] | None = None
        self.at_stop: list[Callable[[], None]] = []
        """Told when the streams stop: other doors with connections that would last for hours."""
        hub.listen(self)

    def __len__(self) -> int:
        return len(self._open)

    def followed(self) -> int:
        """How many spaces are followed."""
        return len(self._feeds.spaces())

    def enter(self, guest: Guest, request_id: str) -> Stream:
        """A stream for a ``with`` block, which raises RateLimited as it begins when the user, or all, have too many."""
        return Stream(self, guest, request_id)

    def _enter(self, stream: Stream) -> None:
        user_id = stream.user_id
        self._shares.take(user_id)
        self._open.add(stream)
        self._of_user.setdefault(user_id, set()).add(stream)
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().create_task(self._tick(), name="streams")

    def _leave(self, stream: Stream) -> None:
        user_id = stream.user_id
        for name in tuple(stream.subscriptions):
            stream.unsubscribe(name)
        self._open.discard(stream)
        self._of_user[user_id].discard(stream)
        if not self._of_user[user_id]:
            del self._of_user[user_id]
        self._shares.give_back(user_id)

    async def open(self, stream: Stream, wish: Subscribe) -> Subscription:
        """What a wish asks for, followed. Raises BadInput and its kinds, NotFound and its kinds, Forbidden."""
        space_id = None if wish.space is None else parse_id(wish.space)
        node_id = None if wish.node is None else parse_id(wish.node)
        after: int | None = None
        if wish.cursor is not None:
            of_space, after = decode_cursor(wish.cursor)
            if node_id is None and space_id is None:
                space_id = of_space
        sight = await self.following.sight(stream.guest.principal, space_id, path=wish.path, node_id=node_id)
        if wish.cursor is not None and of_space != sight.seen_id:
            raise NotFound("the cursor is of another space: list this one and take its own cursor")
        follower = await self._feeds.follow(sight.space_id, after, stream.news.set)
        return Subscription(wish.id, sight, follower, self.following)

    def changed(self, space_id: Id, number: int, *, relayed: bool) -> None:
        """Changes reach streams through their feeds."""

    def voided(self, user_id: Id, *, relayed: bool) -> None:
        """Look at the user's streams again before anything more is sent to them."""
        for stream in self._of_user.get(user_id, ()):
            stream.doubt()

    def doubted(self, space_id: Id, *, relayed: bool) -> None:
        """Look again at whoever follows the space through a share."""
        for stream in self._open:
            if any(one.sight.is_share and one.sight.space_id == space_id for one in stream.subscriptions.values()):
                stream.doubt()

    def doubt_all(self) -> None:
        """Look at everybody again: notices of other processes may have been missed."""
        for stream in self._open:
            stream.doubt()

    def stop(self) -> None:
        """Tell every stream to end and its client to come back; new ones are turned away."""
        self.stopping = True
        self._hub.leave(self)
        for tell in self.at_stop:
            tell()
        for stream in self._open:
            stream.news.set()
        if self._ticker is not None:
            self._ticker.cancel()

    async def _tick(self) -> None:
        """Wake streams whose time has come. One task for all: a timer each would cost more than the streams do."""
        while True:
            await self.clock.sleep(TICK_S)
            now_s = self.clock.monotonic_s()
            for stream in tuple(self._open):
                stream.tick(now_s, self.limits.keepalive_s)
