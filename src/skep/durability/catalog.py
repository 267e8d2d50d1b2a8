"""The chunk service's rows: packs, shards, chunks and repairs. Synchronous, inside a transaction.

What always holds after each function: a chunk row points at one pack row; ``packs.live_bytes``
and ``packs.chunk_count`` are the sums over the chunk rows that point at the pack; a pack that
nothing points at has ``retired_us`` and ``retired_epoch`` set; ``stores.used_bytes`` is the sum
of the sizes of the store's shards that are not missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from skep.base.errors import ChunkNotFound, Unavailable
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.chunks.pack import PackEntry
from skep.chunks.scheme import Scheme
from skep.db import Transaction, insert_new, prepared, upsert
from skep.db import schema as s
from skep.durability.records import Location, PackPlaces, ShardPlace

LOOKUP_MAX = 500
"""Chunk ids in one statement: databases limit the variables of one."""

_chunk = s.chunks.c
_pack = s.packs.c
_shard = s.shards.c


class ChunkVanished(Unavailable):
    """A chunk that an upload relied on was collected before its commit: upload again."""

    code = "chunk-vanished"


_KNOWN = prepared(
    sa.select(_chunk.id).where(
        _chunk.domain_id == sa.bindparam("domain"),
        _chunk.id.in_(sa.bindparam("ids", expanding=True)),
        _chunk.condemned_epoch.is_(None),
    )
)
_KNOWN_ONE = prepared(
    sa.select(_chunk.condemned_epoch).where(_chunk.domain_id == sa.bindparam("domain"), _chunk.id == sa.bindparam("id"))
)
_PRESENT = prepared(
    sa.select(_chunk.id, _chunk.pack_id, _chunk.size_bytes, _chunk.condemned_epoch).where(
        _chunk.domain_id == sa.bindparam("domain"), _chunk.id.in_(sa.bindparam("ids", expanding=True))
    )
)
_LOCATIONS = prepared(
    sa.select(_chunk.id, _chunk.pack_id, _chunk.offset, _chunk.size_bytes, _chunk.plain_bytes).where(
        _chunk.domain_id == sa.bindparam("domain"), _chunk.id.in_(sa.bindparam("ids", expanding=True))
    )
)
_LOCATION_ONE = prepared(
    sa.select(_chunk.id, _chunk.pack_id, _chunk.offset, _chunk.size_bytes, _chunk.plain_bytes).where(
        _chunk.domain_id == sa.bindparam("domain"), _chunk.id == sa.bindparam("id")
    )
)
_PACK = prepared(sa.select(_pack.scheme, _pack.size_bytes).where(_pack.id == sa.bindparam("pack")))
_SHARDS = prepared(
    sa.select(_shard.number, _shard.store_id, _shard.state)
    .where(_shard.pack_id == sa.bindparam("pack"))
    .order_by(_shard.number)
)
_REFERENCE = prepared(
    sa.update(s.chunks)
    .where(_chunk.domain_id == sa.bindparam("domain"), _chunk.id == sa.bindparam("chunk"))
    .values(refs=_chunk.refs + sa.bindparam("times"), unused_us=None, condemned_epoch=None)
)
_RELEASE = prepared(
    sa.update(s.chunks)
    .where(
        _chunk.domain_id == sa.bindparam("domain"),
        _chunk.id == sa.bindparam("chunk"),
        _chunk.refs >= sa.bindparam("times"),
    )
    .values(
        # MariaDB evaluates assignments left to right: the one that reads refs comes first.
        unused_us=sa.case((_chunk.refs == sa.bindparam("all"), sa.bindparam("now")), else_=_chunk.unused_us),
        refs=_chunk.refs - sa.bindparam("times"),
    )
)
_INSERT_PACK = insert_new(s.packs)
_INSERT_SHARD = insert_new(s.shards)
_INSERT_CHUNK = insert_new(s.chunks)
_MOVE_CHUNK = prepared(
    sa.update(s.chunks)
    .where(_chunk.domain_id == sa.bindparam("domain"), _chunk.id == sa.bindparam("chunk"))
    .values(
        pack_id=sa.bindparam("pack"),
        offset=sa.bindparam("at"),
        size_bytes=sa.bindparam("size"),
        condemned_epoch=None,
    )
)
_SHRINK_PACK = prepared(
    sa.update(s.packs)
    .where(_pack.id == sa.bindparam("pack"))
    .values(live_bytes=_pack.live_bytes - sa.bindparam("bytes"), chunk_count=_pack.chunk_count - sa.bindparam("count"))
)
_RETIRE_PACK = prepared(
    sa.update(s.packs)
    .where(_pack.id == sa.bindparam("pack"), _pack.chunk_count == 0, _pack.retired_us.is_(None))
    .values(retired_us=sa.bindparam("now"), retired_epoch=sa.bindparam("epoch"))
)
_USE_STORE = prepared(
    sa.update(s.stores)
    .where(s.stores.c.id == sa.bindparam("store"))
    .values(used_bytes=s.stores.c.used_bytes + sa.bindparam("bytes"))
)
_QUEUE_REPAIR = upsert(s.repairs, ["pack_id"], ["reason", "lost", "next_try_us"])
_EPOCH = prepared(sa.select(s.hive.c.value).where(s.hive.c.name == "epoch"))
_SET_EPOCH = upsert(s.hive, ["name"], ["value"])
_DEGRADE = prepared(sa.update(s.packs).where(_pack.id == sa.bindparam("pack")).values(degraded=1))
_SHARD_SIZE = prepared(
    sa.select(_shard.store_id, _shard.size_bytes).where(
        _shard.pack_id == sa.bindparam("pack"), _shard.number == sa.bindparam("shard")
    )
)
_SET_SHARD_STATE = prepared(
    sa.update(s.shards)
    .where(_shard.pack_id == sa.bindparam("pack"), _shard.number == sa.bindparam("shard"), _shard.state == "ok")
    .values(state=sa.bindparam("new_state"))
)


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """The outcome of one shard's write."""

    number: int
    store_id: Id
    size_bytes: int
    stored: bool


