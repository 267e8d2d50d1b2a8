"""The hive's stores: loaded, opened, recognised, probed, added and removed.

A store that cannot be opened is kept, with its error, and tried again like one that fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from skep.base.clock import Clock, SystemClock
from skep.base.errors import (
    AlreadyExists,
    Conflict,
    InUse,
    InvalidName,
    InvalidStoreUrl,
    SkepError,
    StoreFull,
    StoreNotFound,
    StoreOffline,
    StoreReadOnly,
    StoreUnavailable,
    Unavailable,
)
from skep.base.ids import Id, id_text, new_id
from skep.crypto.keys import HiveKeys
from skep.crypto.sealing import open_record, seal_record
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.member import FAILURES_UNTIL_DOWN, RESERVE_BYTES, Member
from skep.durability.placement import Candidate
from skep.durability.reputation import Reputation, after_audit
from skep.durability.terms import Terms, factor
from skep.events import Tell, tell_nobody
from skep.events.records import StoreAdded, StoreRemoved
from skep.stores.identity import claimable
from skep.stores.pacing import paced
from skep.stores.protocol import Store, Usage

T = TypeVar("T")

USAGE_AGE_MAX_S = 10.0
USAGE_TIMEOUT_S = 60.0
RECOGNISE_TIMEOUT_S = 20.0
"""How long a store may take to say whose it is: the others wait for that at the start."""
STATES = ("active", "readonly", "draining", "lost")

OpenStore = Callable[[str, bytes | None], Store]

_c = s.stores.c
_ROWS = prepared(
    sa.select(
        _c.id,
        _c.name,
        _c.url,
        _c.sealed_secret,
        _c.zone,
        _c.capacity_bytes,
        _c.state,
        _c.used_bytes,
        _c.owner_id,
        _c.reputation,
        _c.terms,
    ).order_by(_c.created_us, _c.id)
)
_INSERT = insert_new(s.stores)
_BY_NAME = prepared(sa.select(_c.id).where(_c.name == sa.bindparam("name")))
_SET_STATE = prepared(sa.update(s.stores).where(_c.id == sa.bindparam("store")).values(state=sa.bindparam("to")))
_SET_REPUTATION = prepared(
    sa.update(s.stores).where(_c.id == sa.bindparam("store")).values(reputation=sa.bindparam("known"))
)
_CHANGE = prepared(
    sa.update(s.stores)
    .where(_c.id == sa.bindparam("store"))
    .values(zone=sa.bindparam("in_zone"), capacity_bytes=sa.bindparam("most"), terms=sa.bindparam("agreed"))
)
_USED = prepared(sa.select(_c.id, _c.used_bytes))
_SHARDS_HELD = prepared(
    sa.select(sa.func.count()).select_from(s.shards).where(s.shards.c.store_id == sa.bindparam("store"))
)
_DELETE = prepared(sa.delete(s.stores).where(_c.id == sa.bindparam("store")))


class StoreSet:
    """All stores of a hive. Used from the event loop's thread only."""

    def __init__(
        self,
        db: Database,
        keys: HiveKeys,
        hive_id: Id,
        opener: OpenStore,
        *,
        open_for_users: OpenStore | None = None,
        clock: Clock | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        prefer_cheap: float = 0.0,
    ) -> None:
        """``open_for_users`` opens stores with an owner, if those are reached in another way than the hive's.

        ``prefer_cheap``: how much placement leans to cheaper stores; 0: not at all, 1: in proportion."""
        self._prefer_cheap = prefer_cheap
        self._clock = clock or SystemClock()
        self._reserve_bytes = reserve_bytes
        self._db = db
        self._keys = keys
        self._hive_id = hive_id
        self._open = opener
        self._open_for_users = open_for_users or opener
        self._members: dict[Id, Member] = {}
        self.tell: Tell = tell_nobody
        """Of what operators want to hear."""

    async def load(self) -> None:
        """Read the rows and open what can be opened."""
        for row in await self._db.read(lambda tx: tx.rows(_ROWS)):
            store_id, name, url, sealed, zone, capacity, state, used, owner, known, terms = row
            secret = None if sealed is None else open_record(self._keys.secrets_key, sealed, b"store " + store_id)
            member = Member(store_id, name, url, zone, capacity, state, self._clock, self._reserve_bytes, owner, secret)
            member.used_bytes = used
            if known is not None:
                member.reputation = msgspec.json.decode(known, type=Reputation)
            if terms is not None:
                member.terms = msgspec.json.decode(terms, type=Terms)
            self._members[store_id] = member
            await self._try_open(member)

    async def close(self) -> None:
        """Close every driver."""
        for member in self._members.values():
            if member.store is not None:
                await member.store.close()
                member.store = None

    @property
    def clock(self) -> Clock:
        """The hive's clock."""
        return self._clock

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)

    def get(self, store_id: Id) -> Member | None:
        """The member of that id, if it is (still) one."""
        return self._members.get(store_id)

    def of_url(self, url: str) -> Member | None:
        """The member at exactly this URL, if there is one."""
        return next((member for member in self._members.values() if member.url == url), None)

    def by_name(self, name: str) -> Member:
        """The member of that name. Raises StoreNotFound."""
        for member in self._members.values():
            if member.name == name:
                return member
        raise StoreNotFound(f"no store is named {name!r}: `skep store ls` shows them all")

    def uses(self, url: str) -> bool:
        """Whether the place of this URL, or a folder in it, is a store."""
        return any(member.url == url or member.url.startswith(f"{url}/") for member in self._members.values())

    async def _try_open(self, member: Member) -> None:
        try:
            member.store = await self._open_known(member)
            member.error, member.failures = None, 0
            await self.refresh_usage(member)
        except SkepError as error:
            member.error = error.message
            member.back_off()

    async def _open_known(self, member: Member) -> Store:
        store = self._opened(member)
        try:
            await self._recognise(member, store)
            _set_rates(member, store)
        except BaseException:
            await store.close()
            raise
        return store

    def _opened(self, member: Member) -> Store:
        """Its driver, without a look at the place. Raises InvalidStoreUrl."""
        return (self._open if member.owner_id is None else self._open_for_users)(member.url, member.secret)

    async def _recognise(self, member: Member, store: Store) -> None:
        """Check the marker that ties a place to this hive and store, where its kind keeps one.

        Raises StoreUnavailable (empty: not mounted? or no answer) or Conflict (somebody else's).
        """
        marked = claimable(store)
        if marked is None:
            return
        try:
            async with asyncio.timeout(RECOGNISE_TIMEOUT_S):
                found = await marked.identity()
        except TimeoutError:
            raise StoreUnavailable(f"{member.url} did not answer within {RECOGNISE_TIMEOUT_S:.0f} s") from None
        if found is None:
            raise StoreUnavailable(f"{member.url} is empty, without this store's marker: is the disk mounted?")
        if (found.hive_id, found.store_id) != (self._hive_id, member.id):
            raise Conflict(
                f"{member.url} holds another store ({id_text(found.store_id)}): correct what is mounted there"
            )

    def note_away(self, member: Member, why: str) -> None:
        """A store says that it is gone: it is down from now on, without a call that has to fail first."""
        member.error = why
        member.failures = max(member.failures, FAILURES_UNTIL_DOWN)
        member.back_off()

    async def revive(self, member: Member) -> None:
        """A store that was away says that it is back: recognise it again and use it at once."""
        member.down_until_s = float("-inf")
        if member.store is None:
            await self._try_open(member)
            return
        try:
            await self._recognise(member, member.store)
            member.error, member.failures = None, 0
            await self.refresh_usage(member)
        except SkepError as error:
            await member.store.close()
            member.store = None
            member.error = error.message
            member.back_off()

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
        member.usage_at_s = self._clock.monotonic_s()
        if member.store is None:
            return
        store = member.store
        try:
            member.usage = await self.call(member, lambda: store.usage(), timed=False, timeout_s=USAGE_TIMEOUT_S)
        except SkepError as error:
            member.error = error.message

    async def call(
        self,
        member: Member,
        action: Callable[[], Awaitable[T]],
        *,
        timed: bool = True,
        timeout_s: float | None = None,
    ) -> T:
        """Run one store call and note how it went; ``timed`` ones count for the store's latency.

        Raises what the call raises, and StoreUnavailable when it takes longer than ``timeout_s``.
        """
        started = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(timeout_s):
                result = await action()
        except TimeoutError:
            error = StoreUnavailable(f"store {member.name!r} did not answer within {timeout_s:.0f} s")
            member.error = error.message
            member.back_off()
            raise error from None
        except (StoreFull, StoreReadOnly) as error:
            member.error = error.message
            if isinstance(error, StoreFull):
                member.usage = Usage(member.usage.used_bytes, 0)
            raise
        except Unavailable as error:
            member.error = error.message
            member.back_off()
            if isinstance(error, StoreOffline):  # no need to ask again: it says so itself when it is back
                member.failures = max(member.failures, FAILURES_UNTIL_DOWN)
            raise
        member.failures = 0
        if timed:
            member.late = 0
            member.note_latency(self._clock.monotonic_s() - started)
        return result

    async def candidates(self, tier_of: Callable[[Member], int | None] | None = None) -> list[Candidate]:
        """Stores that may take shards now, with what placement needs to know of them.

        ``tier_of`` says which may for these shards, and how willingly; without it the hive's own may, all alike.
        """
        now = self._clock.monotonic_s()
        usable = []
        for member in list(self._members.values()):
            tier = _hives_own(member) if tier_of is None else tier_of(member)
            if tier is None or member.state != "active" or member.resting:
                continue
            if member.store is None:
                await self._try_open(member)
            elif now - member.usage_at_s > USAGE_AGE_MAX_S:
                await self.refresh_usage(member)
            if not member.down:
                weight = member.weight * member.reputation.factor
                usable.append(Candidate(member.id, member.zone, weight, member.free_bytes, tier))
        return self._thrifty(usable)

    def _thrifty(self, candidates: list[Candidate]) -> list[Candidate]:
        """Let what is cheaper weigh more, as far as the hive prefers it."""
        if not self._prefer_cheap:
            return candidates
        prices = {each.store_id: self._members[each.store_id].terms.price_stored for each in candidates}
        return [
            replace(each, weight=each.weight * factor(prices, each.store_id, self._prefer_cheap)) for each in candidates
        ]

    async def add(
        self,
        name: str,
        url: str,
        zone: str,
        capacity_bytes: int | None = None,
        secret: bytes | None = None,
        *,
        durable: bool = False,
        owner_id: Id | None = None,
    ) -> Member:
        """Open a place, claim it for this hive and record it; ``owner_id`` is the user whose it is, None the hive.

        With ``durable`` a place that forgets when the power goes is refused. Raises InvalidName,
        InvalidStoreUrl, AlreadyExists, Conflict (another hive's place) and what opening raises;
        nothing is recorded then.
        """
        if not name or len(name.encode()) > 64 or any(not (c.isalnum() or c in "-_.") for c in name):
            raise InvalidName(f"{name!r} cannot name a store: use 1 to 64 letters, digits, dots and dashes")
        if any(member.name == name or member.url == url for member in self._members.values()):
            raise AlreadyExists(f"a store named {name!r} or at {url} is there: `skep store ls` shows it")
        member = Member(
            new_id(), name, url, zone or name, capacity_bytes, "active", self._clock, self._reserve_bytes, owner_id,
            secret,
        )  # fmt: skip
        member.store = self._opened(member)
        try:
            if durable and not member.store.properties.durable:
                raise InvalidStoreUrl(
                    f"{url} forgets all it holds when the hive stops: it is for tests, name a directory"
                )
            marked = claimable(member.store)
            if marked is not None:
                await marked.claim(self._hive_id, member.id)
            member.usage = await member.store.usage()
            member.usage_at_s = self._clock.monotonic_s()
            await self._db.write(lambda tx: self._insert(tx, member))
        except BaseException:
            await member.store.close()
            raise
        self._members[member.id] = member
        self.tell(StoreAdded, store_id=member.id, name=member.name, zone=member.zone)
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
                "owner_id": member.owner_id,
                "reputation": None,
                "terms": None,
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

    async def change(
        self,
        member: Member,
        *,
        zone: str | None = None,
        capacity_bytes: int | UnsetType | None = UNSET,
        terms: Terms | None = None,
    ) -> None:
        """Change facts of a store: its zone, what the hive may use of it (None: all), its terms.

        Shards that another zone puts side by side are moved apart by repair. Raises InvalidName.
        """
        if zone is not None and not 0 < len(zone.encode()) <= 255:
            raise InvalidName("a zone is named by 1 to 255 bytes")
        new_zone = member.zone if zone is None else zone
        capacity = member.capacity_bytes if isinstance(capacity_bytes, UnsetType) else capacity_bytes
        agreed = member.terms if terms is None else terms
        row = {
            "store": member.id, "in_zone": new_zone, "most": capacity, "agreed": msgspec.json.encode(agreed).decode()
        }  # fmt: skip
        await self._db.write(lambda tx: tx.run(_CHANGE, row))
        member.zone, member.capacity_bytes, member.terms = new_zone, capacity, agreed
        _set_rates(member)

    async def note_audit(self, member: Member, outcome: str) -> None:
        """Remember what an audit has shown: ``passed``, ``failed`` or ``unanswered``."""
        member.reputation = after_audit(member.reputation, outcome, self._clock.now_us())
        known = msgspec.json.encode(member.reputation).decode()
        await self._db.write(lambda tx: tx.run(_SET_REPUTATION, {"store": member.id, "known": known}))

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
        self.tell(StoreRemoved, store_id=member.id, name=member.name)
        if member.store is not None:
            await member.store.close()


def _hives_own(member: Member) -> int | None:
    return 0 if member.owner_id is None else None


def _set_rates(member: Member, store: Store | None = None) -> None:
    """Hold a store to the rates of its terms, where what is around it can."""
    limited = paced(store or member.store)
    if limited is not None:
        limited.set_rates(member.terms.up_bytes_per_s, member.terms.down_bytes_per_s)
