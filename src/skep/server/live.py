"""The live stream put together: feeds, streams, their door, and the relay to other processes."""

from __future__ import annotations

from contextlib import AsyncExitStack

from skep.auth import Auth
from skep.base.clock import Clock
from skep.base.ids import Id
from skep.base.settings import Settings
from skep.crypto.keys import HiveKeys
from skep.db import Database
from skep.events import Feeds, Hub, Journal
from skep.filesystem.following import Following
from skep.frontends.live.app import LiveApp
from skep.frontends.live.guests import Guests
from skep.frontends.live.streams import StreamLimits, Streams
from skep.frontends.live.tickets import Tickets


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
    return LiveApp(streams, tickets)
