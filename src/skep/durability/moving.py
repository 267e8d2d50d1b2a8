"""Moving one shard from one store to another, byte for byte.

Copied, recorded, deleted, in this order: whatever breaks in between leaves the shard where it was, or a copy that
the sweep of unknown shards removes.
"""

from __future__ import annotations

import sqlalchemy as sa

from skep.base.errors import CorruptShard, ObjectNotFound, StoreNotFound, StoreUnavailable
from skep.base.ids import Id
from skep.chunks.shard import verify_shard
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability.catalog import pack_places
from skep.durability.collect import delete_shard
from skep.durability.records import PackPlaces, shard_key
from skep.durability.service import ChunkService

_h = s.shards.c
_MOVE = prepared(
    sa.update(s.shards)
    .where(
        _h.pack_id == sa.bindparam("pack"),
        _h.number == sa.bindparam("shard"),
        _h.store_id == sa.bindparam("source"),
        _h.state == "ok",
    )
    .values(store_id=sa.bindparam("target"))
)
_USE = prepared(
    sa.update(s.stores)
    .where(s.stores.c.id == sa.bindparam("store"))
    .values(used_bytes=s.stores.c.used_bytes + sa.bindparam("bytes"))
)


async def move_shard(db: Database, chunks: ChunkService, pack_id: bytes, number: int, target_id: Id) -> int:
    """Move a good shard to another store; its size in bytes, 0 when it is not there to be moved any more.

    Raises CorruptShard and ObjectNotFound (noted as damage already), StoreUnavailable, StoreFull, StoreNotFound.
    """
    with chunks.leases.hold():
        pack = await db.read(lambda tx: pack_places(tx, pack_id))
        place = next((each for each in pack.shards if each.number == number), None) if pack else None
        if pack is None or place is None or place.state != "ok" or place.store_id == target_id:
            return 0
        raw = await _read(chunks, pack, number, place.store_id)
        async with chunks.on_their_way.putting(pack_id):
            await _put(chunks, shard_key(pack_id, number), raw, target_id)
            moved = await db.write(lambda tx: _record(tx, pack_id, number, place.store_id, target_id, len(raw)))
        chunks.packs.forget(pack_id)
        source = chunks.stores.get(place.store_id)
        if moved and source is not None:
            await delete_shard(chunks, source, shard_key(pack_id, number))
    return len(raw) if moved else 0


async def _read(chunks: ChunkService, pack: PackPlaces, number: int, store_id: Id) -> bytes:
    """The shard, every block of it verified."""
    member = chunks.stores.get(store_id)
    if member is None or member.store is None:
        raise StoreUnavailable(f"the store of shard {number} of pack {pack.pack_id.hex()} cannot be read now")
    store, timeout_s = member.store, chunks.options.read_timeout_s
    try:
        raw = await chunks.stores.call(
            member, lambda: store.get(shard_key(pack.pack_id, number)), timed=False, timeout_s=timeout_s
        )
        await chunks.code(
            lambda: verify_shard(chunks.shard_key, pack.pack_id, number, pack.scheme, pack.size_bytes, raw)
        )
    except (ObjectNotFound, CorruptShard) as error:
        found = "missing" if isinstance(error, ObjectNotFound) else "corrupt"
        chunks.note_damage(pack.pack_id, number, store_id, found)
        raise
    return raw


async def _put(chunks: ChunkService, key: str, raw: bytes, target_id: Id) -> None:
    member = chunks.stores.get(target_id)
    if member is None or member.store is None:
        raise StoreNotFound(f"the store that shard {key} was to go to is not there: plan again")
    store, timeout_s = member.store, chunks.options.put_timeout_s
    await chunks.stores.call(member, lambda: store.put(key, [raw]), timed=False, timeout_s=timeout_s)
    member.wrote(len(raw))


def _record(tx: Transaction, pack_id: bytes, number: int, source: Id, target: Id, size_bytes: int) -> bool:
    """Whether the shard was still where it was read."""
    given = {"pack": pack_id, "shard": number, "source": source, "target": target}
    if tx.run(_MOVE, given) != 1:
        return False
    tx.run(_USE, {"store": source, "bytes": -size_bytes})
    tx.run(_USE, {"store": target, "bytes": size_bytes})
    return True
