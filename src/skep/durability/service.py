"""The chunk service: what the rest of Skep knows of durability.

    async with/with chunks.writing():                    # a lease, until the commit
        content = await chunks.write(keys, stream)       # durable now, not yet referenced
        await db.write(lambda tx: (..., chunks.reference(tx, domain_id, [content.manifest])))

    async for part in chunks.read(keys, manifest, offset, length):
        ...

``write`` returns when every pack that the content needs is durable at its scheme's quorum and
recorded. Content that nobody references afterwards is collected after the grace period.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeAlias, TypeVar

import sqlalchemy as sa

from skep.base.errors import QuotaExceeded, ShuttingDown, SkepError
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.chunks.gear import CHUNK_BYTES_MIN
from skep.chunks.manifest import Manifest
from skep.chunks.pack import Pack, PackBuilder
from skep.chunks.scheme import Scheme
from skep.chunks.shard import Shard, encode_shards
from skep.crypto.keys import DomainKeys, HiveKeys, MasterKey
from skep.db import Database, Transaction, prepared, upsert
from skep.db import schema as s
from skep.durability import catalog
from skep.durability.cache import BlockCache, CacheDisk
from skep.durability.damage import note_damage
from skep.durability.domains import Domains
from skep.durability.intake import INLINE_BYTES, Intake, run_to_end
from skep.durability.leases import Leases
from skep.durability.options import Counters, Options
from skep.durability.packreader import PackReader
from skep.durability.packs import OpenPack, PackRoom, Written
from skep.durability.policies import Pools
from skep.durability.pools import HIVE, Pool
from skep.durability.reader import Reader
from skep.durability.recent import Recent
from skep.durability.recording import add_chunks, add_pack, sort_entries
from skep.durability.records import ChunkPlaces, Content
from skep.durability.shardwriter import PutShards, ShardWriter
from skep.durability.storeset import StoreSet
from skep.durability.thresholds import ThresholdBook
from skep.durability.underway import Underway
from skep.durability.writer import Groups, Steps, StreamWriter, check_digests
from skep.events import Tell, tell_nobody
from skep.events.records import ShardDamaged
from skep.stores.protocol import Buffer

T = TypeVar("T")
_log = get_logger("skep.durability")
RecordPack: TypeAlias = Callable[[Transaction, Pack, Scheme, Pool, PutShards], None]
Repoint: TypeAlias = Callable[[Transaction, bytes], tuple[int, int]]
"""Points chunk rows at the pack of this id; returns the sealed bytes and the number of those it got."""

DAMAGE_QUEUE_MAX = 10_000
DEFAULT_SCHEME = "none"

_SCHEME = prepared(sa.select(s.hive.c.value).where(s.hive.c.name == "scheme"))
_SET_SCHEME = upsert(s.hive, ["name"], ["value"])


class ChunkService:
    """Writes and reads content over a set of stores. Lives on one event loop."""

    def __init__(
        self,
        db: Database,
        stores: StoreSet,
        master: MasterKey,
        options: Options | None = None,
        pools: Pools | None = None,
    ) -> None:
        self.options = options or Options()
        self.stores = stores
        self.pools = pools or Pools(db, stores)
        self.leases = Leases()
        self.counters = Counters()
        self.domains = Domains(db, master, self.options.sharing)
        self._db = db
        self._keys: HiveKeys = master.hive_keys()
        self._scheme = Scheme.parse(DEFAULT_SCHEME)
        self._threads = ThreadPoolExecutor(self.options.threads, thread_name_prefix="chunks")
        self._coders = ThreadPoolExecutor(self.options.threads, thread_name_prefix="coding")
        self.thresholds = ThresholdBook(db)
        self._shards = ShardWriter(
            stores,
            self.pools,
            self.thresholds,
            straggler_s=self.options.straggler_s,
            put_timeout_s=self.options.put_timeout_s,
        )
        self.room = PackRoom(self._keys.index_key, self.options.pack_bytes, self._write_pack, self.options.packs_max)
        self._intake = Intake(db, self.room, self._threads, self.options.compression_level, self.pools)
        self._groups = Groups(self._intake)
        self.cache = self._read_cache()
        """The read cache, if there is one."""
        self.packs = PackReader(
            db, stores, self._keys.shard_key, self._threads, self.note_damage, self.options, self.counters, self.cache
        )
        self.reader = Reader(db, self.packs, self.options.read_ahead_bytes, Recent(self.options.recent_bytes))
        self.on_their_way = Underway()
        """Packs whose shards are being put and whose rows are not committed: the sweep leaves them alone."""
        self._damage: dict[tuple[bytes, int], tuple[Id, str]] = {}
        self.tell: Tell = tell_nobody
        """Of what operators want to hear."""
        self._closed = False
        self._loading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what the database knows: the epoch, the scheme, the thresholds, and where content may lie."""
        await self.pools.load()

        def work(tx: Transaction) -> tuple[int, bytes | None]:
            self.thresholds.load(tx)
            return catalog.read_epoch(tx), tx.value(_SCHEME)

        epoch, scheme = await self._db.read(work)
        self.leases.advance(epoch)
        if scheme is not None:
            self._scheme = Scheme.parse(bytes(scheme).decode())
        if self.cache is not None:
            self._loading = asyncio.create_task(self.cache.load(), name="load-cache")

    def _read_cache(self) -> BlockCache | None:
        options = self.options
        if options.cache_directory is None:
            return None
        disk = CacheDisk(
            options.cache_directory,
            options.cache_bytes,
            self.stores.clock,
            reserve_bytes=options.cache_reserve_bytes,
        )
        return BlockCache(disk, self._keys.shard_key, self._threads)

    async def close(self) -> None:
        """Finish what is on its way and stop the threads; the stores stay open."""
        self._closed = True
        await self._groups.close()
        await self.room.close()
        await self.flush_damage()
        if self._loading is not None:
            await self._loading
        if self.cache is not None:
            await self.cache.close()
        self._threads.shutdown(wait=True)
        self._coders.shutdown(wait=True)

    @property
    def scheme(self) -> Scheme:
        """The scheme of new packs."""
        return self._scheme

    async def set_scheme(self, scheme: Scheme) -> None:
        """Use another scheme from now on; packs that exist keep theirs until they are repacked."""
        await self._db.write(lambda tx: tx.run(_SET_SCHEME, {"name": "scheme", "value": scheme.name.encode()}))
        self._scheme = scheme

    def scheme_warning(self) -> str | None:
        """What a person should know of the scheme and the stores; None if they fit."""
        tier_of = self.pools.tiers(HIVE)
        zones = {each.zone for each in self.stores if each.state == "active" and tier_of(each) is not None}
        if len(zones) >= self._scheme.total:
            return None
        lasting = max(0, -(-self._scheme.total // max(1, len(zones))))
        fate = (
            "what one zone holds can still be rebuilt"
            if lasting <= self._scheme.parity_shards
            else "the loss of one zone may lose data"
        )
        return (
            f"{self._scheme.name} wants {self._scheme.total} zones and {len(zones)} take writes: shards share zones, "
            f"{fate}; `skep store add` with another --zone mends that"
        )

    def writing(self) -> AbstractContextManager[int]:
        """A lease to hold around ``write`` and the transaction that references its chunks."""
        return self.leases.hold()

    def create_domain(self, tx: Transaction, owner_id: Id) -> Id:
        """A dedup domain for a new account."""
        return self.domains.create(tx, owner_id)

    async def domain(self, domain_id: Id) -> DomainKeys:
        """The keys of a domain."""
        return await self.domains.keys(domain_id)

    async def write(
        self,
        domain: DomainKeys,
        stream: AsyncIterator[Buffer],
        *,
        scheme: Scheme | None = None,
        digests: Collection[str] = (),
        limit_bytes: int | None = None,
        step_bytes: int = 0,
        save: Callable[[Content], Awaitable[None]] | None = None,
    ) -> Content:
        """Store a stream. The buffers it yields must not change until the next is asked for.

        With ``save``, what has come so far is made durable about every ``step_bytes`` and given to it, in
        order; the result is then only what came after that.
        Raises QuotaExceeded past ``limit_bytes``, QuorumNotReached, StoreFull, and what the
        stream raises; then nothing is referenced, and what was put is garbage for collection.
        """
        self._check_open()
        wanted = check_digests(digests)
        pool = await self.pools.of_domain(domain.domain_id)
        head: list[Buffer] = []
        size = 0
        async for piece in stream:
            head.append(piece)
            size += len(piece)
            if limit_bytes is not None and size > limit_bytes:
                raise QuotaExceeded(f"the upload passed the {limit_bytes} bytes that there is room for")
            if size > CHUNK_BYTES_MIN:
                steps = Steps(step_bytes, save) if save is not None else None
                writer = StreamWriter(self._intake, domain, scheme or self._scheme, pool, wanted, limit_bytes, steps)
                return self._counted(await writer.write(head, stream))
        body = head[0] if len(head) == 1 else b"".join(head)
        (content,) = await self._groups.write(pool, domain, [body], scheme or self._scheme, wanted)
        return self._counted(content)

    async def write_many(
        self,
        domain: DomainKeys,
        bodies: Sequence[Buffer],
        *,
        scheme: Scheme | None = None,
        digests: Collection[str] = (),
    ) -> list[Content]:
        """Store bodies that are all there with as few durable writes as they need."""
        self._check_open()
        pool = await self.pools.of_domain(domain.domain_id)
        contents = await self._groups.write(pool, domain, bodies, scheme or self._scheme, check_digests(digests))
        return [self._counted(content) for content in contents]

    def _check_open(self) -> None:
        if self._closed:
            raise ShuttingDown("the hive is stopping: send this again when it is back")

    def _counted(self, content: Content) -> Content:
        self.counters.received_bytes += content.size_bytes
        return content

    def reference(self, tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
        """Count one more use of these contents' chunks, in the transaction that needs them."""
        catalog.reference(tx, domain_id, manifests)

    def release(self, tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None:
        """Count one use less; chunks without a use are collected after the grace period."""
        catalog.release(tx, domain_id, manifests)

    async def read(
        self, domain: DomainKeys, manifest: Manifest, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield content in parts of at most PART_BYTES_MAX, verified. Holds a lease while it runs."""
        with self.leases.hold():
            async for part in self.reader.read(domain, manifest, offset, length):
                self.counters.sent_bytes += len(part)
                yield part

    async def whole(self, domain: DomainKeys, manifest: Manifest, offset: int, length: int) -> bytes:
        """A small range of a content in one piece, verified; ``read`` without its cost for each part."""
        with self.leases.hold():
            content = await self.reader.whole(domain, manifest, offset, length)
        self.counters.sent_bytes += len(content)
        return content

    async def places(self, domain_id: Id, manifest: Manifest) -> list[ChunkPlaces]:
        """Where each distinct chunk of a content lies, in the order of the content."""
        ids = list(dict.fromkeys(ref.id for ref in manifest.chunks))
        if not ids:
            return []
        found = await self._db.read(lambda tx: catalog.locate(tx, domain_id, ids))
        places = []
        for chunk_id in ids:
            location = found[chunk_id]
            pack, _ = await self.packs.places(location.pack_id)
            places.append(
                ChunkPlaces(
                    chunk_id,
                    location.plain_bytes,
                    location.size_bytes,
                    location.pack_id,
                    pack.scheme.name,
                    tuple(
                        (member.name, member.zone, place.state)
                        for place in pack.shards
                        if (member := self.stores.get(place.store_id)) is not None
                    ),
                )
            )
        return places

    @property
    def shard_key(self) -> bytes:
        """The key of the blocks' hashes."""
        return self._keys.shard_key

    @property
    def index_key(self) -> bytes:
        """The key of the packs' indexes."""
        return self._keys.index_key

    async def code(self, call: Callable[[], T]) -> T:
        """Run coding work (closing, encoding, rebuilding packs) in its own threads."""
        return await run_to_end(self._coders, call)

    async def _write_pack(self, pack: OpenPack) -> Written:
        """Close, code, put, record: what makes the chunks of one open pack durable."""
        return await self._close_and_put(pack.builder, pack.scheme, self._record_new, pool=pack.pool, is_followed=True)

    async def write_repacked(self, builder: PackBuilder, scheme: Scheme, pool: Pool, repoint: Repoint) -> None:
        """Make a pack of chunks that have rows already durable, and point their rows at it."""
        record = partial(self._record_repacked, repoint)
        written = await self._close_and_put(builder, scheme, record, pool=pool, is_followed=False)
        await written.finish()
        if written.recorded is not None:
            written.recorded.result()

    async def _close_and_put(
        self, builder: PackBuilder, scheme: Scheme, record: RecordPack, *, pool: Pool, is_followed: bool
    ) -> Written:
        """``is_followed``: whoever waits for the pack commits something next."""

        def encode() -> tuple[Pack, list[Shard]]:
            closed = builder.close()
            return closed, encode_shards(self._keys.shard_key, closed, scheme)

        small = builder.size_bytes <= INLINE_BYTES
        closed, shards = encode() if small else await run_to_end(self._coders, encode)
        pack_id, size_bytes = closed.id, closed.size_bytes
        self.on_their_way.add(pack_id)
        try:
            outcome = await self._shards.put(pack_id, scheme, shards, pool=pool)
            recorded = self._db.write_in_order(
                lambda tx: record(tx, closed, scheme, pool, outcome), with_next=small and is_followed
            )
            if recorded is None:
                await self._db.write(lambda tx: record(tx, closed, scheme, pool, outcome))
                self.on_their_way.remove(pack_id)
            else:
                recorded.add_done_callback(lambda _: self._recorded(pack_id, recorded))
        except BaseException:
            self.on_their_way.remove(pack_id)
            raise
        self.counters.stored_bytes += size_bytes
        self.pools.any_owned = self.pools.any_owned or pool != HIVE
        return Written(closed, outcome.late, recorded)

    def _recorded(self, pack_id: bytes, rows: asyncio.Future[None]) -> None:
        """The rows are committed, or their writers' commits, which came after them, have failed as well."""
        self.on_their_way.remove(pack_id)
        error = None if rows.cancelled() else rows.exception()
        if error is not None:
            _log.error("the rows of a pack were not recorded", pack=pack_id.hex(), error=str(error))

    def _record_new(self, tx: Transaction, pack: Pack, scheme: Scheme, pool: Pool, outcome: PutShards) -> None:
        wanted = catalog.Wanted(pool, scheme) if self.pools.any_owned or pool != HIVE else None
        fresh, moved = sort_entries(tx, pack.entries, wanted)
        used = [*fresh, *moved]
        live = (sum(entry.size_bytes for entry in used), len(used))
        self._insert_pack(tx, pack, scheme, pool, outcome, live)
        add_chunks(tx, pack.id, fresh, moved, self.leases.epoch)

    def _record_repacked(
        self, repoint: Repoint, tx: Transaction, pack: Pack, scheme: Scheme, pool: Pool, outcome: PutShards
    ) -> None:
        self._insert_pack(tx, pack, scheme, pool, outcome, repoint(tx, pack.id))

    def _insert_pack(
        self, tx: Transaction, pack: Pack, scheme: Scheme, pool: Pool, outcome: PutShards, live: tuple[int, int]
    ) -> None:
        self.pools.note_owned(tx, pool)
        add_pack(
            tx,
            pack.id,
            scheme,
            pack.size_bytes,
            live,
            outcome.shards,
            pool=pool,
            spread=outcome.spread,
            repair_delay_us=round(self.options.repair_delay_s * 1e6),
            epoch=self.leases.epoch,
        )

    def note_damage(self, pack_id: bytes, number: int, store_id: Id, state: str) -> None:
        """Remember a damaged shard; the repair worker records it (bounded, what is over is found again)."""
        if len(self._damage) < DAMAGE_QUEUE_MAX:
            self._damage[pack_id, number] = (store_id, state)

    async def flush_damage(self) -> int:
        """Record what reads have found damaged; returns how many shards were marked."""
        damage, self._damage = self._damage, {}
        if not damage:
            return 0
        try:
            marked = await self._db.write(lambda tx: note_damage(tx, damage, self._tell_damage))
        except SkepError:
            self._damage = {**damage, **self._damage}
            raise
        for pack_id, _ in damage:
            self.packs.forget(pack_id)
        self.counters.damaged_shards += marked
        return marked

    def _tell_damage(self, pack_id: bytes, number: int, store_id: Id, state: str) -> None:
        self.tell(ShardDamaged, pack_id=pack_id, number=number, store_id=store_id, state=state)

    @property
    def queues(self) -> dict[str, int]:
        """Depths for metrics."""
        return {"packs": self.room.in_flight, "groups": self._groups.queued, "damage": len(self._damage)}
