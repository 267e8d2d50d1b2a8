"""Audits: each store is asked, again and again, for a random block of a random shard that it should hold.

A block comes with a hash under the hive's key, which binds it to its pack, shard and place: only who kept it can
answer, and 256 KiB are enough to see. Scrub reads everything, which takes long where every byte costs; asked every ten
minutes, a store that has lost one shard in a hundred is found within a day with a chance of three in four. What an
audit shows goes into the store's reputation (reputation.py), which placement uses, and what it finds damaged into the
queue of repairs.

Agents answer challenges too (stores/auditing.py), with a digest of ranges instead of the bytes. To compare it the hive
would need the bytes from k other shards, or digests kept for each shard, good for one use each; a block proves the
same, and that the store can send (docs/operate/stores.md, Audits).
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Literal

import sqlalchemy as sa

from skep.base.chance import random_bytes
from skep.base.clock import Clock
from skep.base.errors import CorruptShard, ObjectNotFound, SkepError
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.chunks.layout import BLOCK_BYTES, ShardLayout
from skep.chunks.shard import verify_blocks
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.catalog import pack_places
from skep.durability.member import Member
from skep.durability.records import PackPlaces, shard_key
from skep.durability.service import ChunkService

AT_ONCE = 8
"""Stores that are audited at the same time."""

Verdict = Literal["passed", "failed", "unanswered"]

_h = s.shards.c
_NEXT = prepared(
    sa.select(_h.pack_id, _h.number)
    .join_from(s.shards, s.packs, s.packs.c.id == _h.pack_id)
    .where(
        _h.store_id == sa.bindparam("store"),
        _h.pack_id >= sa.bindparam("from"),
        _h.state == "ok",
        s.packs.c.retired_us.is_(None),
    )
    .order_by(_h.pack_id, _h.number)
    .limit(1)
)


class Auditor:
    """The ``audit`` worker: one unit asks every store once."""

    name = "audit"
    description = "Asks each store for a random block of what it should hold, and keeps its reputation."

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock, *, seed: int | None = None) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock
        self._chance = random.Random(int.from_bytes(random_bytes(16), "big") if seed is None else seed)  # noqa: S311

    async def run_once(self, progress: Progress) -> Outcome:
        """Audit each store that is not lost."""
        members = [member for member in self._chunks.stores if member.state != "lost"]
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(member: Member) -> bool:
            async with at_once:
                return await self.audit(member) is not None

        asked = await asyncio.gather(*(one(member) for member in members))
        await self._chunks.flush_damage()
        return Outcome(more_work=False, done_units=sum(asked))

    async def audit(self, member: Member) -> Verdict | None:
        """Ask one store for one block, and remember the outcome; None when it holds nothing."""
        with self._chunks.leases.hold():
            found = await self._db.read(lambda tx: self._pick(tx, member.id))
            if found is None:
                return None
            pack, number = found
            verdict = await self._ask(member, pack, number)
            if verdict == "failed" and not await self._db.read(
                lambda tx: _still_there(tx, pack.pack_id, number, member)
            ):
                return None  # the shard was moved while it was asked for
        await self._chunks.stores.note_audit(member, verdict)
        return verdict

    def _pick(self, tx: Transaction, store_id: Id) -> tuple[PackPlaces, int] | None:
        """A random shard: pack ids are hashes, so the next one after a random point is nearly evenly drawn."""
        start = self._chance.randbytes(32)
        row: tuple[Any, ...] | None = tx.one(_NEXT, {"store": store_id, "from": start})
        row = row or tx.one(_NEXT, {"store": store_id, "from": bytes(32)})
        pack = None if row is None else pack_places(tx, bytes(row[0]))
        return None if row is None or pack is None else (pack, int(row[1]))

    async def _ask(self, member: Member, pack: PackPlaces, number: int) -> Verdict:
        store = member.store
        if store is None or member.resting:
            return "unanswered"
        layout = ShardLayout(pack.scheme, pack.size_bytes)
        block = self._chance.randrange(layout.block_count)
        part = layout.file_range(block * BLOCK_BYTES, layout.block_bytes(block))
        key, timeout_s = shard_key(pack.pack_id, number), self._chunks.options.read_timeout_s
        try:
            raw = await self._chunks.stores.call(
                member, lambda: store.get(key, part.offset, part.length), timed=False, timeout_s=timeout_s
            )
            if len(raw) != part.length:
                raise CorruptShard(f"shard {key} of store {member.name!r} is cut short")
            await self._chunks.code(
                lambda: verify_blocks(
                    self._chunks.shard_key, pack.pack_id, number, pack.scheme, pack.size_bytes, part.first_block, raw
                )
            )
        except ObjectNotFound:
            self._chunks.note_damage(pack.pack_id, number, member.id, "missing")
            return "failed"
        except CorruptShard:
            self._chunks.note_damage(pack.pack_id, number, member.id, "corrupt")
            return "failed"
        except SkepError:
            return "unanswered"
        return "passed"


def _still_there(tx: Transaction, pack_id: bytes, number: int, member: Member) -> bool:
    pack = pack_places(tx, pack_id)
    return pack is not None and any(each.number == number and each.store_id == member.id for each in pack.shards)
