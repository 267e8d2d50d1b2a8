"""What the API stands on: the services that ``server`` built, and the limits of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from skep.auth import Auth
from skep.base.limits import ByteBudget, FairGate, Shares
from skep.base.settings import Explained
from skep.base.workers import WorkerSet
from skep.clouds import Clouds
from skep.credit import Credit
from skep.db import Database
from skep.durability.agents import Agents
from skep.durability.held import HeldChunks
from skep.durability.layout import Layout
from skep.durability.member import Member
from skep.durability.objects import Objects
from skep.durability.owning import Owning
from skep.durability.rebalance import Rebalancer
from skep.durability.service import ChunkService
from skep.durability.storeset import StoreSet
from skep.durability.traffic import Traffic
from skep.filesystem import Filesystem
from skep.frontends.api.jobs import Jobs
from skep.frontends.common.content_tickets import ContentTickets
from skep.frontends.common.links import LinkGate


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The most that one request may take. Sizes in bytes, times in seconds."""

    head_bytes: int = 64 * 1024
    body_bytes: int = 5 << 40
    json_body_bytes: int = 4 << 20
    idle_timeout_s: float = 60.0
    """Without a byte of the body, or with a reader that takes none."""
    request_timeout_s: float = 120.0
    """For calls that stream nothing."""
    poll_s: float = 60.0
    listing_items: int = 10_000
    changes_items: int = 1_000
    batch_items: int = 10_000
    batch_item_bytes: int = 4 << 20
    batch_bytes: int = 64 << 20
    chunk_bytes: int = 64 << 20
    chunks_over: Literal["stores", "array", "cloud", "both"] = "stores"
    """Where ``/api/chunk/`` keeps what does not say where."""


class ShownCertificate(NamedTuple):
    """The TLS certificate that the hive itself shows."""

    sha256: str
    """As people compare it: AB:CD:…"""
    ends_us: int
    trouble: str | None
    """Why a newer one in its files is not taken."""


class Sample(NamedTuple):
    """What the hive had counted at one time."""

    at_us: int
    counts: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services behind the API's operations."""

    auth: Auth
    filesystem: Filesystem
    chunks: ChunkService
    objects: Objects
    held: HeldChunks
    """Chunks on members."""
    stores: StoreSet
    workers: WorkerSet
    jobs: Jobs
    rebalancer: Rebalancer
    traffic: Traffic
    limits: RequestLimits
    uploads: FairGate
    """How many uploads run at once; of one user at most half of them."""
    polls: Shares
    """Requests that wait for a change: so many of one user, and never all that the hive works on."""
    batch_memory: ByteBudget
    """Bytes of batches that may be in memory at once."""
    check_store: Callable[[Member], Awaitable[tuple[bool, Any]]]
    """The conformance suite on one store: whether it passed, and its report as JSON."""
    clouds: Clouds
    """App keys, logins and grants at cloud providers."""
    agents: Agents
    """Computers that lend disk."""
    owning: Owning
    """Whose stores they are."""
    layout: Layout
    """What is lost together."""
    credit: Credit
    """Who has how much to spend."""
    tickets: ContentTickets
    """What a browser's own downloads show instead of a login."""
    links: LinkGate
    """Where whoever shows the address of a link passes."""
    facts: Callable[[], Awaitable[dict[str, Any]]]
    """Counts and bytes of the whole hive, for the status."""
    history: Callable[[], list[Sample]]
    """The same over the last day, for plots."""
    settings: Callable[[], list[Explained]]
    """The settings in force, secrets hidden."""
    db: Database
    certificate: Callable[[], ShownCertificate | None] = lambda: None
    """None where the hive speaks no TLS itself."""
