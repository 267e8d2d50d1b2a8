"""What happens in a hive, as frozen records: changes of spaces, and events for its operator.

A **change** is an entry of a space's journal: clients sync from it, it is in the database and its
number is its place. An **event** tells an operator what the hive did or met: it is sent to whoever
listens at that moment and is not kept. Those of shares are emitted; the others have no sender.

``CHANGE_KINDS`` and ``EVENT_TYPES`` are the lists of all there are; ``docs/events.md`` describes
each, and a test notices one that it misses.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from skep.base.ids import Id

CHANGE_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "created": "a file or directory is there that was not",
        "updated": "a file has a new current version",
        "moved": "a node has another name or parent; old_path says where it was",
        "trashed": "a node went to the trash, with all below it",
        "restored": "a node came back from the trash",
        "deleted": "a node is gone for good, with all below it",
        "metadata": "attributes, type, time or tags of a node changed, its content did not",
    }
)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A change before it has its number and time."""

    kind: str
    node_id: Id
    node_kind: str
    path: str
    size_bytes: int
    actor_id: Id | None
    old_path: str | None = None
    version_number: int | None = None
    etag: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in CHANGE_KINDS:
            raise ValueError(f"{self.kind!r} is no kind of change: one of {', '.join(CHANGE_KINDS)}")


class Change(msgspec.Struct, frozen=True):
    """One entry of a space's journal; the fields are the columns of ``schema.changes``, in order."""

    space_id: Id
    number: int
    kind: str
    node_id: Id
    node_kind: str
    path: str
    old_path: str | None
    version_number: int | None
    etag: str | None
    size_bytes: int
    actor_id: Id | None
    at_us: int


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of the events for operators; ``at_us`` is when it happened, UTC microseconds."""

    at_us: int

    @classmethod
    def kind(cls) -> str:
        """The stable name that logs, metrics and docs use."""
        return str(cls.__struct_config__.tag)


class HiveStarted(Event, frozen=True, kw_only=True, tag="hive-started"):
    """The hive is ready for requests."""

    version: str
    start_s: float


class HiveStopping(Event, frozen=True, kw_only=True, tag="hive-stopping"):
    """The hive takes no new requests and finishes those that it has."""

    reason: str


class WorkerFailed(Event, frozen=True, kw_only=True, tag="worker-failed"):
    """A background worker's unit of work failed; it will try again."""

    worker: str
    error: str
    failures_in_row: int


class StoreAdded(Event, frozen=True, kw_only=True, tag="store-added"):
    """A store was added."""

    store_id: Id
    name: str
    zone: str


class StoreRemoved(Event, frozen=True, kw_only=True, tag="store-removed"):
    """A store was drained and removed, or given up."""

    store_id: Id
    name: str


class StoreLost(Event, frozen=True, kw_only=True, tag="store-lost"):
    """A store does not answer; reads rebuild what it held, writes avoid it."""

    store_id: Id
    name: str
    error: str


class StoreRecovered(Event, frozen=True, kw_only=True, tag="store-recovered"):
    """A lost store answers again."""

    store_id: Id
    name: str


class StoreAlmostFull(Event, frozen=True, kw_only=True, tag="store-almost-full"):
    """A store has little room left."""

    store_id: Id
    name: str
    free_bytes: int


class ShardDamaged(Event, frozen=True, kw_only=True, tag="shard-damaged"):
    """A shard is missing or does not have its hashes."""

    pack_id: bytes
    number: int
    store_id: Id
    state: str


class RepairQueued(Event, frozen=True, kw_only=True, tag="repair-queued"):
    """A pack has lost shards, or was written degraded, and waits to be made whole."""

    pack_id: bytes
    reason: str
    lost: int


class RepairDone(Event, frozen=True, kw_only=True, tag="repair-done"):
    """A pack is whole again."""

    pack_id: bytes
    shards: int
    bytes_written: int


class PackLost(Event, frozen=True, kw_only=True, tag="pack-lost"):
    """Fewer shards of a pack are readable than it needs: the chunks in it cannot be read."""

    pack_id: bytes
    readable: int
    needed: int


class ScrubDone(Event, frozen=True, kw_only=True, tag="scrub-done"):
    """A scrub went through all packs."""

    packs: int
    damaged: int


class GarbageCollected(Event, frozen=True, kw_only=True, tag="garbage-collected"):
    """A collection removed chunks and packs that nothing referenced."""

    chunks: int
    packs: int
    bytes_freed: int


class SnapshotWritten(Event, frozen=True, kw_only=True, tag="snapshot-written"):
    """A snapshot of the metadata is in the stores."""

    pack_count: int
    size_bytes: int


class ShareGiven(Event, frozen=True, kw_only=True, tag="share-given"):
    """A user or a group was given access to a node, or other rights on it."""

    share_id: Id
    kind_of_holder: str
    holder_id: Id


class ShareAnswered(Event, frozen=True, kw_only=True, tag="share-answered"):
    """A holder accepted or declined a share."""

    share_id: Id
    user_id: Id
    accepted: bool


class ShareEnded(Event, frozen=True, kw_only=True, tag="share-ended"):
    """A share was taken back by who gave it or owns what is shared."""

    share_id: Id


class LinkMade(Event, frozen=True, kw_only=True, tag="link-made"):
    """A link was made: whoever knows its address may what ``rights`` say, without an account."""

    link_id: Id
    rights: str


class LinkChanged(Event, frozen=True, kw_only=True, tag="link-changed"):
    """A link has other rules, or another address."""

    link_id: Id


class LinkEnded(Event, frozen=True, kw_only=True, tag="link-ended"):
    """A link was taken back by who made it or owns what it is on."""

    link_id: Id


class AuditNoted(Event, frozen=True, kw_only=True, tag="audit-noted"):
    """The audit log has a new entry. Kept elsewhere, these lines show when the log is cut or written anew."""

    number: int
    action: str
    actor: str
    subject: str
    address: str
    hash: bytes


class CreditMoved(Event, frozen=True, kw_only=True, tag="credit-moved"):
    """Credit was deposited, withdrawn, given or paid; what is metered is not told one by one."""

    transfer_id: Id
    what: str
    unit: str
    amount: int


class PlanChanged(Event, frozen=True, kw_only=True, tag="plan-changed"):
    """A user or a group (``owner``: its id in hex) has another plan, or one more that was prepaid; empty: none."""

    kind_of_account: str
    owner: str
    plan: str


class QuotaAlmostUsed(Event, frozen=True, kw_only=True, tag="quota-almost-used"):
    """An account has used 80 or 95 percent of what it may.

    ``what``: ``traffic`` of this month, the ``space``, or its ``objects`` (files and directories).
    """

    account_id: Id
    what: str
    percent: int
    used: int
    limit: int


EVENT_TYPES: tuple[type[Event], ...] = (
    HiveStarted,
    HiveStopping,
    WorkerFailed,
    StoreAdded,
    StoreRemoved,
    StoreLost,
    StoreRecovered,
    StoreAlmostFull,
    ShardDamaged,
    RepairQueued,
    RepairDone,
    PackLost,
    ScrubDone,
    GarbageCollected,
    SnapshotWritten,
    ShareGiven,
    ShareAnswered,
    ShareEnded,
    LinkMade,
    LinkChanged,
    LinkEnded,
    AuditNoted,
    CreditMoved,
    PlanChanged,
    QuotaAlmostUsed,
)
"""Every event there is."""