def batches(ids: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """Slices of at most LOOKUP_MAX."""
    return (ids[start : start + LOOKUP_MAX] for start in range(0, len(ids), LOOKUP_MAX))


def known_chunks(tx: Transaction, domain_id: Id, ids: Sequence[bytes]) -> set[bytes]:
    """Which of these chunks are stored and not condemned: a new upload may refer to them."""
    if len(ids) == 1:
        row = tx.one(_KNOWN_ONE, {"domain": domain_id, "id": ids[0]})
        return {ids[0]} if row is not None and row[0] is None else set()
    known: set[bytes] = set()
    for part in batches(ids):
        known.update(row[0] for row in tx.rows(_KNOWN, {"domain": domain_id, "ids": list(part)}))
    return known


def locate(tx: Transaction, domain_id: Id, ids: Sequence[bytes]) -> dict[bytes, Location]:
    """Where these chunks lie. Raises ChunkNotFound when one has no row."""
    if len(ids) == 1:
        rows = tx.rows(_LOCATION_ONE, {"domain": domain_id, "id": ids[0]})
    else:
        rows = []
        for part in batches(ids):
            rows += tx.rows(_LOCATIONS, {"domain": domain_id, "ids": list(part)})
    found = {row[0]: Location(row[1], row[2], row[3], row[4]) for row in rows}
    for chunk_id in ids:
        if chunk_id not in found:
            raise ChunkNotFound(f"chunk {chunk_id.hex()} is not stored; run `skep fsck` to see what else is gone")
    return found


def pack_places(tx: Transaction, pack_id: bytes) -> PackPlaces | None:
    """A pack's scheme, size and shards; None when it has no row."""
    pack = tx.one(_PACK, {"pack": pack_id})
    if pack is None:
        return None
    shards = tuple(ShardPlace(*row) for row in tx.rows(_SHARDS, {"pack": pack_id}))
    return PackPlaces(pack_id, Scheme.parse(pack[0]), pack[1], shards)


def occurrences(manifests: Iterable[Manifest]) -> Counter[bytes]:
    """How often each chunk id occurs."""
    counted: Counter[bytes] = Counter()
    for manifest in manifests:
        counted.update(ref.id for ref in manifest.chunks)
    return counted


def reference(tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
    """Count one more use of each chunk occurrence. Raises ChunkVanished when one has no row."""
    for chunk_id, times in occurrences(manifests).items():
        if tx.run(_REFERENCE, {"domain": domain_id, "chunk": chunk_id, "times": times}) != 1:
            raise ChunkVanished(f"chunk {chunk_id.hex()} was collected while it was uploaded: upload the file again")


def release(tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
    """Count one use less of each chunk occurrence; chunks without uses wait for collection."""
    for chunk_id, times in occurrences(manifests).items():
        params = {"domain": domain_id, "chunk": chunk_id, "times": times, "all": times, "now": tx.now_us}
        if tx.run(_RELEASE, params) != 1:
            raise ChunkNotFound(f"chunk {chunk_id.hex()} has fewer uses than are released: run `skep fsck`")


def add_pack(
    tx: Transaction,
    pack_id: bytes,
    scheme: Scheme,
    size_bytes: int,
    live: tuple[int, int],
    shards: Sequence[WrittenShard],
    *,
    spread: bool,
    repair_delay_us: int,
    epoch: int,
) -> None:
    """Record a durable pack and its shards; ``live`` is the sealed bytes and number of its chunk rows."""
    now = tx.now_us
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
        },
    )
    tx.many(_INSERT_SHARD, [_shard_row(pack_id, shard) for shard in shards])
    tx.many(_USE_STORE, [{"store": x.store_id, "bytes": x.size_bytes} for x in shards if x.stored])
    if not live[1]:
        tx.run(_RETIRE_PACK, {"pack": pack_id, "now": now, "epoch": epoch})
    if lost or not spread:
        queue_repair(tx, pack_id, "degraded", lost, now + repair_delay_us)


def add_chunks(
    tx: Transaction, pack_id: bytes, fresh: Sequence[PackEntry], moved: Sequence[PackEntry], epoch: int
) -> None:
    """Record the chunks of a new pack: those without a row, unused yet, and those that move here."""
    tx.many(_INSERT_CHUNK, [_chunk_row(pack_id, entry, tx.now_us) for entry in fresh])
    for entry in moved:
        _move(tx, entry, pack_id, tx.now_us, epoch)


def sort_entries(tx: Transaction, entries: Sequence[PackEntry]) -> tuple[list[PackEntry], list[PackEntry]]:
    """Split a new pack's entries: those without a row, and those whose row is condemned and moves here.

    A chunk that another pack holds already stays there and is garbage in this one: in neither list.
    """
    by_domain: dict[Id, dict[bytes, PackEntry]] = {}
    for entry in entries:
        by_domain.setdefault(entry.domain_id, {})[entry.chunk_id] = entry
    fresh: list[PackEntry] = []
    moved: list[PackEntry] = []
    for domain_id, wanted in by_domain.items():
        present: dict[bytes, int | None] = {}
        for part in batches(list(wanted)):
            for row in tx.rows(_PRESENT, {"domain": domain_id, "ids": list(part)}):
                present[row[0]] = row[3]
        fresh += [entry for chunk_id, entry in wanted.items() if chunk_id not in present]
        moved += [entry for chunk_id, entry in wanted.items() if present.get(chunk_id) is not None]
    return fresh, moved


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
    (old,) = tx.rows(_PRESENT, {"domain": entry.domain_id, "ids": [entry.chunk_id]})
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
    leave_pack(tx, old[1], old[2], 1, now_us, epoch)


def leave_pack(tx: Transaction, pack_id: bytes, sealed_bytes: int, count: int, now_us: int, epoch: int) -> None:
    """Note that ``count`` chunk rows no longer point at a pack; retire it when none does."""
    tx.run(_SHRINK_PACK, {"pack": pack_id, "bytes": sealed_bytes, "count": count})
    tx.run(_RETIRE_PACK, {"pack": pack_id, "now": now_us, "epoch": epoch})


def queue_repair(tx: Transaction, pack_id: bytes, reason: str, lost: int, next_try_us: int) -> None:
    """Ask for a pack to be made whole; a pack that is queued already keeps its attempts."""
    tx.run(_DEGRADE, {"pack": pack_id})
    tx.run(
        _QUEUE_REPAIR,
        {
            "pack_id": pack_id,
            "reason": reason,
            "lost": lost,
            "attempts": 0,
            "next_try_us": next_try_us,
            "created_us": tx.now_us,
            "last_error": None,
        },
    )


def note_damage(tx: Transaction, damage: Mapping[tuple[bytes, int], str]) -> int:
    """Mark shards, by (pack id, number), as missing or corrupt and queue their packs' repair.

    Returns how many were marked; shards already marked, moved or gone are passed over.
    """
    marked = 0
    for (pack_id, number), state in damage.items():
        if tx.run(_SET_SHARD_STATE, {"pack": pack_id, "shard": number, "new_state": state}):
            marked += 1
            if state == "missing":
                store_id, size_bytes = tx.rows(_SHARD_SIZE, {"pack": pack_id, "shard": number})[0]
                tx.run(_USE_STORE, {"store": store_id, "bytes": -size_bytes})
            lost = sum(row[2] != "ok" for row in tx.rows(_SHARDS, {"pack": pack_id}))
            queue_repair(tx, pack_id, state, lost, tx.now_us)
    return marked


def read_epoch(tx: Transaction) -> int:
    """The epoch of collection; 0 in a new hive."""
    value = tx.value(_EPOCH)
    return int.from_bytes(value, "big") if value is not None else 0


def raise_epoch(tx: Transaction) -> int:
    """Raise the epoch by one and return it; tell Leases after the commit."""
    epoch = read_epoch(tx) + 1
    tx.run(_SET_EPOCH, {"name": "epoch", "value": epoch.to_bytes(8, "big")})
    return epoch
