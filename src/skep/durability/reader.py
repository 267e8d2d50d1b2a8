"""Verified reads that rebuild: from a manifest's slices to plain bytes.

Each chunk is fetched by byte range from the data shards that hold it; every block is checked
against its keyed hash and every chunk against its AEAD before a byte of it is served. A shard
that is missing or corrupt is reported, and the same range of k others rebuilds it; a store that is
slow is given its own usual time, then the others are asked as well and the first answer counts.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from skep.base.errors import (
    CorruptChunk,
    CorruptShard,
    DataLost,
    Integrity,
    InvalidRange,
    ObjectNotFound,
    SkepError,
    StoreUnavailable,
)
from skep.base.ids import Id
from skep.chunks.coding import rebuild
from skep.chunks.layout import FileRange, ShardLayout
from skep.chunks.manifest import ChunkRef, Manifest
from skep.chunks.scheme import Scheme
from skep.chunks.seal import open_sealed
from skep.chunks.shard import verify_blocks
from skep.crypto.keys import DomainKeys
from skep.db import Database
from skep.durability.catalog import locate, pack_places
from skep.durability.intake import run_to_end
from skep.durability.records import Location, PackPlaces, ShardPlace, shard_key
from skep.durability.storeset import Member, StoreSet
from skep.stores.protocol import Buffer

PART_BYTES = 256 << 10
LOCATE_AHEAD = 64
READ_AHEAD_CHUNKS = 3
READ_AHEAD_BYTES_MAX = 96 << 20
PLACES_KEPT = 4096
READ_TIMEOUT_S = 60.0
HEDGE_MIN_S = 0.02
HEDGE_MAX_S = 5.0

Damage = Callable[[bytes, int, str], None]
"""Told of a shard (pack id, number) that is ``missing`` or ``corrupt``; must not block."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A byte range of one shard's payload."""

    pack: PackPlaces
    layout: ShardLayout
    number: int
    offset: int
    length: int


