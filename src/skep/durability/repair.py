"""Repair: packs with lost, corrupt or badly placed shards are made whole again.

The queue is the ``repairs`` table. A pack gets into it when a write was degraded, when a read or
scrub finds a shard missing or corrupt, and when a store is declared lost, is drained, or stays
unreachable for longer than ``lost_after_s``. One unit repairs one pack: any k good shards give the
pack back, its other shards are coded anew (the same bytes as before, so doing it twice is
harmless), put on stores in zones of their own, and recorded in one transaction. Packs that have
lost most come first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import DataLost, QuorumNotReached, SkepError
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.chunks.pack import Pack
from skep.chunks.shard import Shard, encode_shards
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability import catalog
from skep.durability.collect import delete_shard
from skep.durability.placement import Candidate, place
from skep.durability.records import PackPlaces, ShardPlace, shard_key
from skep.durability.service import ChunkService
from skep.durability.storeset import Member

ENQUEUE_PACKS = 500
BACKOFF_MIN_S = 30.0
BACKOFF_MAX_S = 3600.0

_r, _h = s.repairs.c, s.shards.c

_DUE = prepared(
    sa.select(_r.pack_id, _r.attempts)
    .where(_r.next_try_us <= sa.bindparam("now"))
    .order_by(_r.lost.desc(), _r.next_try_us)
    .limit(1)
)
_COUNT = prepared(sa.select(sa.func.count()).select_from(s.repairs))
_LOST_COUNT = prepared(sa.select(sa.func.count()).select_from(s.repairs).where(_r.lost > 0))
_OF_STORE = prepared(
    sa.select(_h.pack_id)
    .where(_h.store_id == sa.bindparam("store"), _h.pack_id > sa.bindparam("after"))
    .order_by(_h.pack_id)
    .limit(ENQUEUE_PACKS)
)
_QUEUED = prepared(sa.select(_r.pack_id).where(_r.pack_id == sa.bindparam("pack")))
_DONE = prepared(sa.delete(s.repairs).where(_r.pack_id == sa.bindparam("pack")))
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
_WHOLE = prepared(sa.update(s.packs).where(s.packs.c.id == sa.bindparam("pack")).values(degraded=0))
_USE = prepared(
    sa.update(s.stores)
    .where(s.stores.c.id == sa.bindparam("store"))
    .values(used_bytes=s.stores.c.used_bytes + sa.bindparam("bytes"))
)


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What a pack needs: pure data, made by ``plan``."""

    rewrite: tuple[int, ...]
    """Shard numbers to be put anew."""
    targets: tuple[Id, ...]
    """Their stores, in the same order."""
    whole: bool
    """Whether the pack is as it should be afterwards: all shards, distinct zones, good stores."""


def plan(pack: PackPlaces, members: dict[Id, Member], candidates: Sequence[Candidate], shard_bytes: int) -> RepairPlan:
    """Which shards to put where. A shard stays where it is good and alone in its zone.

    Of several shards in one zone all but the first are moved if another zone has room. Raises
    QuorumNotReached when shards must be put and no store takes them.
    """
    zones_left = {each.zone for each in candidates}
    keep: list[tuple[int, Id, str]] = []
    must: list[int] = []
    crowded: list[ShardPlace] = []
    for shard in pack.shards:
        member = members.get(shard.store_id)
        if shard.state != "ok" or member is None or _leaving(member):
            must.append(shard.number)
        elif member.zone in {zone for _, _, zone in keep}:
            crowded.append(shard)
        else:
            keep.append((shard.number, shard.store_id, member.zone))
    must += [number for number in range(pack.scheme.total) if number not in {each.number for each in pack.shards}]
    spare = len(zones_left - {zone for _, _, zone in keep}) - len(must)
    moving = [shard.number for shard in crowded[: max(0, spare)]]
    staying = [shard for shard in crowded if shard.number not in moving]
    rewrite = [*must, *moving]
    kept_zones = [zone for _, _, zone in keep] + [members[each.store_id].zone for each in staying]
    kept_stores = [store_id for _, store_id, _ in keep] + [each.store_id for each in staying]
    placed = place(pack.pack_id, len(rewrite), shard_bytes, candidates, kept_zones=kept_zones, kept_stores=kept_stores)
    if len(placed.stores) < len(rewrite):
        raise QuorumNotReached(
            f"pack {pack.pack_id.hex()} has {len(rewrite)} shards to put and the stores have room for "
            f"{len(placed.stores)}: add a store with `skep store add`",
            stored=len(placed.stores),
            needed=len(rewrite),
        )
    return RepairPlan(tuple(rewrite), placed.stores, placed.spread)


