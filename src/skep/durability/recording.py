"""The rows of a pack that has just become durable: pack, shards, chunks. Synchronous, inside a transaction.

What always holds after each function: a chunk row points at one pack row; ``packs.live_bytes``
and ``packs.chunk_count`` are the sums over the chunk rows that point at the pack; a pack that
nothing points at has ``retired_us`` and ``retired_epoch`` set; ``stores.used_bytes`` is the sum
of the sizes of the store's shards that are not missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from skep.base.errors import SkepError
from skep.base.ids import Id
from skep.chunks.pack import PackEntry
from skep.chunks.scheme import Scheme
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.catalog import Wanted, batches
from skep.durability.damage import queue_repair
from skep.durability.pools import Pool

_c, _p = s.chunks.c, s.packs.c

_PRESENT = prepared(
    sa.select(_c.id, _c.condemned_epoch).where(
        _c.domain_id == sa.bindparam("domain"), _c.id.in_(sa.bindparam("ids", expanding=True))
    )
)
_PRESENT_PLACES = prepared(
    sa.select(_c.id, _c.condemned_epoch, _p.owner_id, _p.members, _p.scheme)
    .join_from(s.chunks, s.packs, _p.id == _c.pack_id)
    .where(_c.domain_id == sa.bindparam("domain"), _c.id.in_(sa.bindparam("ids", expanding=True)))
)
_PLACE = prepared(
    sa.select(_c.pack_id, _c.size_bytes).where(_c.domain_id == sa.bindparam("domain"), _c.id == sa.bindparam("chunk"))
)
_INSERT_PACK = insert_new(s.packs)
_INSERT_SHARD = insert_new(s.shards)
_INSERT_CHUNK = insert_new(s.chunks)
_MOVE_CHUNK = prepared(
    sa.update(s.chunks)
    .where(_c.domain_id == sa.bindparam("domain"), _c.id == sa.bindparam("chunk"))
    .values(
        pack_id=sa.bindparam("pack"),
        offset=sa.bindparam("at"),
        size_bytes=sa.bindparam("size"),
        condemned_epoch=None,
    )
)
_SHRINK_PACK = prepared(
    sa.update(s.packs)
    .where(_p.id == sa.bindparam("pack"))
    .values(live_bytes=_p.live_bytes - sa.bindparam("bytes"), chunk_count=_p.chunk_count - sa.bindparam("count"))
)
_RETIRE_PACK = prepared(
    sa.update(s.packs)
    .where(_p.id == sa.bindparam("pack"), _p.chunk_count == 0, _p.retired_us.is_(None))
    .values(retired_us=sa.bindparam("now"), retired_epoch=sa.bindparam("epoch"))
)
_USE_STORE = prepared(
    sa.update(s.stores)
    .where(s.stores.c.id == sa.bindparam("store"))
    .values(used_bytes=s.stores.c.used_bytes + sa.bindparam("bytes"))
)


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """The outcome of one shard's write."""

    number: int
    store_id: Id
    size_bytes: int
    stored: bool
    refused: type[SkepError] | None = None
    """How the last store that was asked said no."""


def add_pack(
    tx: Transaction,
    pack_id: bytes,
    scheme: Scheme,
    size_bytes: int,
    live: tuple[int, int],
    shards: Sequence[WrittenShard],
    *,
    pool: Pool,
    spread: bool,
    repair_delay_us: int,
    epoch: int,
) -> None:
    """Record a durable pack and its shards; ``live`` is the sealed bytes and number of its chunk rows.

    A shard on a store that was removed meanwhile counts as missing.
    """
    now = tx.now_us
    shards = [_charged(tx, shard) for shard in shards]
    lost = sum(not shard.stored for shard in shards)
    tx.run(
        _INSERT_PACK,
        {
            "id": pack_id,
            "scheme": scheme.name,
            "size_bytes": size_bytes,
            "live_bytes": live[0],
            "chunk_count": live[1],
            "degraded": int(bool(lost) or not spread),
            "created_us": now,
            "verified_us": None,
            "retired_us": None,
            "retired_epoch": None,
            "owner_id": pool.owner_id,
            "members": pool.members,
        },
    )
    tx.many(_INSERT_SHARD, [_shard_row(pack_id, shard) for shard in shards])
    if not live[1]:
        tx.run(_RETIRE_PACK, {"pack": pack_id, "now": now, "epoch": epoch})
    if lost or not spread:
        queue_repair(tx, pack_id, "degraded", lost, now + repair_delay_us)


