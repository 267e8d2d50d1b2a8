"""The hive's stores: their rows, their opened drivers, their health and their room.

A store that fails three times in a row is taken as down: writes pass it by and reads leave it
for last, until a call succeeds again, which is tried after a back-off that doubles up to five
minutes. A store that cannot be opened at all is kept, with its error, and tried again likewise.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa

from skep.base.errors import (
    AlreadyExists,
    Conflict,
    InUse,
    InvalidName,
    SkepError,
    StoreFull,
    StoreNotFound,
    StoreReadOnly,
    StoreUnavailable,
    Unavailable,
)
from skep.base.ids import Id, id_text, new_id
from skep.crypto.keys import HiveKeys
from skep.crypto.sealing import open_record, seal_record
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.placement import Candidate
from skep.stores.identity import claimable
from skep.stores.protocol import Store, Usage

T = TypeVar("T")

FAILURES_UNTIL_DOWN = 3
DOWN_MIN_S = 2.0
DOWN_MAX_S = 300.0
USAGE_AGE_MAX_S = 10.0
RESERVE_BYTES = 64 << 20
"""Kept free on each store, so that repair and the file system itself can still move."""
STATES = ("active", "readonly", "draining", "lost")

OpenStore = Callable[[str, bytes | None], Store]

_c = s.stores.c
_ROWS = prepared(
    sa.select(
        _c.id, _c.name, _c.url, _c.sealed_secret, _c.zone, _c.capacity_bytes, _c.state, _c.used_bytes, _c.owner_id
    ).order_by(_c.created_us, _c.id)
)
_INSERT = insert_new(s.stores)
_BY_NAME = prepared(sa.select(_c.id).where(_c.name == sa.bindparam("name")))
_SET_STATE = prepared(sa.update(s.stores).where(_c.id == sa.bindparam("store")).values(state=sa.bindparam("to")))
_USED = prepared(sa.select(_c.id, _c.used_bytes))
_SHARDS_HELD = prepared(
    sa.select(sa.func.count()).select_from(s.shards).where(s.shards.c.store_id == sa.bindparam("store"))
)
_DELETE = prepared(sa.delete(s.stores).where(_c.id == sa.bindparam("store")))


@dataclass(slots=True)
class Member:
    """One store of the set. Mutable: the set alone changes it, on the event loop's thread."""

    id: Id
    name: str
    url: str
    zone: str
    capacity_bytes: int | None
    state: str
    owner_id: Id | None = None
    secret: bytes | None = field(default=None, repr=False)
    store: Store | None = None
    error: str | None = None
    usage: Usage = field(default_factory=lambda: Usage(None, None))
    usage_at_s: float = float("-inf")
    used_bytes: int = 0
    failures: int = 0
    down_until_s: float = float("-inf")
    latency_s: float = 0.005
    """Smoothed 95th percentile of the time to the answer of a read, in seconds."""

    @property
    def down(self) -> bool:
        """Whether calls are likely to fail now."""
        return self.store is None or self.failures >= FAILURES_UNTIL_DOWN

    @property
    def resting(self) -> bool:
        """Whether it is down and not yet due for another try."""
        return self.down and time.monotonic() < self.down_until_s

    @property
    def free_bytes(self) -> int | None:
        """What we may still write; None when nobody knows."""
        limits = []
        if self.usage.free_bytes is not None:
            limits.append(self.usage.free_bytes - RESERVE_BYTES)
        if self.capacity_bytes is not None:
            limits.append(self.capacity_bytes - self.used_bytes)
        return max(0, min(limits)) if limits else None

    @property
    def weight(self) -> float:
        """Its share in placement: capacity in GiB where known, else used and free together."""
        size = self.capacity_bytes
        if size is None and self.usage.free_bytes is not None:
            size = self.usage.free_bytes + self.used_bytes
        return max(1.0, (size or 100 << 30) / (1 << 30))


