"""The composition root: settings to components to one ASGI application and its workers.

    hive = await open_hive(settings, clock=SystemClock())
    ... hive.app answers requests ...
    await hive.close(grace_s=10)

Reads like a table of contents; what stands below knows nothing of what stands above. The data
directory's lock and the HTTP server are around it (``serve.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from skep.auth import Auth, AuthRules
from skep.base.clock import Clock
from skep.base.errors import InvalidSetting, TimedOut
from skep.base.limits import ByteBudget, FairGate, Gate, RateLimit, Shares
from skep.base.settings import Settings
from skep.base.workers import WorkerSet
from skep.clouds import CloudGrants, Clouds
from skep.credit import Credit, CreditHooks
from skep.crypto.keys import HiveKeys
from skep.db import Database
from skep.db.database import MakeEngine
from skep.durability.agents import Agents
from skep.durability.held import HeldChunks
from skep.durability.member import Member
from skep.durability.objects import Objects
from skep.durability.policies import Pools
from skep.durability.service import ChunkService
from skep.durability.storeset import StoreSet
from skep.events import EventLog, Hub, Journal, Tell, Teller
from skep.events.records import WorkerFailed
from skep.filesystem import Filesystem, PersonalSpaces, SpaceHooks
from skep.frontends.api.jobs import Jobs
from skep.frontends.api.services import Services
from skep.frontends.common.asgi import App
from skep.frontends.common.content_tickets import ContentTickets
from skep.frontends.common.links import LinkGate
from skep.frontends.live.app import LiveApp
from skep.server import options
from skep.server.addresses import Proxies
from skep.server.agents import open_agents
from skep.server.blocks import BlocksCollector
from skep.server.connections import Connections
from skep.server.credit import AllHooks, add_credit_workers, letter_key, open_credit, open_meter
from skep.server.doors import STREAMS, Ground, open_doors
from skep.server.edge import Edge, Owned, Refuse
from skep.server.facts import Facts
from skep.server.happenings import follow
from skep.server.history import PERIOD_S, History, counts
from skep.server.identity import Identity, open_identity
from skep.server.live import open_live
from skep.server.metrics import HiveCollector, LiveCollector, RequestMetrics, exposition
from skep.server.opening import OpenDouble, open_database, opener
from skep.server.owners import open_owners
from skep.server.pairs import Pairs
from skep.server.plain import PATHS, PlainPages
from skep.server.shown_settings import shown_settings
from skep.server.upkeep import Keepers, add_workers, make_keepers, register_jobs
from skep.stores.egress import Egress
from skep.stores.link.board import LinkBoard

POLLS_OF_ONE = 32
"""Requests of one user that may wait for a change: one for each folder of a few machines."""


@dataclass(slots=True, kw_only=True)
class Hive:
    """An open hive. ``ready`` is set once the server listens; ``app`` answers before that too."""

    settings: Settings
    clock: Clock
    db: Database
    identity: Identity
    stores: StoreSet
    chunks: ChunkService
    auth: Auth
    credit: Credit
    filesystem: Filesystem
    services: Services
    keepers: Keepers
    workers: WorkerSet
    jobs: Jobs
    live: LiveApp
    agents: Agents
    edge: Edge
    app: App
    hub: Hub
    tell: Tell
    ready: bool = False
    _closing: AsyncExitStack

    async def end_streams(self) -> None:
        """Tell those whose connections would last for hours to come back later."""
        self.live.streams.stop()
        await self.agents.close()

    async def close(self, grace_s: float = 10.0) -> None:
        """Stop jobs and workers, finish what is on its way, close stores and database. Safe to call twice."""
        self.ready = False
        self.edge.stopping = True
        self.live.streams.stop()
        await self.agents.close()
        await self.workers.stop(grace_s)
        await self._closing.aclose()


async def open_hive(
    settings: Settings,
    *,
    clock: Clock,
    driver: OpenDouble | None = None,
    engine: MakeEngine | None = None,
    start_workers: bool = True,
    tls: Pairs | None = None,
) -> Hive:
    """Build and start everything of a hive that is set up.

    ``driver`` opens stores instead of the registry, ``engine`` runs the database's work; ``tls``: the certificate that
    the servers show. Raises KeyMissing, KeyWrong, DatabaseTooNew, DatabaseBusy, InvalidSetting; then nothing stays
    open.
    """
    async with AsyncExitStack() as closing:
        # what everything stands on
        db = await open_database(settings, clock, engine)
        closing.push_async_callback(db.close)
        identity = await open_identity(db, settings)
        keys = identity.master.hive_keys()

        # where the bytes are
        board, egress = LinkBoard(), Egress(off=settings.ownership.private_networks)
        closing.push_async_callback(egress.close)
        clouds = await _clouds(db, identity, settings, clock, lambda url: stores.uses(url))
        stores = _store_set(db, identity, settings, clock, driver, clouds, board, egress)
        closing.push_async_callback(stores.close)
        await stores.load()
        pools = Pools(db, stores, clock=clock, choices=settings.ownership.placements)
        chunks = ChunkService(db, stores, identity.master, options.chunk_options(settings), pools)
        closing.push_async_callback(chunks.close)
        await chunks.start()
        objects = Objects(db, chunks, PersonalSpaces())

        # what they mean, and to whom
        hub = Hub(queue_max=settings.limits.subscriber_queue)
        journal = Journal(db, hub)
        stores.tell = chunks.tell = tell = Teller(hub, clock)
        filesystem = Filesystem(db, chunks, EventLog(hub), journal, clock, options.file_limits(settings))
        credit = open_credit(settings, db, clock, filesystem, tell)
        meter = await open_meter(settings, db, clock, filesystem, tell, letter_key(settings, keys), closing)
        auth = await _open_auth(settings, db, keys, clock, filesystem, credit, tell, closing)

        # who keeps it well
        keepers = make_keepers(settings, clock, db, identity, chunks, filesystem, journal, auth)
        closing.push_async_callback(keepers.traffic.close)
        workers = WorkerSet(clock, partial(_tell_failure, tell))
        add_workers(workers, keepers, settings)
        add_credit_workers(workers, credit, meter, settings, db, tell, keys)
        jobs = Jobs(clock)
        closing.push_async_callback(jobs.close)
        register_jobs(jobs, keepers, db)

        # who lends disk
        agents = open_agents(settings, clock, db, identity, stores, board, hurry=keepers.repairer.hurry, tls=tls)
        closing.push_async_callback(agents.close)

        # whose stores they are
        own, layout = open_owners(settings, db, chunks, agents, clouds.grants, keepers.stores)

        # the doors
        facts, history = Facts(db, clock, chunks.cache), History(clock)
        tickets = ContentTickets(keys.token_key, clock)
        services = Services(
            auth=auth, filesystem=filesystem, chunks=chunks, objects=objects, stores=stores, workers=workers, jobs=jobs,
            held=HeldChunks(db, chunks, objects), agents=agents, owning=own, layout=layout, credit=credit,
            rebalancer=keepers.rebalancer, traffic=keepers.traffic, limits=options.request_limits(settings),
            uploads=_uploads(settings, clock), polls=_polls(settings), batch_memory=_batch_memory(settings, clock),
            check_store=partial(_check_store, clouds.grants, board, egress), clouds=clouds, facts=facts.now, db=db,
            history=history.samples, settings=partial(shown_settings, settings),
            certificate=lambda: None if tls is None else tls.state, tickets=tickets,
            links=_links(settings, clock, auth, filesystem, tickets),
        )  # fmt: skip
        live = await open_live(settings, clock, db, keys, auth, hub, journal, identity.hive_id, closing)
        ground = Ground(
            settings=settings, clock=clock, db=db, keys=keys, auth=auth, filesystem=filesystem,
            meter=meter, hub=hub, journal=journal, services=services, live=live,
        )  # fmt: skip
        edge = _front(ground, workers, facts, trouble := _Readiness(stores), history)
        if start_workers:
            workers.start()
        closing.callback(follow(hub).cancel)
        hive = Hive(
            settings=settings, clock=clock, db=db, identity=identity, stores=stores, chunks=chunks, auth=auth,
            credit=credit, filesystem=filesystem, services=services, keepers=keepers, workers=workers, jobs=jobs,
            live=live, agents=agents, edge=edge, app=edge, hub=hub, tell=tell, _closing=closing.pop_all(),
        )  # fmt: skip
        trouble.hive = hive
        return hive


async def _open_auth(
    settings: Settings,
    db: Database,
    keys: HiveKeys,
    clock: Clock,
    filesystem: Filesystem,
    credit: Credit,
    tell: Tell,
    closing: AsyncExitStack,
) -> Auth:
    """Who people are; spaces and credit hear of those who come and go."""
    spaces = SpaceHooks(filesystem)
    hooks = AllHooks(spaces, CreditHooks(credit))
    reached, sends = settings.server.public_url, bool(settings.mail.url)
    if settings.auth.verified_email_to_write and not (reached and sends):
        raise InvalidSetting(
            "auth.verified_email_to_write needs mail.url and server.public_url: nobody could prove an address"
        )
    rules = AuthRules.from_settings(settings.auth, public_url=reached, sends_mail=sends)
    auth = Auth(db, keys, clock, rules, hooks=hooks, deletion=hooks, rooms=spaces)
    closing.push_async_callback(auth.close)
    auth.tell = tell
    credit.note = auth.note_change
    filesystem.note = auth.note
    await auth.start()
    return auth


def _front(ground: Ground, workers: WorkerSet, facts: Facts, trouble: _Readiness, history: History) -> Edge:
    """The doors and the plain pages, behind what every request passes."""
    settings, services = ground.settings, ground.services
    request_metrics = RequestMetrics(registry := CollectorRegistry())
    registry.register(HiveCollector(services.stores, services.chunks, workers, lambda: facts.last))
    registry.register(LiveCollector(ground.live))
    registry.register(BlocksCollector(ground.block_counts))
    workers.add(history, period_s=PERIOD_S)
    history.refresh = facts.now
    history.look = lambda: counts(request_metrics, services.chunks.counters, facts.last)
    doors = open_doors(ground)
    pages = PlainPages(
        doors,
        readiness=trouble.now,
        metrics=lambda: _exposition(registry, facts),
        metrics_access=settings.server.metrics_access,
        auth=ground.auth,
    )
    return edge_of(doors.behind(pages), request_metrics, settings, ground.clock, doors.refuse, doors.owned)


def _tell_failure(tell: Tell, worker: str, error: str, in_a_row: int) -> None:
    tell(WorkerFailed, worker=worker, error=error, failures_in_row=in_a_row)


async def _clouds(
    db: Database, identity: Identity, settings: Settings, clock: Clock, in_use: Callable[[str], bool]
) -> Clouds:
    keys, apps = identity.master.hive_keys(), options.cloud_apps(settings)
    clouds = Clouds(db, keys, clock, identity.hive_id, apps, in_use, public_url=settings.server.public_url)
    await clouds.load()
    return clouds


def _store_set(
    db: Database,
    identity: Identity,
    settings: Settings,
    clock: Clock,
    driver: OpenDouble | None,
    clouds: Clouds,
    board: LinkBoard,
    egress: Egress,
) -> StoreSet:
    open_one = partial(opener, clock, options.store_pace(settings), driver=driver, grants=clouds.grants, links=board)
    return StoreSet(
        db,
        identity.master.hive_keys(),
        identity.hive_id,
        open_one(),
        open_for_users=open_one(egress=egress),
        clock=clock,
        reserve_bytes=settings.storage.reserve_bytes,
        prefer_cheap=settings.storage.prefer_cheap,
    )


def edge_of(
    doors: App,
    metrics: RequestMetrics,
    settings: Settings,
    clock: Clock,
    refuse: Refuse | None = None,
    owned: Owned = lambda scope, headers: False,
) -> Edge:
    """What every request passes, with the limits of the settings. Raises InvalidSetting."""
    limits = settings.limits
    return Edge(
        doors,
        metrics=metrics,
        gate=Gate(
            "requests", limits.requests_at_once, clock, wait_s=limits.wait_s, queue_max=4 * limits.requests_at_once
        ),
        rate=RateLimit("requests", clock, rate_per_s=limits.requests_per_second, burst=limits.requests_burst),
        proxies=Proxies(settings.server.trusted_proxies),
        head_limit_bytes=options.HEAD_LIMIT_BYTES,
        unlimited=PATHS,
        streams=STREAMS,
        origins=frozenset(settings.events.origins),
        log_requests=settings.log.requests,
        refuse=refuse,
        owned=owned,
        connections=Connections(clock),
    )


def _links(settings: Settings, clock: Clock, auth: Auth, filesystem: Filesystem, tickets: ContentTickets) -> LinkGate:
    """Where people without an account come in."""
    links = settings.links
    return LinkGate(
        auth,
        filesystem,
        tickets,
        clock,
        requests_per_s=links.requests_per_second,
        burst=links.requests_burst,
        public_url=settings.server.public_url,
    )


def _uploads(settings: Settings, clock: Clock) -> FairGate:
    """One user may take half of the places: whoever trickles bodies in leaves the other half to others."""
    limits = settings.limits
    each_max = max(1, limits.uploads_at_once // 2)
    return FairGate("uploads", limits.uploads_at_once, clock, each_max=each_max, wait_s=limits.wait_s)


def _polls(settings: Settings) -> Shares:
    """At most half of the requests may be waits for changes."""
    return Shares("waits for changes", max(1, settings.limits.requests_at_once // 2), each_max=POLLS_OF_ONE)


def _batch_memory(settings: Settings, clock: Clock) -> ByteBudget:
    """Two full batches at once; smaller ones more."""
    limits = settings.limits
    return ByteBudget("batch memory", 2 * limits.batch_bytes, clock, wait_s=limits.wait_s, error=TimedOut)


async def _exposition(registry: CollectorRegistry, facts: Facts) -> bytes:
    await facts.now()
    return exposition(registry)


async def _check_store(grants: CloudGrants, board: LinkBoard, egress: Egress, member: Member) -> tuple[bool, Any]:
    from skep.server.store_check import check_store

    return await check_store(member, grants, board, egress)


class _Readiness:
    """What keeps the hive from taking requests."""

    def __init__(self, stores: StoreSet) -> None:
        self._stores = stores
        self.hive: Hive | None = None

    async def now(self) -> list[str]:
        """One line for each thing that is not well enough; empty: ready."""
        if self.hive is None or not self.hive.ready:
            return ["starting or stopping"]
        trouble = []
        try:
            await self.hive.db.read(lambda tx: tx.now_us)
        except Exception as error:
            trouble.append(f"database: {_code(error)}")
        members: list[Any] = list(self._stores)
        if members and all(member.down for member in members):
            trouble.append("stores: none answers")
        return trouble


def _code(error: Exception) -> str:
    return str(getattr(error, "code", "does not answer"))