def _charged(tx: Transaction, shard: WrittenShard) -> WrittenShard:
    """Count a stored shard against its store's room."""
    if shard.stored and not tx.run(_USE_STORE, {"store": shard.store_id, "bytes": shard.size_bytes}):
        return replace(shard, stored=False)
    return shard


def add_chunks(
    tx: Transaction, pack_id: bytes, fresh: Sequence[PackEntry], moved: Sequence[PackEntry], epoch: int
) -> None:
    """Record the chunks of a new pack: those without a row, unused yet, and those that move here."""
    tx.many(_INSERT_CHUNK, [_chunk_row(pack_id, entry, tx.now_us) for entry in fresh])
    for entry in moved:
        _move(tx, entry, pack_id, tx.now_us, epoch)


def sort_entries(
    tx: Transaction, entries: Sequence[PackEntry], wanted: Wanted | None = None
) -> tuple[list[PackEntry], list[PackEntry]]:
    """Split a new pack's entries: those without a row, and those whose row is condemned or lost and moves here.

    With ``wanted``, what lies elsewhere moves here too. A chunk that another pack holds already stays there and
    is garbage in this one: in neither list.
    """
    by_domain: dict[Id, dict[bytes, PackEntry]] = {}
    for entry in entries:
        by_domain.setdefault(entry.domain_id, {})[entry.chunk_id] = entry
    fresh: list[PackEntry] = []
    moved: list[PackEntry] = []
    for domain_id, own in by_domain.items():
        present: dict[bytes, bool] = {}
        for part in batches(list(own)):
            present.update(_present(tx, {"domain": domain_id, "ids": list(part)}, wanted))
        fresh += [entry for chunk_id, entry in own.items() if chunk_id not in present]
        moved += [entry for chunk_id, entry in own.items() if present.get(chunk_id)]
    return fresh, moved


def _present(tx: Transaction, given: dict[str, object], wanted: Wanted | None) -> dict[bytes, bool]:
    """Which of these chunks have a row, and whether it must not be relied on where it is."""
    if wanted is None:
        return {row[0]: row[1] is not None for row in tx.rows(_PRESENT, given)}
    return {row[0]: row[1] is not None or not wanted.met_by(*row[2:]) for row in tx.rows(_PRESENT_PLACES, given)}


def _shard_row(pack_id: bytes, shard: WrittenShard) -> dict[str, object]:
    return {
        "pack_id": pack_id,
        "number": shard.number,
        "store_id": shard.store_id,
        "size_bytes": shard.size_bytes,
        "state": "ok" if shard.stored else "missing",
    }


def _chunk_row(pack_id: bytes, entry: PackEntry, now_us: int) -> dict[str, object]:
    return {
        "domain_id": entry.domain_id,
        "id": entry.chunk_id,
        "pack_id": pack_id,
        "offset": entry.offset,
        "size_bytes": entry.size_bytes,
        "plain_bytes": entry.plain_bytes,
        "refs": 0,
        "unused_us": now_us,
        "condemned_epoch": None,
    }


def _move(tx: Transaction, entry: PackEntry, pack_id: bytes, now_us: int, epoch: int) -> None:
    """Point a chunk row at a new place and shrink the pack that it leaves."""
    (old,) = tx.rows(_PLACE, {"domain": entry.domain_id, "chunk": entry.chunk_id})
    tx.run(
        _MOVE_CHUNK,
        {
            "domain": entry.domain_id,
            "chunk": entry.chunk_id,
            "pack": pack_id,
            "at": entry.offset,
            "size": entry.size_bytes,
        },
    )
    leave_pack(tx, old[0], old[1], 1, now_us, epoch)


def leave_pack(tx: Transaction, pack_id: bytes, sealed_bytes: int, count: int, now_us: int, epoch: int) -> None:
    """Note that ``count`` chunk rows no longer point at a pack; retire it when none does."""
    tx.run(_SHRINK_PACK, {"pack": pack_id, "bytes": sealed_bytes, "count": count})
    tx.run(_RETIRE_PACK, {"pack": pack_id, "now": now_us, "epoch": epoch})
