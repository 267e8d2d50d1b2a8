"""What draining a store would move where, before anybody decides. Nothing is written.

Repair chooses a place for each shard when its turn comes; this takes the stores as they are now and gives each shard
to the emptiest store that may have it, in a zone that the pack's other shards leave free while there is one. So the
totals are close and the single places are not promised.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from skep.base.ids import Id
from skep.db import Database
from skep.durability.balance import Placed
from skep.durability.member import Member
from skep.durability.pools import Pool
from skep.durability.rebalance import packs_after
from skep.durability.service import ChunkService

PACKS_MAX = 50_000
"""Packs that are looked at; of larger hives the rest is not told."""


@dataclass(slots=True)
class DrainPreview:
    """The shards on a store, and where they would go."""

    shards: int = 0
    size_bytes: int = 0
    to: dict[Id, int] = field(default_factory=dict)
    """Bytes by store."""
    crowded_bytes: int = 0
    """Of those, what would share a zone with another shard of its pack: zones are fewer than shards."""
    nowhere_bytes: int = 0
    """What has no place: the other stores are full, or hold a shard of the same pack, or may not have it."""
    whole: bool = True
    """Whether all packs were looked at."""


async def preview_drain(db: Database, chunks: ChunkService, member: Member) -> DrainPreview:
    """What draining ``member`` would move. Reads the list of packs in pages; moves nothing."""
    seeking = _Seeking(chunks, member)
    after, seen = b"", 0
    while seen < PACKS_MAX:
        page = await db.read(lambda tx, a=after: packs_after(tx, a))  # type: ignore[misc]
        if not page:
            return seeking.found
        for placed, pool in page:
            seeking.look_at(placed, pool)
        after, seen = page[-1][0].pack_id, seen + len(page)
    seeking.found.whole = False
    return seeking.found


class _Seeking:
    def __init__(self, chunks: ChunkService, member: Member) -> None:
        self.found = DrainPreview()
        self._pools = chunks.pools
        self._source = member
        self._zones = {each.id: each.zone for each in chunks.stores}
        self._members = [
            each
            for each in chunks.stores
            if each.id != member.id and each.state == "active" and not each.down and each.owner_id == member.owner_id
        ]
        self._room: dict[Id, float] = {
            each.id: float("inf") if each.free_bytes is None else each.free_bytes for each in self._members
        }
        self._allowed: dict[Pool, list[Member]] = {}

    def look_at(self, placed: Placed, pool: Pool) -> None:
        """Find a place for the pack's shards on the store."""
        for number, store_id in enumerate(placed.stores):
            if store_id != self._source.id:
                continue
            self.found.shards += 1
            self.found.size_bytes += placed.shard_bytes
            others = {each for at, each in enumerate(placed.stores) if at != number and each is not None}
            self._place(placed.shard_bytes, others, pool)

    def _place(self, size_bytes: int, others: set[Id], pool: Pool) -> None:
        free = [each for each in self._may(pool) if each.id not in others and self._room[each.id] >= size_bytes]
        zones = {self._zones[each] for each in others if each in self._zones}
        apart = [each for each in free if each.zone not in zones]
        if not free:
            self.found.nowhere_bytes += size_bytes
            return
        if not apart:
            self.found.crowded_bytes += size_bytes
        best = max(apart or free, key=lambda each: self._room[each.id])
        self._room[best.id] -= size_bytes
        self.found.to[best.id] = self.found.to.get(best.id, 0) + size_bytes

    def _may(self, pool: Pool) -> list[Member]:
        if pool not in self._allowed:
            tier_of = self._pools.tiers(pool)
            self._allowed[pool] = [each for each in self._members if tier_of(each) is not None]
        return self._allowed[pool]
