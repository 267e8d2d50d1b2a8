"""``skep recover``: a hive rebuilt from its stores and its master key alone.

The newest snapshot that can be read in full is loaded into an empty database. Then the stores are
listed, and the rows are made to agree with what really lies there:

- stores are recognised by the marker in them, wherever they are mounted now;
- a pack that the snapshot does not know is read from its own index, and its chunks get their rows
  back where they have none (or one whose pack is gone): what was repacked since is found again;
- shards that are not where their rows say are marked missing and queued for repair.

It can be run again: it begins only on an empty database, and changes nothing in the stores.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from skep.base.errors import CorruptPack, CorruptRecord, DataLost, Integrity, KeyWrong, SkepError
from skep.base.ids import Id
from skep.chunks.coding import rebuild
from skep.chunks.layout import HEADER_BYTES
from skep.chunks.pack import TRAILER_BYTES, PackEntry, index_tail_size, read_index
from skep.chunks.shard import ShardHeader, read_header, verify_blocks
from skep.crypto.keys import HiveKeys, MasterKey
from skep.db import Database, Transaction, prepared
from skep.db import schema as s
from skep.durability import catalog
from skep.durability.catalog import WrittenShard
from skep.durability.records import parse_shard_key, shard_key
from skep.durability.snapshots import Head, head_key, list_heads, open_head, read_snapshot
from skep.stores.protocol import Store

PAGE = 500

Load = Callable[[Database, AsyncIterator[bytes]], Awaitable[None]]
Report = Callable[[str, int, int], None]
"""Told of (step, done, total)."""

_STORE_IDS = prepared(sa.select(s.stores.c.id, s.stores.c.name))
_SET_URL = prepared(sa.update(s.stores).where(s.stores.c.id == sa.bindparam("store")).values(url=sa.bindparam("to")))
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
_ORPHANED = prepared(
    sa.select(s.chunks.c.id, s.chunks.c.pack_id).where(
        s.chunks.c.domain_id == sa.bindparam("domain"), s.chunks.c.id.in_(sa.bindparam("ids", expanding=True))
    )
)
_REPOINT = prepared(
    sa.update(s.chunks)
    .where(s.chunks.c.domain_id == sa.bindparam("domain"), s.chunks.c.id == sa.bindparam("chunk"))
    .values(pack_id=sa.bindparam("pack"), offset=sa.bindparam("at"), size_bytes=sa.bindparam("size"))
)
_SUM_PACK = prepared(
    sa.select(sa.func.coalesce(sa.func.sum(s.chunks.c.size_bytes), 0), sa.func.count()).where(
        s.chunks.c.pack_id == sa.bindparam("pack")
    )
)
_SET_SUMS = prepared(
    sa.update(s.packs)
    .where(s.packs.c.id == sa.bindparam("pack"))
    .values(live_bytes=sa.bindparam("live"), chunk_count=sa.bindparam("count"), retired_us=None, retired_epoch=None)
)
_USED = prepared(
    sa.select(s.shards.c.store_id, sa.func.sum(s.shards.c.size_bytes))
    .where(s.shards.c.state != "missing")
    .group_by(s.shards.c.store_id)
)
_SET_USED = prepared(
    sa.update(s.stores).where(s.stores.c.id == sa.bindparam("store")).values(used_bytes=sa.bindparam("bytes"))
)


@dataclass(frozen=True, slots=True)
class FoundStore:
    """A given store and who it says that it is."""

    url: str
    store: Store
    store_id: Id
    hive_id: Id


@dataclass(slots=True)
class Recovery:
    """What came of it."""

    snapshot: Head | None = None
    packs_found: int = 0
    packs_added: int = 0
    chunks_moved: int = 0
    shards_missing: int = 0
    stores_absent: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


class Recoverer:
    """Recovers one hive into one empty database."""

    def __init__(self, db: Database, master: MasterKey, stores: Sequence[FoundStore], load: Load) -> None:
        self._db = db
        self._keys: HiveKeys = master.hive_keys()
        self._found = {each.store_id: each for each in stores}
        self._load = load
        self._result = Recovery()

    async def run(self, report: Report = lambda step, done, total: None) -> Recovery:
        """Do it all. Raises DataLost (no readable snapshot), KeyWrong (none opens with this key)."""
        await self._load_snapshot(report)
        await self._place_stores()
        on_stores = await self._list_shards(report)
        await self._reconcile(on_stores, report)
        await self._finish()
        return self._result

    @property
    def _stores(self) -> Mapping[Id, Store]:
        return {store_id: each.store for store_id, each in self._found.items()}

    async def _load_snapshot(self, report: Report) -> None:
        heads = await self._heads()
        for done, head in enumerate(heads):
            report("snapshot", done, len(heads))
            try:
                async for _ in read_snapshot(self._keys, head, self._stores):
                    pass  # read it whole once before a byte of it goes into the database
            except Integrity as error:
                self._result.unreadable.append(f"snapshot {head.snapshot_id.hex()}: {error.message}")
                continue
            await self._load(self._db, read_snapshot(self._keys, head, self._stores))
            self._result.snapshot = head
            return
        raise DataLost(
            "no metadata snapshot can be read whole from the given stores: name more of the hive's stores. "
            + "; ".join(self._result.unreadable[:3])
        )

    async def _heads(self) -> list[Head]:
        """All heads that open with the master key, newest first."""
        where: dict[Id, list[Store]] = {}
        for store in self._stores.values():
            for snapshot_id in await list_heads(store):
                where.setdefault(snapshot_id, []).append(store)
        heads: list[Head] = []
        for snapshot_id in sorted(where, reverse=True):
            for store in where[snapshot_id]:
                try:
                    heads.append(open_head(self._keys, snapshot_id, await store.get(head_key(snapshot_id))))
                    break
                except CorruptRecord as error:
                    self._result.unreadable.append(f"head of snapshot {snapshot_id.hex()}: {error.message}")
                except SkepError:
                    continue
        if where and not heads:
            raise KeyWrong("none of the snapshots in the given stores opens with this master key")
        return heads

    async def _place_stores(self) -> None:
        rows = await self._db.read(lambda tx: tx.rows(_STORE_IDS))
        self._result.stores_absent = [name for store_id, name in rows if store_id not in self._found]

        def work(tx: Transaction) -> None:
            for each in self._found.values():
                tx.run(_SET_URL, {"store": each.store_id, "to": each.url})

        await self._db.write(work)

    async def _list_shards(self, report: Report) -> dict[bytes, dict[int, Id]]:
        """Which store has which shard of which pack."""
        found: dict[bytes, dict[int, Id]] = {}
        for done, each in enumerate(self._found.values()):
            report("list stores", done, len(self._found))
            async for info in each.store.list("shards/"):
                parsed = parse_shard_key(info.key)
                if parsed is not None:
                    found.setdefault(parsed[0], {})[parsed[1]] = each.store_id
        self._result.packs_found = len(found)
        return found

    async def _reconcile(self, on_stores: Mapping[bytes, Mapping[int, Id]], report: Report) -> None:
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

    def _settle_shards(self, tx: Transaction, ids: Sequence[bytes], on_stores: Mapping[bytes, Mapping[int, Id]]) -> int:
        """Make shard rows agree with the listings of the stores that were given."""
        gone: dict[tuple[bytes, int], str] = {}
        for pack_id in ids:
            present = on_stores.get(pack_id, {})
            for number, store_id, state in tx.rows(_SHARDS, {"pack": pack_id}):
                actual = present.get(number)
                if actual is not None and (actual != store_id or state == "missing"):
                    tx.run(_MOVE_SHARD, {"pack": pack_id, "shard": number, "store": actual})
                elif actual is None and state == "ok" and store_id in self._found:
                    gone[pack_id, number] = "missing"
        return catalog.note_damage(tx, gone)

    async def _read_pack(self, pack_id: bytes, places: Mapping[int, Id]) -> tuple[ShardHeader, list[PackEntry]]:
        """A pack's entries from its own index. Raises CorruptShard, CorruptPack, DataLost."""
        header: ShardHeader | None = None
        payloads: dict[int, bytes] = {}
        for number, store_id in sorted(places.items()):
            try:
                raw = await self._stores[store_id].get(shard_key(pack_id, number))
                seen = read_header(raw, self._keys.shard_key)
                if (seen.pack_id, seen.number) != (pack_id, number):
                    raise CorruptPack(f"shard {number} is of another pack")
                body = memoryview(raw)[HEADER_BYTES:]
                blocks = verify_blocks(self._keys.shard_key, pack_id, number, seen.scheme, seen.pack_size, 0, body)
            except SkepError as error:
                self._result.unreadable.append(f"shard {number} of pack {pack_id.hex()}: {error.message}")
                continue
            header = seen
            payloads[number] = b"".join(blocks)
            if len(payloads) == header.scheme.data_shards:
                break
        if header is None or len(payloads) < header.scheme.data_shards:
            raise DataLost(f"too few shards of pack {pack_id.hex()} can be read")
        whole = rebuild(header.scheme, payloads, range(header.scheme.data_shards))
        data = b"".join(bytes(whole[each]) for each in range(header.scheme.data_shards))[: header.pack_size]
        tail = index_tail_size(data[-TRAILER_BYTES:])
        return header, read_index(self._keys.index_key, data[-tail:], header.pack_size)

    def _add(
        self,
        header: ShardHeader,
        entries: Sequence[PackEntry],
        on_stores: Mapping[bytes, Mapping[int, Id]],
        tx: Transaction,
    ) -> None:
        """Give a pack that the snapshot does not know its rows, and orphaned chunks a place in it."""
        places = on_stores[header.pack_id]
        layout, total = header.layout, header.scheme.total
        shards = [
            WrittenShard(
                number, places.get(number, next(iter(places.values()))), layout.shard_file_bytes, number in places
            )
            for number in range(total)
        ]
        fresh, _ = catalog.sort_entries(tx, entries)
        lost = self._orphans(tx, entries, on_stores)
        catalog.add_pack(
            tx,
            header.pack_id,
            header.scheme,
            header.pack_size,
            (sum(each.size_bytes for each in fresh), len(fresh)),
            shards,
            spread=True,
            repair_delay_us=0,
            epoch=catalog.read_epoch(tx),
        )
        catalog.add_chunks(tx, header.pack_id, fresh, [], catalog.read_epoch(tx))
        for entry in lost:
            tx.run(
                _REPOINT,
                {
                    "domain": entry.domain_id,
                    "chunk": entry.chunk_id,
                    "pack": header.pack_id,
                    "at": entry.offset,
                    "size": entry.size_bytes,
                },
            )
        live, count = tx.rows(_SUM_PACK, {"pack": header.pack_id})[0]
        if count:
            tx.run(_SET_SUMS, {"pack": header.pack_id, "live": int(live), "count": count})
        self._result.packs_added += 1
        self._result.chunks_moved += len(lost)

    @staticmethod
    def _orphans(
        tx: Transaction, entries: Sequence[PackEntry], on_stores: Mapping[bytes, Mapping[int, Id]]
    ) -> list[PackEntry]:
        """Entries whose chunk row points at a pack of which no shard is left."""
        by_key = {(entry.domain_id, entry.chunk_id): entry for entry in entries}
        lost = []
        for domain_id in {entry.domain_id for entry in entries}:
            ids = [chunk_id for domain, chunk_id in by_key if domain == domain_id]
            for part in catalog.batches(ids):
                for chunk_id, pack_id in tx.rows(_ORPHANED, {"domain": domain_id, "ids": list(part)}):
                    if bytes(pack_id) not in on_stores:
                        lost.append(by_key[domain_id, bytes(chunk_id)])
        return lost

    async def _finish(self) -> None:
        def work(tx: Transaction) -> None:
            catalog.raise_epoch(tx)
            for store_id, used in tx.rows(_USED):
                tx.run(_SET_USED, {"store": store_id, "bytes": int(used)})

        await self._db.write(work)
