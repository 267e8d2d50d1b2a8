"""Where chunks and packs are, how often chunks are used, and the epoch. Synchronous, inside a transaction.

``chunks.condemned_epoch`` says whether an upload may rely on a chunk that is stored already: NULL,
it may; an epoch, collection is about to remove it (leases.py); ``LOST``, its pack cannot be read
(damage.py). A chunk that may not be relied on is stored anew and its row moves to the new pack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from skep.base.errors import ChunkNotFound, Unavailable
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.chunks.scheme import Scheme
from skep.db import Transaction, prepared, upsert
from skep.db import schema as s
from skep.durability.pools import Pool
from skep.durability.records import Location, PackPlaces, ShardPlace

LOOKUP_MAX = 500
"""Chunk ids in one statement: databases limit the variables of one."""
LOST = -1
"""``condemned_epoch`` of chunks whose pack is lost: below every epoch."""

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
_KNOWN_PLACES = prepared(
    sa.select(_chunk.id, _pack.owner_id, _pack.members, _pack.scheme)
    .join_from(s.chunks, s.packs, _pack.id == _chunk.pack_id)
    .where(
        _chunk.domain_id == sa.bindparam("domain"),
        _chunk.id.in_(sa.bindparam("ids", expanding=True)),
        _chunk.condemned_epoch.is_(None),
    )
)
_LOCATIONS = prepared(
    sa.select(_chunk.id, _chunk.pack_id, _chunk.offset, _chunk.size_bytes, _chunk.plain_bytes).where(
        _chunk.domain_id == sa.bindparam("domain"), _chunk.id.in_(sa.bindparam("ids", expanding=True))
    )
)
LOCATION_ONE = prepared(
    sa.select(_chunk.id, _chunk.pack_id, _chunk.offset, _chunk.size_bytes, _chunk.plain_bytes).where(
        _chunk.domain_id == sa.bindparam("domain"), _chunk.id == sa.bindparam("id")
    )
)
_PACK = prepared(
    sa.select(_pack.scheme, _pack.size_bytes, _pack.owner_id, _pack.members).where(_pack.id == sa.bindparam("pack"))
)
_SHARDS = prepared(
    sa.select(_shard.number, _shard.store_id, _shard.state)
    .where(_shard.pack_id == sa.bindparam("pack"))
    .order_by(_shard.number)
)
_REFERENCE = prepared(
    sa.update(s.chunks)
    .where(_chunk.domain_id == sa.bindparam("domain"), _chunk.id == sa.bindparam("chunk"))
    .values(
        refs=_chunk.refs + sa.bindparam("times"),
        unused_us=None,
        condemned_epoch=sa.case((_chunk.condemned_epoch == LOST, LOST), else_=None),
    )
)
_REFERENCE_ONCE = prepared(
    sa.update(s.chunks)
    .where(_chunk.domain_id == sa.bindparam("domain"), _chunk.id.in_(sa.bindparam("ids", expanding=True)))
    .values(
        refs=_chunk.refs + 1,
        unused_us=None,
        condemned_epoch=sa.case((_chunk.condemned_epoch == LOST, LOST), else_=None),
    )
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
_EPOCH = prepared(sa.select(s.hive.c.value).where(s.hive.c.name == "epoch"))
_SET_EPOCH = upsert(s.hive, ["name"], ["value"])


def batches(ids: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """Slices of at most LOOKUP_MAX."""
    return (ids[start : start + LOOKUP_MAX] for start in range(0, len(ids), LOOKUP_MAX))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where content must lie for an upload to rely on it."""

    pool: Pool
    scheme: Scheme

    def met_by(self, owner_id: Id | None, members: str, scheme: str) -> bool:
        """Whether a pack of this pool and scheme will do: where replicas are asked for, it must have as many."""
        if Pool(owner_id, members) != self.pool:
            return False
        return not members or Scheme.parse(scheme).total >= self.scheme.total


