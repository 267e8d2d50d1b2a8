"""Recovery's second half: the rows of a restored database are made to agree with what lies in the stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import sqlalchemy as sa

from skep.base.errors import CorruptPack, DataLost, Integrity, SkepError
from skep.base.ids import Id
from skep.chunks.coding import rebuild
from skep.chunks.layout import HEADER_BYTES
from skep.chunks.pack import TRAILER_BYTES, PackEntry, index_tail_size, read_index
from skep.chunks.shard import ShardHeader, read_header, verify_blocks
from skep.crypto.keys import PUBLIC_DOMAIN_ID, HiveKeys
from skep.db import Database, Transaction, prepared, upsert
from skep.db import schema as s
from skep.durability import catalog
from skep.durability.damage import note_damage
from skep.durability.policies import SERVICES
from skep.durability.pools import HIVE, Pool
from skep.durability.recording import WrittenShard, add_chunks, add_pack, sort_entries
from skep.durability.records import PackPlaces, parse_shard_key, shard_key
from skep.durability.snapshots import Head
from skep.stores.protocol import Store

PAGE = 500

OnStores: TypeAlias = dict[bytes, dict[int, tuple[Id, ...]]]
"""By pack id and shard number: the stores that list the shard."""
Report = Callable[[str, int, int], None]
"""Told of (step, done, total)."""

_PACK_IDS = prepared(
    sa.select(s.packs.c.id).where(s.packs.c.id > sa.bindparam("after")).order_by(s.packs.c.id).limit(PAGE)
)
_SHARDS = prepared(
    sa.select(s.shards.c.number, s.shards.c.store_id, s.shards.c.state).where(
        s.shards.c.pack_id == sa.bindparam("pack")
    )
)
_MOVE_SHARD = prepared(
    sa.update(s.shards)
    .where(s.shards.c.pack_id == sa.bindparam("pack"), s.shards.c.number == sa.bindparam("shard"))
    .values(store_id=sa.bindparam("store"), state="ok")
)
_CHUNK_PLACES = prepared(
    sa.select(s.chunks.c.id, s.chunks.c.pack_id).where(
        s.chunks.c.domain_id == sa.bindparam("domain"), s.chunks.c.id.in_(sa.bindparam("ids", expanding=True))
    )
)
_DOMAINS = prepared(sa.select(s.domains.c.id))
_ZONES = prepared(sa.select(s.stores.c.id, s.stores.c.zone, s.stores.c.owner_id))
_DOMAIN_OWNER = prepared(
    sa.select(s.domains.c.owner_id, s.domains.c.kind).where(s.domains.c.id == sa.bindparam("domain"))
)
_OWNED = upsert(s.hive, ["name"], ["value"])
_USED = prepared(
    sa.select(s.shards.c.store_id, sa.func.sum(s.shards.c.size_bytes))
    .where(s.shards.c.state != "missing")
    .group_by(s.shards.c.store_id)
)
_NOTHING_USED = prepared(sa.update(s.stores).values(used_bytes=0))
_SET_USED = prepared(
    sa.update(s.stores).where(s.stores.c.id == sa.bindparam("store")).values(used_bytes=sa.bindparam("bytes"))
)


@dataclass(slots=True)
class Recovery:
    """What came of it."""

    snapshot: Head | None = None
    packs_found: int = 0
    packs_added: int = 0
    chunks_added: int = 0
    chunks_moved: int = 0
    chunks_unknown: int = 0
    """Of accounts made since the snapshot."""
    stores_added: list[str] = field(default_factory=list)
    shards_missing: int = 0
    stores_absent: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


class Reconciler:
    """Goes once through the stores and through the rows."""

    def __init__(self, db: Database, keys: HiveKeys, stores: Mapping[Id, Store], result: Recovery) -> None:
        self._db = db
        self._keys = keys
        self._stores = stores
        self._result = result

    async def run(self, report: Report) -> None:
        """List the stores, settle known packs, add unknown ones, recount."""
        on_stores = await self._list_shards(report)
        await self._reconcile(on_stores, report)
        await self._finish()

    async def _list_shards(self, report: Report) -> OnStores:
        """Which stores have which shard of which pack: more than one after a repair that was cut short."""
        found: OnStores = {}
        for done, (store_id, store) in enumerate(self._stores.items()):
            report("list stores", done, len(self._stores))
            async for info in store.list("shards/"):
                parsed = parse_shard_key(info.key)
                if parsed is not None:
                    places = found.setdefault(parsed[0], {})
                    places[parsed[1]] = (*places.get(parsed[1], ()), store_id)
        self._result.packs_found = len(found)
        return found

    async def _reconcile(self, on_stores: OnStores, report: Report) -> None:
        known: set[bytes] = set()
        after = b""
        while rows := await self._db.read(lambda tx, a=after: tx.rows(_PACK_IDS, {"after": a})):  # type: ignore[misc]
            ids = [bytes(row[0]) for row in rows]
            known.update(ids)
            after = ids[-1]
            self._result.shards_missing += await self._db.write(lambda tx, i=ids: self._settle_shards(tx, i, on_stores))  # type: ignore[misc]
            report("packs", len(known), len(on_stores))
        unknown = [pack_id for pack_id in on_stores if pack_id not in known]
        for done, pack_id in enumerate(unknown):
            report("packs since the snapshot", done, len(unknown))
            try:
                header, entries = await self._read_pack(pack_id, on_stores[pack_id])
            except Integrity as error:
                self._result.unreadable.append(f"pack {pack_id.hex()}: {error.message}")
                continue
            await self._db.write(partial(self._add, header, entries, on_stores))

    def _settle_shards(self, tx: Transaction, ids: Sequence[bytes], on_stores: OnStores) -> int:
        """Make shard rows agree with the listings of the stores that were given."""
        gone: dict[tuple[bytes, int], tuple[Id, str]] = {}
        for pack_id in ids:
            present = on_stores.get(pack_id, {})
            for number, store_id, state in tx.rows(_SHARDS, {"pack": pack_id}):
                actual = present.get(number, ())
                if actual and (store_id not in actual or state == "missing"):
                    at = store_id if store_id in actual else actual[0]
                    tx.run(_MOVE_SHARD, {"pack": pack_id, "shard": number, "store": at})
                elif not actual and state == "ok" and store_id in self._stores:
                    gone[pack_id, number] = (store_id, "missing")
        return note_damage(tx, gone)

    async def _read_pack(
        self, pack_id: bytes, places: Mapping[int, tuple[Id, ...]]
    ) -> tuple[ShardHeader, list[PackEntry]]:
        """A pack's entries from its own index. Raises CorruptPack, DataLost."""
        header: ShardHeader | None = None
        payloads: dict[int, bytes] = {}
        for number, stores in sorted(places.items()):
            for store_id in stores:
                found = await self._read_shard(pack_id, number, self._stores[store_id])
                if found is not None:
                    header, payloads[number] = found
                    break
            if header is not None and len(payloads) == header.scheme.data_shards:
                break
        if header is None or len(payloads) < header.scheme.data_shards:
            raise DataLost(f"too few shards of pack {pack_id.hex()} can be read")
        return header, self._read_index(header, payloads)

    async def _read_shard(self, pack_id: bytes, number: int, store: Store) -> tuple[ShardHeader, bytes] | None:
        """A shard's header and payload; None, noted, when it cannot be read or is not what its key says."""
        key = self._keys.shard_key
        try:
            raw = await store.get(shard_key(pack_id, number))
            header = read_header(raw, key)
            if (header.pack_id, header.number) != (pack_id, number):
                raise CorruptPack("it is another shard, or of another pack")
            body = memoryview(raw)[HEADER_BYTES:]
            blocks = verify_blocks(key, pack_id, number, header.scheme, header.pack_size, 0, body)
        except SkepError as error:
            self._result.unreadable.append(f"shard {number} of pack {pack_id.hex()}: {error.message}")
            return None
        return header, b"".join(blocks)

    def _read_index(self, header: ShardHeader, payloads: Mapping[int, bytes]) -> list[PackEntry]:
        numbers = range(header.scheme.data_shards)
        whole = rebuild(header.scheme, payloads, numbers)
        data = b"".join(bytes(whole[each]) for each in numbers)[: header.pack_size]
        tail = index_tail_size(data[-TRAILER_BYTES:])
        return read_index(self._keys.index_key, data[-tail:], header.pack_size)

    def _add(
        self,
        header: ShardHeader,
        entries: Sequence[PackEntry],
        on_stores: OnStores,
        tx: Transaction,
    ) -> None:
        """Give a pack that the snapshot does not know its rows, and orphaned chunks a place in it."""
        domains = {PUBLIC_DOMAIN_ID, *(bytes(row[0]) for row in tx.rows(_DOMAINS))}
        known = [entry for entry in entries if entry.domain_id in domains]
        fresh, moved = sort_entries(tx, known)
        settled = {*fresh, *moved}
        moved += self._orphans(tx, [entry for entry in known if entry not in settled], on_stores)
        places = {number: stores[0] for number, stores in on_stores[header.pack_id].items()}
        rows = tx.rows(_ZONES)
        zone_of = {row[0]: row[1] for row in rows}
        owned = {row[0] for row in rows if row[2] is not None}
        zones = [zone_of.get(store_id) for store_id in places.values()]
        epoch = catalog.read_epoch(tx)
        live = [*fresh, *moved]
        add_pack(
            tx,
            header.pack_id,
            header.scheme,
            header.pack_size,
            (sum(entry.size_bytes for entry in live), len(live)),
            _found_shards(header, places),
            pool=_pool(tx, known, any(store_id in owned for store_id in places.values())),
            spread=len(set(zones)) == len(zones),
            repair_delay_us=0,
            epoch=epoch,
        )
        add_chunks(tx, header.pack_id, fresh, moved, epoch)
        self._result.packs_added += 1
        self._result.chunks_added += len(fresh)
        self._result.chunks_moved += len(moved)
        self._result.chunks_unknown += len(entries) - len(known)

    @staticmethod
    def _orphans(tx: Transaction, entries: Sequence[PackEntry], on_stores: OnStores) -> list[PackEntry]:
        """Entries whose chunk row points at a pack of which too few shards are left."""
        by_key = {(entry.domain_id, entry.chunk_id): entry for entry in entries}
        readable: dict[bytes, bool] = {}
        lost = []
        for domain_id in {entry.domain_id for entry in entries}:
            ids = [chunk_id for domain, chunk_id in by_key if domain == domain_id]
            for part in catalog.batches(ids):
                for chunk_id, pack_id in tx.rows(_CHUNK_PLACES, {"domain": domain_id, "ids": list(part)}):
                    if pack_id not in readable:
                        readable[pack_id] = _readable(catalog.pack_places(tx, pack_id), on_stores)
                    if not readable[pack_id]:
                        lost.append(by_key[domain_id, bytes(chunk_id)])
        return lost

    async def _finish(self) -> None:
        def work(tx: Transaction) -> None:
            catalog.raise_epoch(tx)
            tx.run(_NOTHING_USED)  # a store whose shards have all gone since the snapshot has no sum
            for store_id, used in tx.rows(_USED):
                tx.run(_SET_USED, {"store": store_id, "bytes": int(used)})

        await self._db.write(work)


def _found_shards(header: ShardHeader, places: Mapping[int, Id]) -> list[WrittenShard]:
    """All shards of a pack; those that were not found are missing, wherever they were."""
    anywhere, size_bytes = next(iter(places.values())), header.layout.shard_file_bytes
    return [
        WrittenShard(number, places.get(number, anywhere), size_bytes, number in places)
        for number in range(header.scheme.total)
    ]


def _pool(tx: Transaction, entries: Sequence[PackEntry], on_owned: bool) -> Pool:
    """Whose a found pack is: its chunks' owner, if those are of one and it lies on stores with an owner."""
    found = {
        tuple(tx.one(_DOMAIN_OWNER, {"domain": domain}) or (None, "")) for domain in {e.domain_id for e in entries}
    }
    if len(found) != 1:
        return HIVE
    ((owner_id, kind),) = found
    members = kind if kind in SERVICES else ""
    if owner_id is None or not (on_owned or members):
        return HIVE
    tx.run(_OWNED, {"name": "owned-packs", "value": b"1"})
    return Pool(bytes(owner_id), members)


def _readable(pack: PackPlaces | None, on_stores: OnStores) -> bool:
    return pack is not None and len(on_stores.get(pack.pack_id, {})) >= pack.scheme.data_shards
