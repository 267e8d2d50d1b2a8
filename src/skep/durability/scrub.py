"""Scrub: every shard is read and every block verified, so that rot is found before a reader finds it.

One unit of the ``scrub`` worker takes the pack that was verified longest ago, reads each of its
shards whole and checks each block. What is missing or corrupt goes to the repair queue. A pack
whose shards are all good gets a new ``verified_us``; one with a shard on a store that does not
answer is passed over until the next round. Packs that nothing points at any more are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import CorruptShard, ObjectNotFound, SkepError
from skep.base.workers import Outcome, Progress
from skep.chunks.shard import verify_shard
from skep.db import Database, prepared
from skep.db import schema as s
from skep.durability.records import PackPlaces, ShardPlace, shard_key
from skep.durability.service import ChunkService
from skep.events.records import ScrubDone

_p = s.packs.c
_LIVE = _p.retired_us.is_(None)

_NEW = prepared(
    sa.select(_p.id).where(_LIVE, _p.verified_us.is_(None), _p.created_us <= sa.bindparam("before")).limit(1)
)
_OLD = prepared(
    sa.select(_p.id).where(_LIVE, _p.verified_us <= sa.bindparam("before")).order_by(_p.verified_us).limit(1)
)
_AFTER = prepared(sa.select(_p.id).where(_p.id > sa.bindparam("after"), _LIVE).order_by(_p.id).limit(1))
_VERIFIED = prepared(sa.update(s.packs).where(_p.id == sa.bindparam("pack")).values(verified_us=sa.bindparam("now")))
_COUNT = prepared(sa.select(sa.func.count()).select_from(s.packs).where(_LIVE))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reading a pack's shards has shown."""

    good: int = 0
    missing: int = 0
    corrupt: int = 0
    unreachable: int = 0

    @property
    def whole(self) -> bool:
        """Whether every shard was read and is good."""
        return not (self.missing or self.corrupt or self.unreachable)


class Scrubber:
    """The ``scrub`` worker."""

    name = "scrub"
    description = "Reads and verifies every shard within a period, and queues what is damaged for repair."

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock, period_s: float) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._period_us = round(period_s * 1e6)
        self._round = (0, 0)
        """Packs and damaged shards since all packs were verified last, by the worker."""

    async def run_once(self, progress: Progress) -> Outcome:
        """Verify the pack that is most due."""
        before = self._clock.now_us() - self._period_us
        row = await self._db.read(lambda tx: tx.one(_OLD, {"before": before}) or tx.one(_NEW, {"before": before}))
        if row is None:
            packs, damaged = self._round
            if packs:
                self._chunks.tell(ScrubDone, packs=packs, damaged=damaged)
            self._round = (0, 0)
            return Outcome(more_work=False)
        verdict = await self.scrub(bytes(row[0]), mark=True)
        self._round = (self._round[0] + 1, self._round[1] + verdict.missing + verdict.corrupt)
        return Outcome(more_work=True, done_units=1)

    async def run(self, report: Callable[[int, int, Verdict], None] = lambda done, total, verdict: None) -> Verdict:
        """Verify every pack now: ``skep scrub``. Returns the sums."""
        total = int(await self._db.read(lambda tx: tx.value(_COUNT)) or 0)
        sums, after, done = Verdict(), b"", 0
        while (row := await self._db.read(lambda tx, a=after: tx.one(_AFTER, {"after": a}))) is not None:  # type: ignore[misc]
            after = bytes(row[0])
            each = await self.scrub(after, mark=False)
            sums = Verdict(
                sums.good + each.good,
                sums.missing + each.missing,
                sums.corrupt + each.corrupt,
                sums.unreachable + each.unreachable,
            )
            done += 1
            report(done, max(total, done), sums)
        await self._chunks.flush_damage()
        self._chunks.tell(ScrubDone, packs=done, damaged=sums.missing + sums.corrupt)
        return sums

    async def scrub(self, pack_id: bytes, *, mark: bool) -> Verdict:
        """Verify one pack. With ``mark`` its turn is over even if a store did not answer."""
        with self._chunks.leases.hold():
            self._chunks.packs.forget(pack_id)
            try:
                pack, _ = await self._chunks.packs.places(pack_id)
            except SkepError:
                return Verdict()  # collected meanwhile
            outcomes = [await self._verify(pack, place) for place in pack.shards]
        verdict = Verdict(*(outcomes.count(each) for each in ("good", "missing", "corrupt", "unreachable")))
        self._chunks.counters.scrubbed_packs += 1
        if verdict.missing or verdict.corrupt:
            await self._chunks.flush_damage()
        if verdict.whole or mark:
            now = self._clock.now_us()
            await self._db.write(lambda tx: tx.run(_VERIFIED, {"pack": pack_id, "now": now}))
        return verdict

    async def _verify(self, pack: PackPlaces, place: ShardPlace) -> str:
        member = self._chunks.stores.get(place.store_id)
        if place.state == "missing":
            return "missing"
        if member is None or member.store is None or member.resting:
            return "unreachable"
        store, key = member.store, shard_key(pack.pack_id, place.number)
        try:
            raw = await self._chunks.stores.call(
                member, lambda: store.get(key), timed=False, timeout_s=self._chunks.options.read_timeout_s
            )
            await self._chunks.code(
                lambda: verify_shard(
                    self._chunks.shard_key, pack.pack_id, place.number, pack.scheme, pack.size_bytes, raw
                )
            )
        except ObjectNotFound:
            self._chunks.note_damage(pack.pack_id, place.number, place.store_id, "missing")
            return "missing"
        except CorruptShard:
            self._chunks.note_damage(pack.pack_id, place.number, place.store_id, "corrupt")
            return "corrupt"
        except SkepError:
            return "unreachable"
        return "good"
