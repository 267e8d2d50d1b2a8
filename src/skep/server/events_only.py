"""``skep serve --only events``: a process that serves live changes and nothing else, beside the hive.

It shares the hive's database and master key, and hears of changes through ``events.fanout``. It opens no store, runs no
worker and holds no lock, so any number of them may run, on any machine, for as many idle connections as there are.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from skep.auth import Auth, AuthRules
from skep.base.clock import Clock
from skep.base.errors import Misconfigured, NotFound
from skep.base.settings import Settings
from skep.db import Database
from skep.events import Hub, Journal
from skep.frontends.common.asgi import App, Receive, Scope, Send
from skep.frontends.live.app import LiveApp
from skep.frontends.web.app import WebApp
from skep.server.compose import edge_of
from skep.server.doors import Doors, live_paths
from skep.server.edge import Edge
from skep.server.identity import open_identity
from skep.server.live import open_live
from skep.server.metrics import LiveCollector, RequestMetrics, exposition
from skep.server.opening import open_database
from skep.server.plain import PlainPages


@dataclass(slots=True, kw_only=True)
class EventsHive:
    """An open process for events. ``ready`` is set once the server listens."""

    db: Database
    live: LiveApp
    edge: Edge
    app: App
    ready: bool = False
    _closing: AsyncExitStack

    async def readiness(self) -> list[str]:
        """One line for each thing that is not well enough; empty: ready."""
        if not self.ready:
            return ["starting or stopping"]
        trouble = []
        try:
            await self.db.read(lambda tx: tx.now_us)
        except Exception as error:
            trouble.append(f"database: {getattr(error, 'code', 'does not answer')}")
        if self.live.relay is not None and not self.live.relay.connected:
            trouble.append("events: other processes are not heard")
        return trouble

    async def end_streams(self) -> None:
        """Tell clients to come back later."""
        self.live.streams.stop()

    async def close(self, grace_s: float = 10.0) -> None:
        """End all streams and close the database. Safe to call twice."""
        self.ready = False
        self.edge.stopping = True
        self.live.streams.stop()
        await self._closing.aclose()


async def open_events_hive(settings: Settings, *, clock: Clock) -> EventsHive:
    """Build and start it. Raises Misconfigured without a fanout, and what opening a hive's database and key does."""
    if settings.events.fanout == "none":
        raise Misconfigured(
            "A process for events alone hears of changes from the others: set events.fanout to postgresql or redis, "
            "here and for the hive."
        )
    async with AsyncExitStack() as closing:
        db = await open_database(settings, clock)
        closing.push_async_callback(db.close)
        identity = await open_identity(db, settings)
        keys = identity.master.hive_keys()
        hub = Hub(queue_max=settings.limits.subscriber_queue)
        auth = Auth(db, keys, clock, AuthRules.from_settings(settings.auth))
        closing.push_async_callback(auth.close)
        await auth.start()
        live = await open_live(settings, clock, db, keys, auth, hub, Journal(db, hub), identity.hive_id, closing)
        registry = CollectorRegistry()
        request_metrics = RequestMetrics(registry)
        registry.register(LiveCollector(live))
        found: list[EventsHive] = []

        async def readiness() -> list[str]:
            return await found[0].readiness()

        async def metrics() -> bytes:
            return exposition(registry)

        pages = PlainPages(
            Doors({}, {"/": WebApp({}), **live_paths(live)}, rest=_elsewhere),
            readiness=readiness,
            metrics=metrics,
            metrics_access=settings.server.metrics_access,
            auth=auth,
        )
        edge = edge_of(pages, request_metrics, settings, clock)
        hive = EventsHive(db=db, live=live, edge=edge, app=edge, _closing=closing.pop_all())
        found.append(hive)
        return hive


async def _elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound("This process serves /api/events alone: ask the hive for the rest.")
