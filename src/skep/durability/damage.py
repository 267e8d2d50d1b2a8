"""What is known to be damaged, and the queue of repairs. Synchronous, inside a transaction.

A pack of which fewer than k shards can be had is *lost*: its chunks get ``condemned_epoch = LOST``.
They keep their uses and are read again if a store comes back, but a new upload no longer relies on
them: it stores them anew, which gives every file that uses them its content back.

What always holds: a pack with a shard that is not ``ok`` is in the queue and has ``degraded`` set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import sqlalchemy as sa

from skep.base.ids import Id
from skep.chunks.scheme import Scheme
from skep.db import Transaction, prepared, upsert
from skep.db import schema as s
from skep.durability.catalog import LOST, pack_places

LOST_REASON = "data-lost"
DEFERRED_REASON = "deferred"
"""Of a pack that lacks shards and has more than its scheme's ``repair_at``."""

_c, _h, _p, _r = s.chunks.c, s.shards.c, s.packs.c, s.repairs.c

_QUEUE = upsert(s.repairs, ["pack_id"], ["reason", "lost", "spare", "next_try_us"])
_SCHEME = prepared(sa.select(_p.scheme).where(_p.id == sa.bindparam("pack")))
_SET_REASON = prepared(
    sa.update(s.repairs)
    .where(_r.pack_id == sa.bindparam("pack"), _r.reason != sa.bindparam("because"))
    .values(reason=sa.bindparam("because"))
)
_DEFER = prepared(
    sa.update(s.repairs)
    .where(_r.pack_id == sa.bindparam("pack"))
    .values(reason=DEFERRED_REASON, next_try_us=sa.bindparam("at"), last_error=None)
)
_DEGRADE = prepared(sa.update(s.packs).where(_p.id == sa.bindparam("pack")).values(degraded=1))
_WHOLE = prepared(sa.update(s.packs).where(_p.id == sa.bindparam("pack")).values(degraded=0))
_RETIRED = prepared(sa.select(s.packs.c.id).where(_p.id == sa.bindparam("pack"), s.packs.c.retired_us.is_not(None)))
_DONE = prepared(sa.delete(s.repairs).where(_r.pack_id == sa.bindparam("pack")))
_SHARD_SIZE = prepared(
    sa.select(_h.size_bytes).where(_h.pack_id == sa.bindparam("pack"), _h.number == sa.bindparam("shard"))
)
_SET_SHARD_STATE = prepared(
    sa.update(s.shards)
    .where(
        _h.pack_id == sa.bindparam("pack"),
        _h.number == sa.bindparam("shard"),
        _h.store_id == sa.bindparam("store"),
        _h.state == "ok",
    )
    .values(state=sa.bindparam("new_state"))
)
_USE_STORE = prepared(
    sa.update(s.stores)
    .where(s.stores.c.id == sa.bindparam("store"))
    .values(used_bytes=s.stores.c.used_bytes + sa.bindparam("bytes"))
)
_LOSE_CHUNKS = prepared(
    sa.update(s.chunks).where(_c.pack_id == sa.bindparam("pack")).values(condemned_epoch=sa.bindparam("mark"))
)
_FIND_CHUNKS = prepared(
    sa.update(s.chunks)
    .where(_c.pack_id == sa.bindparam("pack"), _c.condemned_epoch == sa.bindparam("mark"))
    .values(condemned_epoch=None)
)


def queue_repair(tx: Transaction, pack_id: bytes, reason: str, lost: int, next_try_us: int) -> None:
    """Ask for a pack to be made whole; a pack that is queued already keeps its attempts.

    The fewer shards it can still lose (``spare``; below 0 it cannot be read), the sooner its turn comes.
    """
    scheme = tx.value(_SCHEME, {"pack": pack_id})
    tx.run(_DEGRADE, {"pack": pack_id})
    tx.run(
        _QUEUE,
        {
            "pack_id": pack_id,
            "reason": reason,
            "lost": lost,
            "spare": Scheme.parse(scheme).parity_shards - lost if scheme is not None else 0,
            "attempts": 0,
            "next_try_us": next_try_us,
            "created_us": tx.now_us,
            "last_error": None,
        },
    )


def note_damage(
    tx: Transaction,
    damage: Mapping[tuple[bytes, int], tuple[Id, str]],
    told: Callable[[bytes, int, Id, str], None] | None = None,
) -> int:
    """Mark shards, by (pack id, number), as ``missing`` or ``corrupt`` on a store and queue their packs' repair.

    ``told`` hears of each that was marked, after the commit. Returns how many were; shards already marked, moved to
    another store or gone are passed over.
    """
    marked = 0
    for (pack_id, number), (store_id, state) in damage.items():
        params = {"pack": pack_id, "shard": number, "store": store_id, "new_state": state}
        if not tx.run(_SET_SHARD_STATE, params):
            continue
        marked += 1
        if told is not None:
            tx.after_commit(partial(told, pack_id, number, store_id, state))
        if state == "missing":
            size_bytes = tx.value(_SHARD_SIZE, {"pack": pack_id, "shard": number})
            tx.run(_USE_STORE, {"store": store_id, "bytes": -int(size_bytes or 0)})
        pack = pack_places(tx, pack_id)
        if pack is not None:
            queue_repair(tx, pack_id, state, sum(each.state != "ok" for each in pack.shards), tx.now_us)
    return marked


def declare_lost(tx: Transaction, pack_id: bytes) -> bool:
    """Say that a queued pack cannot be read any more: uploads store its chunks anew. Whether that is new.

    A pack that nothing points at is no loss: it leaves the queue.
    """
    if tx.one(_RETIRED, {"pack": pack_id}):
        tx.run(_DONE, {"pack": pack_id})
        return False
    tx.run(_LOSE_CHUNKS, {"pack": pack_id, "mark": LOST})
    return tx.run(_SET_REASON, {"pack": pack_id, "because": LOST_REASON}) > 0


def defer_repair(tx: Transaction, pack_id: bytes, next_try_us: int) -> None:
    """Let a queued pack wait that can be read and has more shards than its scheme's repair begins at."""
    declare_readable(tx, pack_id)
    tx.run(_DEFER, {"pack": pack_id, "at": next_try_us})


def declare_readable(tx: Transaction, pack_id: bytes) -> None:
    """Undo ``declare_lost``: enough shards are there again."""
    if tx.run(_FIND_CHUNKS, {"pack": pack_id, "mark": LOST}):
        tx.run(_SET_REASON, {"pack": pack_id, "because": "degraded"})


def finish_repair(tx: Transaction, pack_id: bytes) -> bool:
    """Take a pack whose shards all are good off the queue; False (it stays) when new damage was noted meanwhile."""
    pack = pack_places(tx, pack_id)
    if pack is not None:
        good = sum(each.state == "ok" for each in pack.shards)
        if good < pack.scheme.total:
            return False
    tx.run(_DONE, {"pack": pack_id})
    tx.run(_WHOLE, {"pack": pack_id})
    return True
