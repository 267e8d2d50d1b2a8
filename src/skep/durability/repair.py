"""Repair: packs with lost, corrupt or badly placed shards are made whole again.

The queue is the ``repairs`` table. A pack gets into it when a write was degraded, when a read or
scrub finds a shard missing or corrupt, and when a store is declared lost, is drained, or stays
unreachable for longer than ``lost_after_s``. One unit repairs a few packs, each by itself: any
k good shards give back what it lacks, coded anew (the same bytes as before, so doing it
twice is harmless), put on stores in zones of their own, and recorded in one transaction. Packs that
can lose fewest shards more come first, whatever their schemes.

A pack that lacks shards and has more than its scheme's ``repair_at`` (thresholds.py) waits in the
queue until it has lost more: the traffic of a repair is the same for one shard as for several. Only
a store that is drained or declared lost gives up its shards at once, and a run by hand makes
everything whole.

While somebody reads, one pack is repaired at a time, and then repair rests in proportion: readers keep most of the
machine.

What cannot be repaired now is tried again after a back-off, and at once when a store comes (back).
A pack of which fewer than k shards can be had is declared lost (damage.py), and stays in the queue
for the day that a store returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import CorruptShard, DataLost, SkepError, StoreUnavailable
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.chunks.buffers import SHARED_POOL, release_views
from skep.chunks.pack import Pack
from skep.chunks.shard import Shard, encode_shards, rebuild_shards
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.catalog import pack_places
from skep.durability.collect import delete_shard
from skep.durability.damage import (
    DEFERRED_REASON,
    declare_lost,
    declare_readable,
    defer_repair,
    finish_repair,
    queue_repair,
)
from skep.durability.member import Member
from skep.durability.moving import move_shard
from skep.durability.records import PackPlaces, ShardPlace, shard_key
from skep.durability.repairplan import RepairPlan, Standing, plan, readable, waits
from skep.durability.service import ChunkService
from skep.events.records import PackLost, RepairDone, RepairQueued

ENQUEUE_PACKS = 500
BACKOFF_MIN_S = 30.0
BACKOFF_MAX_S = 3600.0
ROUND_S = 600.0
"""How long after a round over the stores that are gone the next one begins, unless other stores are gone then."""
CROWDED_WAIT_S = 86_400.0
"""When to look again at a pack that lacks nothing but zones: new zones make it due at once."""

DEFER_S = 86_400.0
"""When to look again at a pack that has more shards than its scheme's repair begins at: more damage makes it due."""

AT_ONCE = 3
"""Packs that are repaired at once while nobody reads: some are on their way to the stores while another is coded."""
UNIT_PACKS = 12
"""Packs that one unit of work repairs while nobody reads; the first read ends it early."""
COURTESY, COURTESY_BARE = 3.0, 2.0
"""How long repair rests for each second of work while somebody reads; less where packs cannot lose a shard more."""
COURTESY_MAX_S = 5.0

TOLD_MAX = 1_000
"""Packs that one look tells of."""

Attempt = Literal["none due", "repaired", "postponed"]

_r, _h = s.repairs.c, s.shards.c

_DUE = prepared(
    sa.select(_r.pack_id, _r.attempts, _r.spare)
    .where(_r.next_try_us <= sa.bindparam("now"))
    .order_by(_r.spare, _r.next_try_us)
    .limit(UNIT_PACKS)
)
_QUEUED_SINCE = prepared(
    sa.select(_r.pack_id, _r.reason, _r.lost, _r.created_us)
    .where(_r.created_us > sa.bindparam("since"))
    .order_by(_r.created_us)
    .limit(TOLD_MAX)
)
_COUNT = prepared(sa.select(sa.func.count()).select_from(s.repairs))
_OF_STORE = prepared(
    sa.select(_h.pack_id)
    .where(_h.store_id == sa.bindparam("store"), _h.pack_id > sa.bindparam("after"))
    .order_by(_h.pack_id)
    .limit(ENQUEUE_PACKS)
)
_QUEUED = prepared(sa.select(_r.lost, _r.reason).where(_r.pack_id == sa.bindparam("pack")))
_LATER = prepared(
    sa.update(s.repairs)
    .where(_r.pack_id == sa.bindparam("pack"))
    .values(attempts=_r.attempts + 1, next_try_us=sa.bindparam("at"), last_error=sa.bindparam("error"))
)
_SOONER = prepared(
    sa.update(s.repairs).where(_r.next_try_us > sa.bindparam("now")).values(next_try_us=sa.bindparam("now"))
)
_DROP_SHARD = prepared(
    sa.delete(s.shards).where(_h.pack_id == sa.bindparam("pack"), _h.number == sa.bindparam("shard"))
)
_ADD_SHARD = insert_new(s.shards)
_USE = prepared(
    sa.update(s.stores)
    .where(s.stores.c.id == sa.bindparam("store"))
    .values(used_bytes=s.stores.c.used_bytes + sa.bindparam("bytes"))
)