class Reader:
    """Reads chunks of a hive. Used from the event loop's thread."""

    def __init__(
        self, db: Database, stores: StoreSet, shard_key_bytes: bytes, threads: Executor, damage: Damage
    ) -> None:
        self._db = db
        self._stores = stores
        self._shard_key = shard_key_bytes
        self._threads = threads
        self._damage = damage
        self._places: OrderedDict[bytes, tuple[PackPlaces, ShardLayout]] = OrderedDict()
        self._ahead_bytes = 0

    def forget(self, pack_id: bytes) -> None:
        """Drop what is remembered of a pack, after repair or collection has changed it."""
        self._places.pop(pack_id, None)

    async def read(
        self, keys: DomainKeys, manifest: Manifest, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes in parts of at most PART_BYTES.

        Raises InvalidRange, DataLost, StoreUnavailable, CorruptChunk.
        """
        length = manifest.size_bytes - offset if length is None else length
        if offset < 0 or length < 0 or offset + length > manifest.size_bytes:
            raise InvalidRange(f"bytes {offset}+{length} are not all within {manifest.size_bytes}")
        slices = manifest.slice(offset, length)
        ahead: deque[asyncio.Task[memoryview]] = deque()
        held = 0
        queue = self._located(keys.domain_id, slices)
        waiting: deque[int] = deque()
        try:
            exhausted = False
            while True:
                while not exhausted and self._may_fetch(len(ahead)):
                    item = await anext(queue, None)
                    if item is None:
                        exhausted = True
                        break
                    ref, start, stop, location = item
                    ahead.append(asyncio.create_task(self._slice(keys, ref, location, start, stop)))
                    waiting.append(ref.plain_bytes)
                    held += ref.plain_bytes
                    self._ahead_bytes += ref.plain_bytes
                if not ahead:
                    return
                data = await ahead[0]
                ahead.popleft()
                for at in range(0, len(data), PART_BYTES):
                    yield bytes(data[at : at + PART_BYTES])
                size = waiting.popleft()
                held -= size
                self._ahead_bytes -= size
        finally:
            self._ahead_bytes -= held
            for task in ahead:
                task.cancel()
            if ahead:
                await asyncio.wait(ahead)
                for task in ahead:
                    if not task.cancelled():
                        task.exception()

    def _may_fetch(self, ahead: int) -> bool:
        """One chunk is always allowed; more while all readers together hold little."""
        return not ahead or (ahead < READ_AHEAD_CHUNKS and self._ahead_bytes < READ_AHEAD_BYTES_MAX)

    async def _located(
        self, domain_id: Id, slices: Sequence[tuple[ChunkRef, int, int]]
    ) -> AsyncIterator[tuple[ChunkRef, int, int, Location]]:
        for first in range(0, len(slices), LOCATE_AHEAD):
            part = slices[first : first + LOCATE_AHEAD]
            ids = list({ref.id for ref, _, _ in part})
            found = await self._db.read(lambda tx, ids=ids: locate(tx, domain_id, ids))  # type: ignore[misc]
            for ref, start, stop in part:
                yield ref, start, stop, found[ref.id]

    async def _slice(self, keys: DomainKeys, ref: ChunkRef, location: Location, start: int, stop: int) -> memoryview:
        plain = await self.chunk(keys, ref, location)
        return memoryview(plain)[start:stop]

    async def chunk(self, keys: DomainKeys, ref: ChunkRef, location: Location) -> Buffer:
        """The plain bytes of one chunk. Falls back to rebuilding when its AEAD does not hold."""
        sealed = await self.sealed(location)
        try:
            plain = await self._run(lambda: open_sealed(keys, ref.id, sealed))
        except CorruptChunk as error:
            raise CorruptChunk(
                f"chunk {ref.id.hex()} in pack {location.pack_id.hex()} does not open: {error.message}"
            ) from error
        if len(plain) != ref.plain_bytes:
            raise CorruptChunk(f"chunk {ref.id.hex()} has {len(plain)} bytes and its manifest says {ref.plain_bytes}")
        return plain

    async def sealed(self, location: Location) -> Buffer:
        """The sealed bytes at a location, verified block by block."""
        return await self.pack_range(location.pack_id, location.offset, location.size_bytes)

    async def pack_range(self, pack_id: bytes, offset: int, length: int) -> Buffer:
        """Any byte range of a pack, verified. Raises DataLost, StoreUnavailable."""
        pack, layout = await self.places(pack_id)
        pieces = [_Piece(pack, layout, number, at, size) for number, at, size in layout.locate(offset, length)]
        if len(pieces) == 1:
            return await self._piece(pieces[0])
        parts = await _all(*(self._piece(piece) for piece in pieces))
        return await self._run(lambda: b"".join(parts))

    async def places(self, pack_id: bytes) -> tuple[PackPlaces, ShardLayout]:
        """A pack's shards and layout, remembered until ``forget``."""
        known = self._places.get(pack_id)
        if known is not None:
            self._places.move_to_end(pack_id)
            return known
        found = await self._db.read(lambda tx: pack_places(tx, pack_id))
        if found is None:
            raise DataLost(f"pack {pack_id.hex()} has no row: run `skep fsck`")
        entry = self._places[pack_id] = (found, ShardLayout(found.scheme, found.size_bytes))
        if len(self._places) > PLACES_KEPT:
            self._places.popitem(last=False)
        return entry

    async def _piece(self, piece: _Piece) -> Buffer:
        """A payload range: from its shard, or rebuilt when that fails or takes too long."""
        place = _place_of(piece.pack, piece.number)
        member = self._stores.get(place.store_id) if place is not None and place.state == "ok" else None
        if member is None or member.store is None or member.resting:
            return await self._rebuild(piece)
        if not piece.pack.scheme.parity_shards:
            return await self._fetch(piece, piece.number, member)
        direct = asyncio.create_task(self._fetch(piece, piece.number, member))
        hedge_s = min(HEDGE_MAX_S, max(HEDGE_MIN_S, 3.0 * member.latency_s))
        done, _ = await asyncio.wait([direct], timeout=hedge_s)
        if done:
            try:
                return direct.result()
            except SkepError:
                return await self._rebuild(piece)
        return await _first([direct, asyncio.create_task(self._rebuild(piece))])

    async def _fetch(self, piece: _Piece, number: int, member: Member) -> Buffer:
        """Read and verify one shard's share of a payload range; reports damage."""
        span = piece.layout.file_range(piece.offset, piece.length)
        pack_id = piece.pack.pack_id
        store = member.store
        if store is None:
            raise StoreUnavailable(f"store {member.name!r} is not open: {member.error}")
        key = shard_key(pack_id, number)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                raw = await self._stores.call(member, lambda: store.get(key, span.offset, span.length))
            return await self._run(lambda: self._verify(piece, number, span, raw))
        except TimeoutError:
            raise StoreUnavailable(f"store {member.name!r} did not answer within {READ_TIMEOUT_S:.0f} s") from None
        except ObjectNotFound:
            self._report(piece, number, "missing")
            raise
        except CorruptShard:
            self._report(piece, number, "corrupt")
            raise

    def _verify(self, piece: _Piece, number: int, span: FileRange, raw: Buffer) -> Buffer:
        """Check the blocks read and cut out the wanted payload. Raises CorruptShard."""
        pack = piece.pack
        if len(raw) != span.length:
            raise CorruptShard(f"shard {number} of pack {pack.pack_id.hex()} is cut short")
        blocks = verify_blocks(
            self._shard_key, pack.pack_id, number, pack.scheme, pack.size_bytes, span.first_block, raw
        )
        if len(blocks) == 1:
            return blocks[0][span.skip : span.skip + piece.length]
        blocks[0] = blocks[0][span.skip :]
        return memoryview(b"".join(blocks))[: piece.length]

    def _report(self, piece: _Piece, number: int, state: str) -> None:
        self.forget(piece.pack.pack_id)
        self._damage(piece.pack.pack_id, number, state)

    async def _rebuild(self, piece: _Piece) -> Buffer:
        """The same payload range of any k shards gives back the wanted one."""
        scheme = piece.pack.scheme
        order = self._rebuild_order(piece)
        gathered: dict[int, Buffer] = {}
        errors: list[SkepError] = []
        while len(gathered) < scheme.data_shards and order:
            need = scheme.data_shards - len(gathered)
            batch, order = order[:need], order[need:]
            results = await asyncio.gather(
                *(self._fetch(piece, number, member) for number, member in batch), return_exceptions=True
            )
            for (number, _), result in zip(batch, results, strict=True):
                if isinstance(result, SkepError):
                    errors.append(result)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    gathered[number] = result
        if len(gathered) < scheme.data_shards:
            raise self._lost(piece, len(gathered), errors)
        if piece.number in gathered:
            return gathered[piece.number]
        return await self._run(lambda: _rebuild_one(scheme, gathered, piece.number))

    def _rebuild_order(self, piece: _Piece) -> list[tuple[int, Member]]:
        """Shards to ask, the most promising first; the wanted one and stores that rest come last."""
        found = []
        for place in piece.pack.shards:
            member = self._stores.get(place.store_id)
            if place.state == "ok" and member is not None and member.store is not None:
                worst = (place.number == piece.number, member.down, member.latency_s, place.number)
                found.append((worst, place.number, member))
        return [(number, member) for _, number, member in sorted(found, key=lambda each: each[0])]

    def _lost(self, piece: _Piece, found: int, errors: Sequence[SkepError]) -> SkepError:
        pack = piece.pack
        text = (
            f"pack {pack.pack_id.hex()} needs {pack.scheme.data_shards} shards of {pack.scheme.total} "
            f"and {found} can be read now"
        )
        offline = any(not isinstance(error, Integrity | ObjectNotFound) for error in errors) or any(
            (member := self._stores.get(place.store_id)) is not None and member.down
            for place in pack.shards
            if place.state == "ok"
        )
        if offline:
            return StoreUnavailable(f"{text}: bring back a store that is down (`skep store ls`)")
        return DataLost(f"{text}: restore the missing store, or the file from a backup")

    async def _run(self, call: Callable[[], Buffer]) -> Buffer:
        return await run_to_end(self._threads, call)


def _place_of(pack: PackPlaces, number: int) -> ShardPlace | None:
    for place in pack.shards:
        if place.number == number:
            return place
    return None


def _rebuild_one(scheme: Scheme, gathered: Mapping[int, Buffer], wanted: int) -> Buffer:
    return rebuild(scheme, gathered, [wanted])[wanted]


async def _all(*calls: Awaitable[Buffer]) -> list[Buffer]:
    """Gather, and cancel the rest when one fails."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


async def _first(tasks: Sequence[asyncio.Task[Buffer]]) -> Buffer:
    """The first result; the last error if none succeeds. Cancels the others."""
    waiting = set(tasks)
    error: BaseException | None = None
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    return task.result()
                error = task.exception()
        raise error if error is not None else StoreUnavailable("no store was asked")
    finally:
        for task in waiting:
            task.cancel()
