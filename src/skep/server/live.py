"""The live stream put together: feeds, streams, their door, and the relay to other processes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from skep.auth import Auth
from skep.base.clock import Clock
from skep.base.errors import SkepError
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.base.settings import Settings
from skep.base.waiting import wait_for_event
from skep.crypto.keys import HiveKeys
from skep.db import Database
from skep.events import Feeds, Hub, Journal
from skep.events.couriers import courier
from skep.events.relay import Relay
from skep.filesystem.following import Following
from skep.frontends.live.app import LiveApp
from skep.frontends.live.guests import Guests
from skep.frontends.live.streams import StreamLimits, Streams
from skep.frontends.live.tickets import Tickets

log = get_logger("skep.events")


class _Doubts:
    """Carries voids between auth and the hub, both ways."""

    def __init__(self, auth: Auth, hub: Hub) -> None:
        self._auth = auth
        auth.on_void = hub.void

    def changed(self, space_id: Id, number: int, *, relayed: bool) -> None:
        """Nothing that auth knows depends on changes."""

    def voided(self, user_id: Id, *, relayed: bool) -> None:
        """Another process voided what this one believes."""
        if relayed:
            self._auth.void(user_id)

    def doubted(self, space_id: Id, *, relayed: bool) -> None:
        """Nor on shares."""


async def open_live(
    settings: Settings,
    clock: Clock,
    db: Database,
    keys: HiveKeys,
    auth: Auth,
    hub: Hub,
    journal: Journal,
    hive_id: Id,
    closing: AsyncExitStack,
) -> LiveApp:
    """The live door of a hive, and what it stands on; ``closing`` ends all of it."""
    hub.listen(_Doubts(auth, hub))  # first: who looks again must not believe what was voided
    feeds = Feeds(journal, hub, clock, kept_max=settings.limits.subscriber_queue)
    closing.push_async_callback(feeds.close)
    files = settings.filesystem
    following = Following(db, path_bytes_max=files.path_bytes_max, depth_max=files.depth_max)
    tickets = Tickets(keys.token_key, clock)
    limits = StreamLimits(
        at_once=settings.limits.streams_at_once,
        of_one=settings.limits.streams_of_one,
        keepalive_s=settings.events.keepalive_s,
        stall_s=settings.server.idle_timeout_s,
    )
    streams = Streams(Guests(auth, tickets), following, feeds, hub, clock, limits)
    closing.callback(streams.stop)
    live = LiveApp(streams, tickets)
    found = courier(
        settings.events.fanout,
        database_url=settings.database_url(),
        redis_url=settings.events.redis_url,
        hive_id=hive_id,
    )
    if found is not None:
        poller = Poller(feeds, clock, settings.events.poll_s)

        def look_again() -> None:
            poller.hurry()
            streams.doubt_all()

        live.relay = Relay(hub, found, clock, on_reconnect=look_again)
        closing.push_async_callback(live.relay.close)
        live.relay.start()
        closing.push_async_callback(poller.close)
        poller.start()
    return live


class Poller:
    """Asks the journals of followed spaces for news now and then, should a notice of another process get lost."""

    def __init__(self, feeds: Feeds, clock: Clock, period_s: float) -> None:
        self._feeds = feeds
        self._clock = clock
        self._period_s = period_s
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="poller")

    def hurry(self) -> None:
        """Look at once."""
        self._now.set()

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await wait_for_event(self._now, self._clock, self._period_s)
            self._now.clear()
            try:
                await self._feeds.poll()
            except SkepError as error:
                log.warning("journals could not be polled", code=error.code, retry_in_s=self._period_s)