class Repairer:
    """The ``repair`` worker."""

    name = "repair"
    description = "Rebuilds lost and corrupt shards, and moves shards off stores that are drained or lost."

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock, lost_after_s: float) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._lost_after_s = lost_after_s
        self._down_since_s: dict[Id, float] = {}
        self._going: frozenset[Id] = frozenset()
        """Stores whose shards must go."""
        self._enqueued: dict[Id, bytes] = {}
        """For each of them: the last pack that was queued in this round."""
        self._next_round_s = float("-inf")
        self._zones: frozenset[str] | None = None
        self._turn = asyncio.Lock()
        """Whose turn it is to repair a pack: the worker's, or that of a run by hand."""
        self._told_us = clock.now_us()
        """Packs that were queued up to then were told of."""
        self._rewritten: dict[bytes, tuple[int, int]] = {}
        """Of packs in hand: shards and bytes that were written."""
        self._is_read = False
        """Whether somebody read while the last packs were repaired."""
        self._by_hand = 0
        """Runs by hand under way: nothing is deferred meanwhile, whoever has a pack in hand."""

    async def run_once(self, progress: Progress) -> Outcome:
        """Record damage, queue packs of stores that are gone, repair one pack or two."""
        await self._chunks.flush_damage()
        await self._notice_zones()
        queued = await self._enqueue_gone()
        attempts = await self._repair_some()
        progress.report(queued_units=await self.backlog())
        return Outcome(more_work=bool(attempts) or queued > 0, done_units=attempts.count("repaired"))

    async def run(self, report: Callable[[int, int], None] = lambda done, left: None) -> int:
        """Try every queued pack once, now: ``skep repair``. Returns how many were made whole.

        A pack that the worker has in hand is waited for; what it made whole meanwhile counts too.
        """
        await self._chunks.flush_damage()
        self._next_round_s = float("-inf")
        self._by_hand += 1
        try:
            while await self._enqueue_gone():
                pass
            await self.hurry()
            before, repaired = await self.backlog(), self._chunks.counters.repaired_packs
            for _ in range(before):
                if not await self._repair_some():
                    break
                report(self._chunks.counters.repaired_packs - repaired, await self.backlog())
            await self.left()
        finally:
            self._by_hand -= 1
        return self._chunks.counters.repaired_packs - repaired

    async def left(self) -> int:
        """Packs in the queue that nobody has in hand."""
        async with self._turn:
            return await self.backlog()

    async def backlog(self) -> int:
        """Packs in the queue."""
        return int(await self._db.read(lambda tx: tx.value(_COUNT)) or 0)

    async def hurry(self) -> None:
        """Make every queued pack due now, as when a store has come (back)."""
        await self._db.write(lambda tx: tx.run(_SOONER, {"now": tx.now_us}))

    async def _notice_zones(self) -> None:
        """A zone that can be written to and could not before gives crowded packs a place."""
        zones = frozenset(member.zone for member in self._chunks.stores if member.state == "active" and not member.down)
        if self._zones is not None and zones - self._zones:
            await self.hurry()
        self._zones = zones

    async def _enqueue_gone(self) -> int:
        """Queue a batch of packs with shards on stores that are lost, drained or long unreachable.

        Returns 0 when a round over all of them is complete.
        """
        standings = self._standings()
        going = frozenset(key for key, each in standings.items() if each.leaving or each.gone)
        if going != self._going:
            self._going, self._next_round_s = going, float("-inf")
            self._enqueued.clear()
        if self._clock.monotonic_s() < self._next_round_s:
            return 0
        for store_id in sorted(going):
            after = self._enqueued.get(store_id, b"")
            found = await self._db.write(lambda tx, sid=store_id, a=after: _enqueue(tx, sid, a, standings))  # type: ignore[misc]
            if found:
                self._enqueued[store_id] = found[-1]
                return len(found)
        self._enqueued.clear()
        self._next_round_s = self._clock.monotonic_s() + ROUND_S
        return 0

    def _standings(self) -> dict[Id, Standing]:
        """How each store stands now."""
        return {member.id: self._standing(member) for member in self._chunks.stores}

    def _standing(self, member: Member) -> Standing:
        if member.down:
            since_s = self._down_since_s.setdefault(member.id, self._clock.monotonic_s())
            away = self._clock.monotonic_s() - since_s >= self._lost_after_s
        else:
            self._down_since_s.pop(member.id, None)
            away = False
        lost = member.state == "lost"
        return Standing(member.zone, leaving=lost or member.state == "draining", gone=lost or away)

    async def repair_next(self) -> Attempt:
        """Try the pack that needs it most of those that are due. One at a time: the worker, or a run by hand."""
        async with self._turn:
            rows = await self._due()
            return await self._attempt(bytes(rows[0][0]), int(rows[0][1])) if rows else "none due"

    async def _due(self) -> list[tuple[Any, ...]]:
        return await self._db.read(lambda tx: tx.rows(_DUE, {"now": self._clock.now_us()}))

    async def _repair_some(self) -> list[Attempt]:
        """Try the packs that need it most; rest afterwards in proportion, if somebody has read meanwhile."""
        async with self._turn:
            await self._tell_queued()
            rows, made = (await self._due())[: 1 if self._is_read else UNIT_PACKS], list[Attempt]()
            if not rows:
                return made
            began_s, sent_bytes, left = self._clock.monotonic_s(), self._chunks.counters.sent_bytes, iter(rows)

            async def go_on() -> None:
                for row in left:
                    made.append(await self._attempt(bytes(row[0]), int(row[1])))
                    if self._chunks.counters.sent_bytes != sent_bytes:
                        return

            await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))
            self._is_read = self._chunks.counters.sent_bytes != sent_bytes
            if self._is_read:
                courtesy = COURTESY if all(row[2] > 0 for row in rows) else COURTESY_BARE
                await self._clock.sleep(min(COURTESY_MAX_S, courtesy * (self._clock.monotonic_s() - began_s)))
            return made

    async def _attempt(self, pack_id: bytes, attempts: int) -> Attempt:
        wait_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(attempts, 10))
        try:
            if not self._by_hand and await self._defer(pack_id):
                return "postponed"
            if await self.repair(pack_id):
                self._chunks.counters.repaired_packs += 1
                self._tell_repaired(pack_id)
                return "repaired"
            error = "there are fewer zones than shards: add a store in another zone"
            wait_s = CROWDED_WAIT_S
        except SkepError as failure:
            error = failure.message
            await self._note_if_lost(pack_id, failure)
        at = self._clock.now_us() + round(wait_s * 1e6)
        await self._db.write(lambda tx: tx.run(_LATER, {"pack": pack_id, "at": at, "error": error[:1000]}))
        return "postponed"

    async def _note_if_lost(self, pack_id: bytes, error: SkepError) -> None:
        """Declare a pack lost that cannot be read, unless what is missing may be back soon."""
        await self._chunks.flush_damage()
        pack = await self._db.read(lambda tx: pack_places(tx, pack_id))
        if pack is None or not (isinstance(error, DataLost) or not readable(pack, self._standings())):
            return
        if await self._db.write(lambda tx: declare_lost(tx, pack_id)):
            self._chunks.counters.lost_packs_found += 1
            good = sum(place.state == "ok" for place in pack.shards)
            self._chunks.tell(PackLost, pack_id=pack_id, readable=good, needed=pack.scheme.data_shards)

    async def _tell_queued(self) -> None:
        """Tell of packs that came into the queue since the last look, whoever put them there."""
        rows = await self._db.read(lambda tx: tx.rows(_QUEUED_SINCE, {"since": self._told_us}))
        for pack_id, reason, lost, created_us in rows:
            self._told_us = max(self._told_us, int(created_us))
            self._chunks.tell(RepairQueued, pack_id=bytes(pack_id), reason=reason, lost=int(lost))

    def _tell_repaired(self, pack_id: bytes) -> None:
        shards, sent_bytes = self._rewritten.pop(pack_id, (0, 0))
        self._chunks.tell(RepairDone, pack_id=pack_id, shards=shards, bytes_written=sent_bytes)

    async def _defer(self, pack_id: bytes) -> bool:
        """Let a pack wait that has shards enough. Whether it does."""
        pack = await self._db.read(lambda tx: pack_places(tx, pack_id))
        if pack is None or not waits(pack, self._standings(), self._chunks.thresholds.of(pack.scheme)):
            return False
        at_us = self._clock.now_us() + round(DEFER_S * 1e6)
        await self._db.write(lambda tx: defer_repair(tx, pack_id, at_us))
        return True

    async def repair(self, pack_id: bytes) -> bool:
        """Make one pack whole. False when it is readable but still not as it should be.

        Raises DataLost, StoreUnavailable, QuorumNotReached.
        """
        with self._chunks.leases.hold():
            self._chunks.packs.forget(pack_id)
            pack = await self._db.read(lambda tx: pack_places(tx, pack_id))
            if pack is None:
                return await self._db.write(lambda tx: finish_repair(tx, pack_id))
            _, layout = await self._chunks.packs.places(pack_id)
            candidates = await self._chunks.stores.candidates(self._chunks.pools.tiers(pack.pool))
            todo = plan(pack, self._standings(), candidates, layout.shard_file_bytes)
            todo = await self._move_off(pack, todo)
            if todo.rewrite:
                return await self._rewrite(pack, todo)
            return await self._db.write(lambda tx: _finish(tx, pack_id, todo.whole))

    async def _move_off(self, pack: PackPlaces, todo: RepairPlan) -> RepairPlan:
        """Copy good shards from stores that are drained, one read for each instead of k. What is left to do."""
        left: list[tuple[int, Id]] = []
        places = {each.number: each for each in pack.shards}
        for number, target in zip(todo.rewrite, todo.targets, strict=True):
            place = places.get(number)
            source = self._chunks.stores.get(place.store_id) if place is not None and place.state == "ok" else None
            if source is None or source.state == "lost" or source.down:
                left.append((number, target))
                continue
            try:
                await move_shard(self._db, self._chunks, pack.pack_id, number, target)
            except SkepError:
                left.append((number, target))  # what cannot be copied is coded anew
        return RepairPlan(tuple(number for number, _ in left), tuple(target for _, target in left), todo.whole)

    async def _rewrite(self, pack: PackPlaces, todo: RepairPlan) -> bool:
        """Put the planned shards, record them, remove the ones that they replace elsewhere. What ``repair`` gives."""
        _, layout = await self._chunks.packs.places(pack.pack_id)
        buffer = SHARED_POOL.take(len(todo.rewrite) * layout.shard_payload_bytes)

        def record(tx: Transaction) -> tuple[list[ShardPlace], bool]:
            return _record(tx, pack.pack_id, put), _finish(tx, pack.pack_id, todo.whole)

        with memoryview(buffer) as payloads:
            shards = await self._coded(pack, todo, payloads)
            async with self._chunks.on_their_way.putting(pack.pack_id):
                put = await self._put_all(pack, todo, shards)
                replaced, finished = await self._db.write(record)
            release_views([part for shard in shards for part in shard.parts if isinstance(part, memoryview)])
        SHARED_POOL.give(buffer)
        if len(self._rewritten) >= TOLD_MAX:
            self._rewritten.clear()  # of packs that were written and are not whole yet
        self._rewritten[pack.pack_id] = (len(put), sum(shard.size_bytes for shard, _ in put))
        self._chunks.packs.forget(pack.pack_id)
        for place in replaced:
            source = self._chunks.stores.get(place.store_id)
            if source is not None:
                await delete_shard(self._chunks, source, shard_key(pack.pack_id, place.number))
        return finished

    async def _coded(self, pack: PackPlaces, todo: RepairPlan, payloads: memoryview) -> list[Shard]:
        """The planned shards, from the files of k others: read once, checked and coded in one go.

        If one of those files is not what was written it is reported, and the pack is read the careful way.
        """
        key, packs = self._chunks.shard_key, self._chunks.packs
        files = await packs.files(pack.pack_id)

        def code() -> list[Shard]:
            return rebuild_shards(key, pack.pack_id, pack.scheme, pack.size_bytes, files, todo.rewrite, payloads)

        try:
            return await self._chunks.code(code)
        except CorruptShard as error:
            number = error.details["number"]
            for place in pack.shards:
                if place.number == number:
                    self._chunks.note_damage(pack.pack_id, place.number, place.store_id, "corrupt")
        whole = Pack(pack.pack_id, memoryview(await packs.range(pack.pack_id, 0, pack.size_bytes)))
        return await self._chunks.code(lambda: encode_shards(key, whole, pack.scheme, todo.rewrite))

    async def _put_all(self, pack: PackPlaces, todo: RepairPlan, shards: Sequence[Shard]) -> list[tuple[Shard, Member]]:
        by_number = {shard.number: shard for shard in shards}
        put: list[tuple[Shard, Member]] = []
        for number, store_id in zip(todo.rewrite, todo.targets, strict=True):
            put.append((by_number[number], await self._put(pack.pack_id, by_number[number], store_id)))
        return put

    async def _put(self, pack_id: bytes, shard: Shard, store_id: Id) -> Member:
        member = self._chunks.stores.get(store_id)
        store = member.store if member is not None else None
        if member is None or store is None:
            raise StoreUnavailable(f"store {store_id.hex()} went away while pack {pack_id.hex()} was repaired")
        key = shard_key(pack_id, shard.number)
        timeout_s = self._chunks.options.put_timeout_s
        await self._chunks.stores.call(member, lambda: store.put(key, shard.parts), timed=False, timeout_s=timeout_s)
        member.wrote(shard.size_bytes)
        return member


