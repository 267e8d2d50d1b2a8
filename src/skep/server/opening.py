"""How the hive opens what it stands on: its database, and a store with the wrappers that a hive wants around it."""

from __future__ import annotations

from collections.abc import Callable

from skep.base.chance import new_random
from skep.base.clock import Clock
from skep.base.ids import Id
from skep.base.settings import Settings
from skep.db import Database
from skep.db.database import MakeEngine
from skep.stores.access import Grants
from skep.stores.egress import Egress
from skep.stores.link.board import Links
from skep.stores.protocol import Store
from skep.stores.registry import open_store
from skep.stores.stack import stacked
from skep.stores.wrappers.meter import MeterStore
from skep.stores.wrappers.retry import Pace

OpenStore = Callable[[str, bytes | None], Store]
OpenDouble = Callable[[str, bytes | None], Store | None]
"""Opens what a test replaces; None leaves a URL to the registry."""


class HiveStore(MeterStore):
    """A store as the hive uses it: metered, retried, limited, and claimed where the driver can be."""

    driver: Store

    async def claim(self, hive_id: Id, store_id: Id) -> None:
        """Tie the place to this hive and store, if it can carry such a mark. Raises Conflict for another's."""
        claim = getattr(self.driver, "claim", None)
        if claim is not None:
            await claim(hive_id, store_id)


def opener(
    clock: Clock,
    pace: Pace,
    *,
    driver: OpenDouble | None = None,
    grants: Grants | None = None,
    links: Links | None = None,
    egress: Egress | None = None,
) -> OpenStore:
    """A function that opens stores by URL; ``driver`` replaces the registry in tests.

    ``grants`` has the accounts of clouds that were granted to the hive, ``links`` the agents that are connected,
    ``egress`` the way to hosts that users named.
    """
    chance = new_random()

    def open_one(url: str, secret: bytes | None) -> Store:
        double = None if driver is None else driver(url, secret)
        proxy = egress.url() if egress is not None and url.startswith(("s3:", "webdav+")) else None
        bare = double or open_store(url, secret=secret, grants=grants, links=links, proxy=proxy)
        measured = stacked(bare, clock=clock, random=chance, pace=pace)
        store = HiveStore(measured.inner, clock=clock, meter=measured.meter)
        store.driver = bare
        return store

    return open_one


async def open_database(settings: Settings, clock: Clock, engine: MakeEngine | None = None) -> Database:
    """The hive's database, with the limits that its settings say. Raises what ``Database.open`` does."""
    database = settings.database
    return await Database.open(
        settings.database_url(),
        clock=clock,
        pool_size=database.pool_size,
        busy_timeout_s=database.busy_timeout_s,
        group_commit_max=database.group_commit_max,
        queue_max=database.queue_max,
        engine=engine,
    )