class StoreSet:
    """All stores of a hive. Used from the event loop's thread only."""

    def __init__(self, db: Database, keys: HiveKeys, hive_id: Id, opener: OpenStore) -> None:
        self._db = db
        self._keys = keys
        self._hive_id = hive_id
        self._open = opener
        self._members: dict[Id, Member] = {}

    async def load(self) -> None:
        """Read the rows and open what can be opened."""
        for row in await self._db.read(lambda tx: tx.rows(_ROWS)):
            store_id, name, url, sealed, zone, capacity, state, used, owner = row
            secret = None if sealed is None else open_record(self._keys.secrets_key, sealed, b"store " + store_id)
            member = Member(store_id, name, url, zone, capacity, state, owner, secret, used_bytes=used)
            self._members[store_id] = member
            await self._try_open(member)

    async def close(self) -> None:
        """Close every driver."""
        for member in self._members.values():
            if member.store is not None:
                await member.store.close()
                member.store = None

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)

    def get(self, store_id: Id) -> Member | None:
        """The member of that id, if it is (still) one."""
        return self._members.get(store_id)

    def by_name(self, name: str) -> Member:
        """The member of that name. Raises StoreNotFound."""
        for member in self._members.values():
            if member.name == name:
                return member
        raise StoreNotFound(f"no store is named {name!r}: `skep store ls` shows them all")

    async def _try_open(self, member: Member) -> None:
        try:
            member.store = await self._open_known(member)
            member.error, member.failures = None, 0
            await self.refresh_usage(member)
        except SkepError as error:
            member.error = error.message
            self._back_off(member)

    async def _open_known(self, member: Member) -> Store:
        store = self._open(member.url, member.secret)
        try:
            await self._recognise(member, store)
        except BaseException:
            await store.close()
            raise
        return store

    async def _recognise(self, member: Member, store: Store) -> None:
        """Check the marker that ties a place to this hive and store, where its kind keeps one.

        Raises StoreUnavailable (empty: not mounted?) or Conflict (somebody else's).
        """
        marked = claimable(store)
        if marked is None:
            return
        found = await marked.identity()
        if found is None:
            raise StoreUnavailable(f"{member.url} is empty, without this store's marker: is the disk mounted?")
        if (found.hive_id, found.store_id) != (self._hive_id, member.id):
            raise Conflict(
                f"{member.url} holds another store ({id_text(found.store_id)}): correct what is mounted there"
            )

    def _back_off(self, member: Member) -> None:
        member.failures += 1
        doubled = DOWN_MIN_S * 2.0 ** min(12, max(0, member.failures - FAILURES_UNTIL_DOWN))
        member.down_until_s = time.monotonic() + min(DOWN_MAX_S, doubled)

    async def probe(self) -> list[Member]:
        """Try the stores that are down and due, refresh the room of the others.

        Returns the members that came back. One unit of work of the ``stores`` worker.
        """
        back = []
        for member in list(self._members.values()):
            if member.resting:
                continue
            was_down = member.down
            if member.store is None:
                await self._try_open(member)
            else:
                await self.refresh_usage(member)
            if was_down and not member.down:
                back.append(member)
        await self._refresh_used()
        return back

    async def _refresh_used(self) -> None:
        for store_id, used in await self._db.read(lambda tx: tx.rows(_USED)):
            member = self._members.get(store_id)
            if member is not None:
                member.used_bytes = used

    async def refresh_usage(self, member: Member) -> None:
        """Ask a store for its room; a failure is noted, not raised."""
        member.usage_at_s = time.monotonic()
        if member.store is None:
            return
        store = member.store
        try:
            member.usage = await self.call(member, lambda: store.usage(), timed=False)
        except SkepError as error:
            member.error = error.message

    async def call(self, member: Member, action: Callable[[], Awaitable[T]], *, timed: bool = True) -> T:
        """Run one store call and note how it went. Raises what the call raises."""
        started = time.monotonic()
        try:
            result = await action()
        except (StoreFull, StoreReadOnly) as error:
            member.error = error.message
            if isinstance(error, StoreFull):
                member.usage = Usage(member.usage.used_bytes, 0)
            raise
        except Unavailable as error:
            member.error = error.message
            self._back_off(member)
            raise
        member.failures = 0
        if timed:
            self._note_latency(member, time.monotonic() - started)
        return result

    @staticmethod
    def _note_latency(member: Member, seconds: float) -> None:
        """Track the 95th percentile by stochastic approximation (Robbins and Monro 1951)."""
        step = max(member.latency_s, 0.0005) * 0.1
        member.latency_s = max(0.0002, member.latency_s + (step * 0.95 if seconds > member.latency_s else -step * 0.05))

    def wrote(self, member: Member, size_bytes: int) -> None:
        """Count bytes just written against the member's room until it is asked again."""
        member.used_bytes += size_bytes
        free = member.usage.free_bytes
        if free is not None:
            member.usage = Usage(member.usage.used_bytes, max(0, free - size_bytes))

    async def candidates(self) -> list[Candidate]:
        """Stores that may take shards now, with what placement needs to know of them."""
        now = time.monotonic()
        usable = []
        for member in list(self._members.values()):
            if member.state != "active" or member.resting:
                continue
            if member.store is None:
                await self._try_open(member)
            elif now - member.usage_at_s > USAGE_AGE_MAX_S:
                await self.refresh_usage(member)
            if not member.down:
                usable.append(Candidate(member.id, member.zone, member.weight, member.free_bytes))
        return usable

    async def add(
        self, name: str, url: str, zone: str, capacity_bytes: int | None = None, secret: bytes | None = None
    ) -> Member:
        """Open a place, claim it for this hive and record it.

        Raises InvalidName, InvalidStoreUrl, AlreadyExists, Conflict (another hive's place) and
        what opening raises; nothing is recorded then.
        """
        if not name or len(name.encode()) > 64 or any(not (c.isalnum() or c in "-_.") for c in name):
            raise InvalidName(f"{name!r} cannot name a store: use 1 to 64 letters, digits, dots and dashes")
        if any(member.name == name or member.url == url for member in self._members.values()):
            raise AlreadyExists(f"a store named {name!r} or at {url} is there: `skep store ls` shows it")
        member = Member(new_id(), name, url, zone or name, capacity_bytes, "active", secret=secret)
        member.store = self._open(url, secret)
        try:
            marked = claimable(member.store)
            if marked is not None:
                await marked.claim(self._hive_id, member.id)
            member.usage = await member.store.usage()
            member.usage_at_s = time.monotonic()
            await self._db.write(lambda tx: self._insert(tx, member))
        except BaseException:
            await member.store.close()
            raise
        self._members[member.id] = member
        return member

    def _insert(self, tx: Transaction, member: Member) -> None:
        if tx.value(_BY_NAME, {"name": member.name}) is not None:
            raise AlreadyExists(f"a store named {member.name!r} is there: `skep store ls` shows it")
        sealed = None
        if member.secret is not None:
            sealed = seal_record(self._keys.secrets_key, member.secret, b"store " + member.id)
        tx.run(
            _INSERT,
            {
                "id": member.id,
                "name": member.name,
                "url": member.url,
                "sealed_secret": sealed,
                "zone": member.zone,
                "capacity_bytes": member.capacity_bytes,
                "used_bytes": 0,
                "state": member.state,
                "owner_id": None,
                "created_us": tx.now_us,
            },
        )

    async def set_state(self, member: Member, state: str) -> None:
        """Make a store active, readonly, draining or lost (its shards are then rebuilt elsewhere)."""
        if state not in STATES:
            raise InvalidName(f"{state!r} is no state of a store: take one of {', '.join(STATES)}")
        await self._db.write(lambda tx: tx.run(_SET_STATE, {"store": member.id, "to": state}))
        member.state = state
        member.down_until_s = float("-inf")

    async def remove(self, member: Member) -> None:
        """Forget a store that holds no shard. Raises InUse while it does."""

        def work(tx: Transaction) -> None:
            held = tx.value(_SHARDS_HELD, {"store": member.id})
            if held:
                raise InUse(
                    f"store {member.name!r} holds {held} shards: set it to draining (or lost) and let repair move them"
                )
            tx.run(_DELETE, {"store": member.id})

        await self._db.write(work)
        del self._members[member.id]
        if member.store is not None:
            await member.store.close()