def _enqueue(tx: Transaction, store_id: Id, after: bytes, standings: Mapping[Id, Standing]) -> list[bytes]:
    """Queue the next packs with a shard on a store, unless they are queued for as many lost shards already.

    What was deferred is due where the store's shards have to go whatever is left.
    """
    found = [bytes(row[0]) for row in tx.rows(_OF_STORE, {"store": store_id, "after": after})]
    must_go = standings[store_id].leaving
    for pack_id in found:
        lost = _lost_shards(pack_places(tx, pack_id), standings)
        queued = tx.one(_QUEUED, {"pack": pack_id})
        if queued is None or queued[0] < lost or (must_go and queued[1] == DEFERRED_REASON):
            queue_repair(tx, pack_id, "store-lost" if lost else "draining", lost, tx.now_us)
    return found


def _lost_shards(pack: PackPlaces | None, standings: Mapping[Id, Standing]) -> int:
    if pack is None:
        return 0
    return sum(
        shard.state != "ok" or (store := standings.get(shard.store_id)) is None or store.gone for shard in pack.shards
    )


def _finish(tx: Transaction, pack_id: bytes, whole: bool) -> bool:
    """What an attempt that raised nothing means: the pack can be read, and is done if it is whole."""
    declare_readable(tx, pack_id)
    return whole and finish_repair(tx, pack_id)


def _record(tx: Transaction, pack_id: bytes, put: Sequence[tuple[Shard, Member]]) -> list[ShardPlace]:
    """The new places of shards, and what stores gain and lose by them; the places elsewhere that they replace.

    The rows count as they are now: since the plan was made a shard may have been noted as missing, moved, or
    collected with its pack. Of a pack that has no row any more nothing is recorded, and the sweep has what was put.
    """
    now = pack_places(tx, pack_id)
    if now is None:
        return []
    old = {each.number: each for each in now.shards}
    for shard, member in put:
        tx.run(_DROP_SHARD, {"pack": pack_id, "shard": shard.number})
        tx.run(
            _ADD_SHARD,
            {
                "pack_id": pack_id,
                "number": shard.number,
                "store_id": member.id,
                "size_bytes": shard.size_bytes,
                "state": "ok",
            },
        )
        before = old.get(shard.number)
        if before is not None and before.state != "missing":
            tx.run(_USE, {"store": before.store_id, "bytes": -shard.size_bytes})
        tx.run(_USE, {"store": member.id, "bytes": shard.size_bytes})
    return [each for shard, member in put if (each := old.get(shard.number)) and each.store_id != member.id]