def _leaving(member: Member) -> bool:
    return member.state in ("lost", "draining")


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
        self._enqueued: dict[Id, bytes] = {}
        self.repaired = 0

    async def run_once(self, progress: Progress) -> Outcome:
        """Record damage, queue packs of stores that are gone, repair one pack."""
        await self._chunks.flush_damage()
        queued = await self._enqueue_gone()
        done = await self.repair_next()
        progress.report(queued_units=await self.backlog())
        return Outcome(more_work=done or queued > 0, done_units=int(done))

    async def run(self, report: Callable[[int, int], None] = lambda done, left: None) -> int:
        """Try every queued pack once, now: ``skep repair``. Returns how many were made whole."""
        await self._chunks.flush_damage()
        while await self._enqueue_gone():
            pass
        await self.hurry()
        done = 0
        for _ in range(await self.backlog()):
            done += await self.repair_next()
            report(done, await self.backlog())
        return done

    async def backlog(self) -> int:
        """Packs in the queue."""
        return int(await self._db.read(lambda tx: tx.value(_COUNT)) or 0)

    async def hurry(self) -> None:
        """Make every queued pack due now, as when a store has come (back)."""
        await self._db.write(lambda tx: tx.run(_SOONER, {"now": tx.now_us}))

    async def _enqueue_gone(self) -> int:
        """Queue a batch of packs with shards on stores that are lost, drained or long unreachable."""
        for member in self._chunks.stores:
            if not self._gone(member):
                self._enqueued.pop(member.id, None)
                continue
            after = self._enqueued.get(member.id, b"")
            found = await self._db.write(lambda tx, m=member, a=after: _enqueue(tx, m, a))  # type: ignore[misc]
            if found:
                self._enqueued[member.id] = found[-1]
                return len(found)
            if _leaving(member):
                self._enqueued.pop(member.id, None)
        return 0

    def _gone(self, member: Member) -> bool:
        if _leaving(member):
            return True
        if not member.down:
            self._down_since_s.pop(member.id, None)
            return False
        since = self._down_since_s.setdefault(member.id, self._clock.monotonic_s())
        return self._clock.monotonic_s() - since >= self._lost_after_s

    async def repair_next(self) -> bool:
        """Repair the pack that needs it most; False when none is due or this one must wait."""
        row = await self._db.read(lambda tx: tx.one(_DUE, {"now": self._clock.now_us()}))
        if row is None:
            return False
        pack_id, attempts = bytes(row[0]), int(row[1])
        try:
            whole = await self.repair(pack_id)
        except SkepError as error:
            await self._later(pack_id, attempts, error.message)
            return False
        if not whole:
            await self._later(pack_id, attempts, "there are fewer zones than shards: add a store in another zone")
            return False
        self.repaired += 1
        return True

    async def _later(self, pack_id: bytes, attempts: int, error: str) -> None:
        wait_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(attempts, 10))
        at = self._clock.now_us() + round(wait_s * 1e6)
        await self._db.write(lambda tx: tx.run(_LATER, {"pack": pack_id, "at": at, "error": error[:1000]}))

    async def repair(self, pack_id: bytes) -> bool:
        """Make one pack whole. False when it is readable but still not as it should be.

        Raises DataLost, StoreUnavailable, QuorumNotReached.
        """
        with self._chunks.leases.hold():
            self._chunks.reader.forget(pack_id)
            pack = await self._db.read(lambda tx: catalog.pack_places(tx, pack_id))
            if pack is None:
                await self._db.write(lambda tx: tx.run(_DONE, {"pack": pack_id}))
                return True
            gone = {each.id: each for each in self._chunks.stores}
            members = {key: replace(each, state="lost") if self._gone(each) else each for key, each in gone.items()}
            _, layout = await self._chunks.reader.places(pack_id)
            candidates = await self._chunks.stores.candidates()
            todo = plan(pack, members, candidates, layout.shard_file_bytes)
            if todo.rewrite:
                await self._rewrite(pack, todo)
            await self._db.write(lambda tx: self._finish(tx, pack_id, todo.whole))
            return todo.whole

    @staticmethod
    def _finish(tx: Transaction, pack_id: bytes, whole: bool) -> None:
        if whole:
            tx.run(_DONE, {"pack": pack_id})
            tx.run(_WHOLE, {"pack": pack_id})

    async def _rewrite(self, pack: PackPlaces, todo: RepairPlan) -> None:
        payload = await self._chunks.reader.pack_range(pack.pack_id, 0, pack.size_bytes)
        shards: list[Shard] = await self._chunks.code(
            lambda: encode_shards(self._chunks.shard_key, Pack(pack.pack_id, memoryview(payload)), pack.scheme)
        )
        by_number = {shard.number: shard for shard in shards}
        moved: list[tuple[ShardPlace | None, Shard, Member]] = []
        old = {each.number: each for each in pack.shards}
        for number, store_id in zip(todo.rewrite, todo.targets, strict=True):
            member = self._chunks.stores.get(store_id)
            if member is None or member.store is None:
                raise DataLost(f"store {store_id.hex()} went away while pack {pack.pack_id.hex()} was repaired")
            store, shard = member.store, by_number[number]
            key = shard_key(pack.pack_id, number)
            await self._chunks.stores.call(member, lambda st=store, k=key, sh=shard: st.put(k, sh.parts), timed=False)  # type: ignore[misc]
            self._chunks.stores.wrote(member, shard.size_bytes)
            moved.append((old.get(number), shard, member))
        await self._db.write(lambda tx: _record(tx, pack.pack_id, moved))
        self._chunks.reader.forget(pack.pack_id)
        for before, shard, member in moved:
            source = self._chunks.stores.get(before.store_id) if before is not None else None
            if source is not None and source.id != member.id:
                await delete_shard(self._chunks, source, shard_key(pack.pack_id, shard.number))


def _enqueue(tx: Transaction, member: Member, after: bytes) -> list[bytes]:
    found = [row[0] for row in tx.rows(_OF_STORE, {"store": member.id, "after": after})]
    for pack_id in found:
        if tx.one(_QUEUED, {"pack": pack_id}) is None:
            lost = 0 if member.state == "draining" else 1
            catalog.queue_repair(tx, pack_id, "store-lost" if lost else "draining", lost, tx.now_us)
    return found


def _record(tx: Transaction, pack_id: bytes, moved: Sequence[tuple[ShardPlace | None, Shard, Member]]) -> None:
    for before, shard, member in moved:
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
        if before is not None and before.state != "missing":
            tx.run(_USE, {"store": before.store_id, "bytes": -shard.size_bytes})
        tx.run(_USE, {"store": member.id, "bytes": shard.size_bytes})
