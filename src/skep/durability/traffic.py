"""What was kept in and moved to and from each store, by day: the ground of costs.

Figures of the stores' meters go into the database about once a minute, and when the hive stops: what a crash loses is
the last minute's. Days are UTC's.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import Unavailable
from skep.base.ids import Id
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.cost import Month, Used, day_at, first_day, month_at
from skep.durability.storeset import StoreSet

EVERY_S = 60.0
GAP_MAX_S = 600.0
"""The longest time that is counted as kept without having looked: a machine that slept was not a month at work."""
KEPT_DAYS = 800

_t = s.store_traffic.c
_FIND = prepared(sa.select(_t.day).where(_t.store_id == sa.bindparam("store"), _t.day == sa.bindparam("on")))
_ADD = insert_new(s.store_traffic)
_COUNT = prepared(
    sa.update(s.store_traffic)
    .where(_t.store_id == sa.bindparam("store"), _t.day == sa.bindparam("on"))
    .values(
        kib_seconds=_t.kib_seconds + sa.bindparam("kept"),
        up_bytes=_t.up_bytes + sa.bindparam("up"),
        down_bytes=_t.down_bytes + sa.bindparam("down"),
    )
)
_SINCE = prepared(
    sa.select(_t.store_id, sa.func.sum(_t.kib_seconds), sa.func.sum(_t.up_bytes), sa.func.sum(_t.down_bytes))
    .where(_t.day >= sa.bindparam("first"))
    .group_by(_t.store_id)
)
_FORGET = prepared(sa.delete(s.store_traffic).where(_t.day < sa.bindparam("before")))


@dataclass(slots=True)
class _Told:
    """What of a store's meter is in the database already."""

    up_bytes: int = 0
    down_bytes: int = 0


class Traffic:
    """Carries the stores' meters into the database."""

    def __init__(self, db: Database, stores: StoreSet, clock: Clock) -> None:
        self._db = db
        self._stores = stores
        self._clock = clock
        self._told: dict[int, _Told] = {}
        self._looked_s = clock.monotonic_s()

    async def look(self, *, now: bool = False) -> None:
        """Count what has happened since the last look, if that was long enough ago."""
        elapsed_s = self._clock.monotonic_s() - self._looked_s
        if elapsed_s < EVERY_S and not now:
            return
        self._looked_s += elapsed_s
        rows = [self._row(member.id, member.store, member.used_bytes, elapsed_s) for member in self._stores]
        day = day_at(self._clock.now_us())
        await self._db.write(lambda tx: _record(tx, day, rows))

    async def close(self) -> None:
        """Count what has happened since the last look, if the database takes it."""
        with contextlib.suppress(Unavailable):
            await self.look(now=True)

    async def month(self) -> tuple[Month, dict[Id, Used]]:
        """This month, and what was used in it by store; stores without any are left out."""
        now_us = self._clock.now_us()
        rows = await self._db.read(lambda tx: tx.rows(_SINCE, {"first": first_day(now_us)}))
        return month_at(now_us), {
            bytes(row[0]): Used(1024 * int(row[1] or 0), int(row[2] or 0), int(row[3] or 0)) for row in rows
        }

    def _row(self, store_id: Id, store: object, used_bytes: int, elapsed_s: float) -> dict[str, Any]:
        meter = getattr(store, "meter", None)
        told = self._told.setdefault(id(meter), _Told())
        up, down = getattr(meter, "put_bytes", 0), getattr(meter, "get_bytes", 0)
        kept = round(used_bytes / 1024 * min(elapsed_s, GAP_MAX_S))  # in KiB: a byte-second of a petabyte overflows
        row = {"store": store_id, "kept": kept, "up": up - told.up_bytes, "down": down - told.down_bytes}
        told.up_bytes, told.down_bytes = up, down
        return row


def _record(tx: Transaction, day: int, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if not (row["kept"] or row["up"] or row["down"]):
            continue
        if tx.one(_FIND, {"store": row["store"], "on": day}) is None:
            tx.run(_ADD, {"store_id": row["store"], "day": day, "kib_seconds": 0, "up_bytes": 0, "down_bytes": 0})
        tx.run(_COUNT, {**row, "on": day})
    tx.run(_FORGET, {"before": day - KEPT_DAYS})
