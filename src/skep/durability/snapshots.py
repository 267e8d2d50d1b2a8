"""Metadata snapshots: an encrypted copy of the database in the stores, coded like any pack.

Format page: docs/formats/snapshot-objects.md. A snapshot is a UUIDv7, so that ids sort by age. Its
objects, in the stores' own key space:

    snapshots/<id>/<part>.<number>   shards of a sealed, compressed part of the export
    snapshots/<id>/head              what it is made of, sealed; on every store that takes writes

Parts are written before the head and removed after it, so a head always stands for a whole
snapshot. Nothing in the database refers to snapshots: they are found by listing the stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from backports import zstd

from skep.base.clock import Clock
from skep.base.errors import CorruptRecord, DataLost, QuorumNotReached, SkepError
from skep.base.ids import Id, new_id
from skep.base.workers import Outcome, Progress
from skep.chunks.coding import rebuild
from skep.chunks.layout import HEADER_BYTES, ShardLayout
from skep.chunks.pack import Pack
from skep.chunks.scheme import Scheme
from skep.chunks.shard import encode_shards, verify_blocks, verify_shard
from skep.crypto.hashing import digest
from skep.crypto.keys import HiveKeys
from skep.crypto.sealing import open_record, seal_record
from skep.db import Database, Transaction
from skep.durability.collect import delete_shard
from skep.durability.placement import place
from skep.durability.service import ChunkService
from skep.durability.storeset import Member, StoreSet
from skep.stores.protocol import Store

PREFIX = "snapshots/"
PART_BYTES = 8 << 20
HEAD_BYTES_MAX = 4 << 20
EXPORT_TIMEOUT_S = 3600.0

Export = Callable[[Transaction], Iterator[bytes]]


class Part(msgspec.Struct, frozen=True):
    """One sealed part: the id it is coded under and its sealed size."""

    pack_id: bytes
    size_bytes: int


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is made of."""

    version: int = 1
    snapshot_id: Id
    hive_id: Id
    created_us: int
    scheme: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One snapshot for people."""

    snapshot_id: Id
    created_us: int
    size_bytes: int
    parts: int


def head_key(snapshot_id: Id) -> str:
    """The key of a snapshot's head."""
    return f"{PREFIX}{snapshot_id.hex()}/head"


def part_key(snapshot_id: Id, part: int, number: int) -> str:
    """The key of one shard of one part."""
    return f"{PREFIX}{snapshot_id.hex()}/{part:06d}.{number}"


def seal_head(keys: HiveKeys, head: Head) -> bytes:
    """The stored form of a head."""
    return seal_record(keys.snapshot_key, msgspec.msgpack.encode(head), b"snapshot head " + head.snapshot_id)


def open_head(keys: HiveKeys, snapshot_id: Id, sealed: bytes) -> Head:
    """Read a head. Raises CorruptRecord: damaged, or another hive's."""
    try:
        plain = open_record(keys.snapshot_key, sealed, b"snapshot head " + snapshot_id)
        return msgspec.msgpack.decode(plain, type=Head)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"snapshot {snapshot_id.hex()} has a head that a newer Skep wrote: {error}") from None


def _part_aad(snapshot_id: Id, part: int) -> bytes:
    return b"snapshot part " + snapshot_id + part.to_bytes(4, "big")


