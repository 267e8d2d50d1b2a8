"""Counts and bytes of the whole hive, for the status and the metrics; looked up at most every few seconds."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.cache import BlockCache
from skep.durability.damage import DEFERRED_REASON, LOST_REASON

AGE_MAX_S = 15.0

_COUNTS = {
    name: prepared(sa.select(sa.func.count()).select_from(table))
    for name, table in {"users": s.users, "groups": s.groups, "packs": s.packs, "repair_backlog": s.repairs}.items()
}
_WITHOUT_SPARE = (s.repairs.c.lost > 0) & (s.repairs.c.spare <= 0) & (s.repairs.c.reason != LOST_REASON)
_REPAIRS = prepared(
    sa.select(
        sa.func.coalesce(sa.func.sum(sa.case((s.repairs.c.reason == LOST_REASON, 1), else_=0)), 0),
        sa.func.coalesce(sa.func.sum(sa.case((s.repairs.c.lost > 0, 1), else_=0)), 0),
        sa.func.coalesce(sa.func.sum(sa.case((s.repairs.c.reason == DEFERRED_REASON, 1), else_=0)), 0),
        sa.func.coalesce(sa.func.sum(sa.case((_WITHOUT_SPARE, 1), else_=0)), 0),
    )
)
_REPAIR_BYTES = prepared(
    sa.select(sa.func.coalesce(sa.func.sum(s.packs.c.size_bytes), 0)).join_from(
        s.repairs, s.packs, s.packs.c.id == s.repairs.c.pack_id
    )
)
_SPACES = prepared(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(s.spaces.c.used_bytes), 0)))
_PACKS = prepared(
    sa.select(
        sa.func.coalesce(sa.func.sum(s.packs.c.size_bytes), 0),
        sa.func.coalesce(sa.func.sum(s.packs.c.live_bytes), 0),
        sa.func.coalesce(sa.func.sum(s.packs.c.chunk_count), 0),
        sa.func.coalesce(sa.func.sum(s.packs.c.degraded), 0),
    )
)
_STORED = prepared(sa.select(sa.func.coalesce(sa.func.sum(s.stores.c.used_bytes), 0)))


class Facts:
    """Looks the facts up and remembers them for ``AGE_MAX_S``."""

    def __init__(self, db: Database, clock: Clock, cache: BlockCache | None = None) -> None:
        self._db = db
        self._cache = cache
        self._clock = clock
        self._at_s = float("-inf")
        self.last: dict[str, Any] = {}

    async def now(self) -> dict[str, Any]:
        """The facts, at most ``AGE_MAX_S`` old."""
        if self._clock.monotonic_s() - self._at_s > AGE_MAX_S:
            self.last = {**await self._db.read(_look), **_of_cache(self._cache)}
            self._at_s = self._clock.monotonic_s()
        return self.last


def _of_cache(cache: BlockCache | None) -> dict[str, Any]:
    if cache is None:
        return {}
    return {
        "cache_used_bytes": cache.disk.used_bytes,
        "cache_limit_bytes": cache.disk.limit_bytes,
        "cache_hit_ratio": round(cache.counters.hit_ratio, 4),
    }


def _look(tx: Transaction) -> dict[str, Any]:
    facts: dict[str, Any] = {name: int(tx.value(count) or 0) for name, count in _COUNTS.items()}
    spaces, used = tx.rows(_SPACES)[0]
    packed, live, chunks, degraded = (int(value) for value in tx.rows(_PACKS)[0])
    lost, short, deferred, bare = (int(value) for value in tx.rows(_REPAIRS)[0])
    facts |= {
        "repair_backlog_bytes": int(tx.value(_REPAIR_BYTES) or 0),
        "lost_packs": lost,
        "packs_short_of_shards": short,
        "packs_without_spare": bare,
        "repairs_deferred": deferred,
        "spaces": int(spaces),
        "versions_bytes": int(used),
        "chunks": chunks,
        "packed_bytes": packed,
        "live_bytes": live,
        "degraded_packs": degraded,
        "stored_bytes": int(tx.value(_STORED) or 0),
        "dedup_ratio": round(int(used) / live, 4) if live else 1.0,
    }
    return facts