def known_chunks(tx: Transaction, domain_id: Id, ids: Sequence[bytes], wanted: Wanted | None = None) -> set[bytes]:
    """Which of these chunks are stored and neither condemned nor lost: a new upload may refer to them.

    With ``wanted`` those alone that lie where it says.
    """
    if wanted is not None:
        rows: list[tuple[bytes, bytes | None, str, str]] = []
        for part in batches(ids):
            rows += tx.rows(_KNOWN_PLACES, {"domain": domain_id, "ids": list(part)})
        return {row[0] for row in rows if wanted.met_by(*row[1:])}
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
        rows = tx.rows(LOCATION_ONE, {"domain": domain_id, "id": ids[0]})
    else:
        rows = []
        for part in batches(ids):
            rows += tx.rows(_LOCATIONS, {"domain": domain_id, "ids": list(part)})
    found = {row[0]: Location(row[1], row[2], row[3], row[4]) for row in rows}
    for chunk_id in ids:
        if chunk_id not in found:
            raise _not_stored(chunk_id)
    return found


def located(chunk_id: bytes, row: tuple[Any, ...] | None) -> Location:
    """Where the chunk lies that LOCATION_ONE was asked for. Raises ChunkNotFound when it has no row."""
    if row is None:
        raise _not_stored(chunk_id)
    return Location(row[1], row[2], row[3], row[4])


def _not_stored(chunk_id: bytes) -> ChunkNotFound:
    return ChunkNotFound(f"chunk {chunk_id.hex()} is not stored; run `skep fsck` to see what else is gone")


def pack_places(tx: Transaction, pack_id: bytes) -> PackPlaces | None:
    """A pack's scheme, size and shards; None when it has no row."""
    pack = tx.one(_PACK, {"pack": pack_id})
    if pack is None:
        return None
    shards = tuple(ShardPlace(*row) for row in tx.rows(_SHARDS, {"pack": pack_id}))
    return PackPlaces(pack_id, Scheme.parse(pack[0]), pack[1], shards, Pool(pack[2], pack[3]))


def occurrences(manifests: Iterable[Manifest]) -> Counter[bytes]:
    """How often each chunk id occurs."""
    counted: Counter[bytes] = Counter()
    for manifest in manifests:
        counted.update(ref.id for ref in manifest.chunks)
    return counted


def reference(tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
    """Count one more use of each chunk occurrence. Raises ChunkVanished when one has no row."""
    counted = occurrences(manifests)
    once = [chunk_id for chunk_id, times in counted.items() if times == 1]
    for part in batches(once):
        if tx.run(_REFERENCE_ONCE, {"domain": domain_id, "ids": part}) != len(part):
            gone = next(one for one in part if tx.one(_KNOWN_ONE, {"domain": domain_id, "id": one}) is None)
            raise _vanished(gone)
    for chunk_id, times in counted.items():
        if times > 1 and tx.run(_REFERENCE, {"domain": domain_id, "chunk": chunk_id, "times": times}) != 1:
            raise _vanished(chunk_id)


def _vanished(chunk_id: bytes) -> ChunkVanished:
    return ChunkVanished(f"chunk {chunk_id.hex()} was collected while it was uploaded: upload the file again")


def release(tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
    """Count one use less of each chunk occurrence; chunks without uses wait for collection."""
    for chunk_id, times in occurrences(manifests).items():
        params = {"domain": domain_id, "chunk": chunk_id, "times": times, "all": times, "now": tx.now_us}
        if tx.run(_RELEASE, params) != 1:
            raise ChunkNotFound(f"chunk {chunk_id.hex()} has fewer uses than are released: run `skep fsck`")


def read_epoch(tx: Transaction) -> int:
    """The epoch of collection; 0 in a new hive."""
    value = tx.value(_EPOCH)
    return int.from_bytes(value, "big") if value is not None else 0


def raise_epoch(tx: Transaction) -> int:
    """Raise the epoch by one and return it; tell Leases after the commit."""
    epoch = read_epoch(tx) + 1
    tx.run(_SET_EPOCH, {"name": "epoch", "value": epoch.to_bytes(8, "big")})
    return epoch