class Snapshotter:
    """The ``snapshot`` worker."""

    name = "snapshot"
    description = "Puts an encrypted copy of the metadata on the stores, for `skep recover`."

    def __init__(
        self,
        db: Database,
        chunks: ChunkService,
        keys: HiveKeys,
        hive_id: Id,
        clock: Clock,
        export: Export,
        *,
        keep: int,
    ) -> None:
        self._db = db
        self._chunks = chunks
        self._keys = keys
        self._hive_id = hive_id
        self._clock = clock
        self._export = export
        self._keep = keep
        self.last: SnapshotInfo | None = None

    async def run_once(self, progress: Progress) -> Outcome:
        """Take one snapshot and remove those that are too many."""
        await self.take()
        await self.prune()
        return Outcome(more_work=False, done_units=1)

    async def take(self) -> SnapshotInfo:
        """Write a snapshot of the present state. Raises QuorumNotReached, StoreFull."""
        snapshot_id, scheme = new_id(), self._chunks.scheme
        loop = asyncio.get_running_loop()
        parts: list[Part] = []

        def work(tx: Transaction) -> None:
            parts.clear()
            for number, sealed in enumerate(self._sealed_parts(snapshot_id, self._export(tx))):
                put = asyncio.run_coroutine_threadsafe(self._put_part(snapshot_id, number, sealed, scheme), loop)
                parts.append(put.result(EXPORT_TIMEOUT_S))

        await self._db.read(work)
        head = Head(
            snapshot_id=snapshot_id,
            hive_id=self._hive_id,
            created_us=self._clock.now_us(),
            scheme=scheme.name,
            parts=tuple(parts),
        )
        await self._put_head(head, scheme)
        self.last = _info(head)
        return self.last

    def _sealed_parts(self, snapshot_id: Id, export: Iterator[bytes]) -> Iterator[bytes]:
        """Compress the export and cut it into sealed parts. Runs in the database's thread."""
        compressor = zstd.ZstdCompressor(level=3)
        pending, number = bytearray(), 0
        for piece in export:
            pending += compressor.compress(piece)
            while len(pending) >= PART_BYTES:
                yield seal_record(self._keys.snapshot_key, pending[:PART_BYTES], _part_aad(snapshot_id, number))
                del pending[:PART_BYTES]
                number += 1
        pending += compressor.flush()
        yield seal_record(self._keys.snapshot_key, bytes(pending), _part_aad(snapshot_id, number))

    async def _put_part(self, snapshot_id: Id, part: int, sealed: bytes, scheme: Scheme) -> Part:
        pack_id = digest(sealed)
        shards = await self._chunks.code(
            lambda: encode_shards(self._chunks.shard_key, Pack(pack_id, memoryview(sealed)), scheme)
        )
        candidates = await self._chunks.stores.candidates()
        placement = place(pack_id, scheme.total, shards[0].size_bytes, candidates)
        stored = 0
        for shard, store_id in zip(shards, placement.stores, strict=False):
            member = self._chunks.stores.get(store_id)
            key = part_key(snapshot_id, part, shard.number)
            stored += member is not None and await _try_put(self._chunks.stores, member, key, shard.parts)
        if stored < scheme.write_quorum:
            raise QuorumNotReached(
                f"only {stored} of {scheme.total} shards of the metadata snapshot could be stored: see `skep store ls`",
                stored=stored,
                needed=scheme.write_quorum,
            )
        return Part(pack_id, len(sealed))

    async def _put_head(self, head: Head, scheme: Scheme) -> None:
        sealed = seal_head(self._keys, head)
        key = head_key(head.snapshot_id)
        candidates = await self._chunks.stores.candidates()
        members = [member for each in candidates if (member := self._chunks.stores.get(each.store_id)) is not None]
        stored = [await _try_put(self._chunks.stores, member, key, [sealed]) for member in members]
        if sum(stored) <= min(scheme.parity_shards, len(members) - 1):
            raise QuorumNotReached(f"the head of the snapshot is on {sum(stored)} stores only: see `skep store ls`")

    async def ids(self) -> list[Id]:
        """The snapshots that have a head somewhere, oldest first."""
        found: set[Id] = set()
        for member in self._chunks.stores:
            if member.store is not None and not member.down:
                found.update(await list_heads(member.store))
        return sorted(found)

    async def prune(self) -> int:
        """Remove all but the newest; returns how many went."""
        old = (await self.ids())[: -self._keep]
        for snapshot_id in old:
            for member in self._chunks.stores:
                await self._remove(member, snapshot_id)
        return len(old)

    async def _remove(self, member: Member, snapshot_id: Id) -> None:
        store = member.store
        if store is None or member.down or not await delete_shard(self._chunks, member, head_key(snapshot_id)):
            return
        keys = [info.key async for info in store.list(f"{PREFIX}{snapshot_id.hex()}/")]
        for key in keys:
            await delete_shard(self._chunks, member, key)


async def _try_put(stores: StoreSet, member: Member, key: str, parts: Sequence[bytes | bytearray | memoryview]) -> bool:
    store = member.store
    if store is None:
        return False
    try:
        await stores.call(member, lambda: store.put(key, parts), timed=False)
    except SkepError:
        return False
    return True


async def list_heads(store: Store) -> list[Id]:
    """The ids of the snapshots that have their head on this store."""
    found = []
    async for info in store.list(PREFIX):
        name, _, rest = info.key.removeprefix(PREFIX).partition("/")
        if rest == "head" and len(name) == 32:
            found.append(bytes.fromhex(name))
    return found


async def read_snapshot(keys: HiveKeys, head: Head, stores: Mapping[Id, Store]) -> AsyncIterator[bytes]:
    """The export that a snapshot holds, from any sufficient set of stores.

    Raises DataLost when a part has too few good shards.
    """
    scheme = Scheme.parse(head.scheme)
    decompressor = zstd.ZstdDecompressor()
    for number, part in enumerate(head.parts):
        sealed = await _read_part(keys, head.snapshot_id, number, part, scheme, list(stores.values()))
        plain = open_record(keys.snapshot_key, sealed, _part_aad(head.snapshot_id, number))
        yield decompressor.decompress(plain)
    if not decompressor.eof:
        raise DataLost(f"snapshot {head.snapshot_id.hex()} ends in the middle: take an older one")


async def _read_part(
    keys: HiveKeys, snapshot_id: Id, number: int, part: Part, scheme: Scheme, stores: Sequence[Store]
) -> bytes:
    layout = ShardLayout(scheme, part.size_bytes)
    payloads: dict[int, bytes] = {}
    for shard in range(scheme.total):
        for store in stores:
            try:
                raw = await store.get(part_key(snapshot_id, number, shard))
                verify_shard(keys.shard_key, part.pack_id, shard, scheme, part.size_bytes, raw)
            except SkepError:
                continue
            body = memoryview(raw)[HEADER_BYTES:]
            blocks = verify_blocks(keys.shard_key, part.pack_id, shard, scheme, part.size_bytes, 0, body)
            payloads[shard] = b"".join(blocks)
            break
        if len(payloads) == scheme.data_shards:
            break
    if len(payloads) < scheme.data_shards:
        raise DataLost(
            f"part {number} of snapshot {snapshot_id.hex()} needs {scheme.data_shards} shards and "
            f"{len(payloads)} are in the given stores: name more stores"
        )
    whole = rebuild(scheme, payloads, range(scheme.data_shards))
    assert layout.shard_payload_bytes * scheme.data_shards >= part.size_bytes
    return b"".join(bytes(whole[each]) for each in range(scheme.data_shards))[: part.size_bytes]


def _info(head: Head) -> SnapshotInfo:
    return SnapshotInfo(head.snapshot_id, head.created_us, sum(part.size_bytes for part in head.parts), len(head.parts))
