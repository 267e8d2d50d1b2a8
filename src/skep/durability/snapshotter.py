"""The ``snapshot`` worker: puts an encrypted copy of the metadata on the hive's own stores. See snapshots.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backports import zstd

from skep.base.clock import Clock
from skep.base.errors import QuorumNotReached, SkepError
from skep.base.ids import Id, new_id
from skep.base.waiting import wait_in_thread
from skep.base.workers import Outcome, Progress
from skep.chunks.pack import Pack
from skep.chunks.scheme import Scheme
from skep.chunks.shard import encode_shards
from skep.crypto.hashing import digest
from skep.crypto.keys import HiveKeys
from skep.db import Database, Transaction
from skep.durability.collect import delete_shard
from skep.durability.member import Member
from skep.durability.placement import place
from skep.durability.service import ChunkService
from skep.durability.snapshots import (
    PREFIX,
    Head,
    KeyHint,
    Part,
    head_key,
    parse_snapshot_key,
    part_key,
    seal_head,
    seal_part,
)
from skep.events.records import SnapshotWritten
from skep.stores.protocol import Buffer

PART_BYTES = 8 << 20
EXPORT_TIMEOUT_S = 3600.0
LIST_TIMEOUT_S = 300.0

Export = Callable[[Transaction], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One snapshot for people."""

    snapshot_id: Id
    created_us: int
    size_bytes: int
    parts: int


class Snapshotter:
    """The ``snapshot`` worker."""

    name = "snapshot"
    description = "Puts an encrypted copy of the metadata on the stores, for `skep recover`."

    def __init__(
        self,
        db: Database,
        chunks: ChunkService,
        keys: HiveKeys,
        hint: KeyHint,
        hive_id: Id,
        clock: Clock,
        export: Export,
        *,
        keep: int,
    ) -> None:
        self._db = db
        self._chunks = chunks
        self._keys = keys
        self._hint = hint
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
                putting = self._put_part(snapshot_id, number, sealed, scheme)
                parts.append(wait_in_thread(loop, putting, EXPORT_TIMEOUT_S))

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
        self._chunks.tell(SnapshotWritten, pack_count=len(parts), size_bytes=self.last.size_bytes)
        return self.last

    def _sealed_parts(self, snapshot_id: Id, export: Iterator[bytes]) -> Iterator[bytes]:
        """Compress the export and cut it into sealed parts. Runs in the database's thread."""
        compressor = zstd.ZstdCompressor(level=3)
        pending, number = bytearray(), 0
        for piece in export:
            pending += compressor.compress(piece)
            while len(pending) >= PART_BYTES:
                yield seal_part(self._keys, snapshot_id, number, bytes(pending[:PART_BYTES]))
                del pending[:PART_BYTES]
                number += 1
        pending += compressor.flush()
        yield seal_part(self._keys, snapshot_id, number, bytes(pending))

    async def _put_part(self, snapshot_id: Id, part: int, sealed: bytes, scheme: Scheme) -> Part:
        pack_id = digest(sealed)
        shards = await self._chunks.code(
            lambda: encode_shards(self._chunks.shard_key, Pack(pack_id, memoryview(sealed)), scheme)
        )
        candidates = await self._chunks.stores.candidates()
        placement = place(pack_id, scheme.total, shards[0].size_bytes, candidates)
        stored = 0
        for shard, store_id in zip(shards, placement.stores, strict=False):
            stored += await self._try_put(store_id, part_key(snapshot_id, part, shard.number), shard.parts)
        wanted = self._chunks.thresholds.of(scheme).wanted
        if stored < wanted:
            raise QuorumNotReached(
                f"only {stored} of {scheme.total} shards of the metadata snapshot could be stored: see `skep store ls`",
                stored=stored,
                needed=wanted,
            )
        return Part(pack_id, len(sealed))

    async def _put_head(self, head: Head, scheme: Scheme) -> None:
        sealed = seal_head(self._keys, self._hint, head)
        key = head_key(head.snapshot_id)
        candidates = await self._chunks.stores.candidates()
        stored = [await self._try_put(each.store_id, key, [sealed]) for each in candidates]
        if sum(stored) <= min(scheme.parity_shards, len(stored) - 1):
            raise QuorumNotReached(f"the head of the snapshot is on {sum(stored)} stores only: see `skep store ls`")

    async def _try_put(self, store_id: Id, key: str, parts: Sequence[Buffer]) -> bool:
        member = self._chunks.stores.get(store_id)
        store = member.store if member is not None else None
        if member is None or store is None:
            return False
        timeout_s = self._chunks.options.put_timeout_s
        try:
            await self._chunks.stores.call(member, lambda: store.put(key, parts), timed=False, timeout_s=timeout_s)
        except SkepError:
            return False
        return True

    async def prune(self) -> int:
        """Remove all but the newest, and what unfinished ones have left; returns how many went.

        What has no head anywhere is unfinished: being written while it is newer than the newest head,
        left behind by a crash when it is older. While a store is down it may be the one with the head.
        """
        own = [member for member in self._chunks.stores if member.owner_id is None]
        members = [member for member in own if member.store is not None and not member.down]
        held = {member.id: await self._held(member) for member in members}
        heads = sorted({snapshot_id for keys in held.values() for snapshot_id, name in keys if name == "head"})
        if not heads:
            return 0
        old = set(heads[: -self._keep])
        if len(members) == len(own):
            found = {snapshot_id for keys in held.values() for snapshot_id, _ in keys}
            old |= {each for each in found if each < heads[-1] and each not in heads}
        for member in members:
            await self._remove(member, [each for each in held[member.id] if each[0] in old])
        return len(old)

    async def _held(self, member: Member) -> list[tuple[Id, str]]:
        """The snapshots' objects on a store; none if it cannot be listed now."""
        store = member.store
        if store is None:
            return []
        async with asyncio.timeout(LIST_TIMEOUT_S):
            parsed = [parse_snapshot_key(info.key) async for info in store.list(PREFIX)]
        return [each for each in parsed if each is not None]

    async def _remove(self, member: Member, objects: Sequence[tuple[Id, str]]) -> None:
        """Heads first, so that a head never outlives its parts."""
        kept: set[Id] = set()
        for snapshot_id, name in sorted(objects, key=lambda each: each[1] != "head"):
            if snapshot_id in kept:
                continue
            if not await delete_shard(self._chunks, member, f"{PREFIX}{snapshot_id.hex()}/{name}") and name == "head":
                kept.add(snapshot_id)


def _info(head: Head) -> SnapshotInfo:
    return SnapshotInfo(head.snapshot_id, head.created_us, sum(part.size_bytes for part in head.parts), len(head.parts))
