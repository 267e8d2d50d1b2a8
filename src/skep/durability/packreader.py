"""Byte ranges of packs, from whichever of their shards can be had.

A range is fetched from the data shards that hold it, whole blocks at a time, and every block is
checked against its keyed hash before a byte of it is used. A shard that is missing or corrupt is
reported, and the same range of k others rebuilds it. A store that is slow is given three times what
stores of the pack usually take, then others are asked as well and the first answers count.

A whole sealed chunk is checked by its own tag, so ``opened`` fetches it without the blocks' hashes
first. If it does not open it is fetched again in the checked way, which says which shard is damaged,
reports it and rebuilds.

Of stores whose blocks are cached (cache/), whole blocks are read and checked, and a range whose blocks
are all in the cache is had from there even while its store is away.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from skep.base.errors import (
    CorruptChunk,
    CorruptShard,
    DataLost,
    Integrity,
    ObjectNotFound,
    SkepError,
    StoreUnavailable,
    Unavailable,
)
from skep.base.ids import Id
from skep.chunks.coding import choose_sources, rebuild_blocks
from skep.chunks.gear import CHUNK_BYTES_MAX
from skep.chunks.layout import BLOCK_BYTES, HASH_BYTES, ShardLayout, payload_runs
from skep.chunks.scheme import Scheme
from skep.chunks.seal import sealed_bound
from skep.chunks.shard import unframed, verify_blocks
from skep.db import Database
from skep.durability.cache import BlockCache
from skep.durability.catalog import pack_places
from skep.durability.intake import INLINE_BYTES, run_to_end
from skep.durability.member import Member
from skep.durability.options import Counters, Options
from skep.durability.records import Location, PackPlaces, ShardPlace, shard_key
from skep.durability.storeset import StoreSet
from skep.stores.protocol import Buffer
from skep.stores.ready import FillReady, filling, ready

T = TypeVar("T")

PLACES_KEPT = 4096
HEDGE_FACTOR = 3.0

Damage = Callable[[bytes, int, Id, str], None]
"""Told of a shard (pack id, number) that is ``missing`` or ``corrupt`` on a store; must not block."""


_Parts = list[memoryview]
"""Runs of bytes whose concatenation is meant."""


@dataclass(slots=True)
class _Reading:
    """How one range is read, and what it took."""

    checked: bool = True
    """Whether each block is checked against its hash."""
    whole: bool = False
    """Whether shards' files are read whole, as they are."""
    rebuilt: int = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """A byte range of one shard's payload."""

    pack: PackPlaces
    layout: ShardLayout
    number: int
    offset: int
    length: int
    reading: _Reading


class _OneShard(NamedTuple):
    """Where a whole chunk lies: in one shard of a store that is well, from ``start`` of its payload on."""

    member: Member
    layout: ShardLayout
    number: int
    start: int


class _Filler(NamedTuple):
    """A chunk's bytes in a shard's file, hashes of blocks between them, and the power to have them at once."""

    power: FillReady
    key: str
    offset: int
    length: int
    start: int

    def opened(self, open_chunk: Callable[[Buffer], bytes]) -> bytes | None:
        """What ``open_chunk`` makes of the chunk, which is at hand; None: it is not. Raises what it raises."""
        views, sealed = _SCRATCH.framed(self.start, self.length)
        return open_chunk(sealed) if self.power.fill(self.key, self.offset, views) else None


class PackReader:
    """Reads packs of a hive. Used from the event loop's thread."""

    def __init__(
        self,
        db: Database,
        stores: StoreSet,
        shard_key_bytes: bytes,
        threads: Executor,
        damage: Damage,
        options: Options,
        counters: Counters,
        cache: BlockCache | None = None,
    ) -> None:
        self._db = db
        self._cache = cache
        self._stores = stores
        self._shard_key = shard_key_bytes
        self._threads = threads
        self._damage = damage
        self._options = options
        self._counters = counters
        self._places: OrderedDict[bytes, tuple[PackPlaces, ShardLayout]] = OrderedDict()

    def forget(self, pack_id: bytes) -> None:
        """Drop what is remembered of a pack, after repair or collection has changed it."""
        self._places.pop(pack_id, None)

    async def places(self, pack_id: bytes) -> tuple[PackPlaces, ShardLayout]:
        """A pack's shards and layout, remembered until ``forget``. Raises DataLost when it has no row."""
        known = self._places.get(pack_id)
        if known is not None:
            self._places.move_to_end(pack_id)
            return known
        found = await self._db.glance(lambda tx: pack_places(tx, pack_id))
        if found is None:
            raise DataLost(f"pack {pack_id.hex()} has no row: run `skep fsck`")
        entry = self._places[pack_id] = (found, ShardLayout(found.scheme, found.size_bytes))
        if len(self._places) > PLACES_KEPT:
            self._places.popitem(last=False)
        return entry

    async def sealed(self, location: Location) -> Buffer:
        """The sealed bytes at a location, verified block by block. Raises what ``range`` raises."""
        return await self.range(location.pack_id, location.offset, location.size_bytes)

    async def range(self, pack_id: bytes, offset: int, length: int) -> Buffer:
        """Any byte range of a pack, verified. Raises DataLost, CorruptShard, StoreUnavailable."""
        reading = _Reading()
        parts = await self._look_twice(pack_id, offset, length, reading)
        self._counters.rebuilt_reads += reading.rebuilt
        return parts[0] if len(parts) == 1 else await self._run(length, lambda: b"".join(parts))

    async def files(self, pack_id: bytes) -> dict[int, Buffer]:
        """The files of any k shards of a pack, by number, as their stores give them: nothing of them is checked.

        Past the cache: what is read once for repair is not kept, and a whole file is one call. Raises DataLost,
        StoreUnavailable.
        """
        pack, layout = await self.places(pack_id)
        piece = _Piece(pack, layout, -1, 0, layout.shard_payload_bytes, _Reading(whole=True))
        found, errors = await self._gather(piece, self._rebuild_order(piece))
        if len(found) < pack.scheme.data_shards:
            raise self._lost(piece, len(found), errors)
        return {number: parts[0] for number, parts in found.items()}

    async def opened(self, location: Location, open_chunk: Callable[[Buffer], bytes]) -> bytes:
        """What ``open_chunk`` makes of the sealed bytes at a location.

        It is called in a thread, and must raise CorruptChunk for bytes that are not what was sealed. Then the
        blocks are checked one by one, and it is called again. Raises what it and ``range`` raise.
        """
        size_bytes = location.size_bytes
        filler = self._filler(location) if size_bytes > INLINE_BYTES else None
        if filler is not None:
            try:
                plain = await self._run(size_bytes, lambda: filler.opened(open_chunk))
            except CorruptChunk:
                plain = None
            if plain is not None:
                filler.power.count(filler.length)
                return plain
        reading = _Reading(checked=False)
        parts = await self._look_twice(location.pack_id, location.offset, size_bytes, reading)
        try:
            plain = await self._run(size_bytes, lambda: open_chunk(_SCRATCH.gathered(parts)))
        except CorruptChunk:
            sealed = await self.sealed(location)
            return await self._run(size_bytes, lambda: open_chunk(sealed))
        self._counters.rebuilt_reads += reading.rebuilt
        return plain

    def at_hand(self, location: Location) -> Buffer | None:
        """The sealed bytes at a location, unchecked, if nothing at all has to be waited for; else None.

        Only for who opens them at once, and asks ``opened`` if they do not open or there are none.
        """
        found = self._one_shard(location)
        get_ready = None if found is None else ready(found.member.store)
        if found is None or get_ready is None:
            return None
        offset, length = found.layout.exact_range(found.start, location.size_bytes)
        raw = get_ready(shard_key(location.pack_id, found.number), offset, length)
        return raw if raw is None or length == location.size_bytes else b"".join(unframed(found.start, raw))

    def _filler(self, location: Location) -> _Filler | None:
        """How the sealed bytes at a location can be had and opened in one thread, if their store can."""
        found = self._one_shard(location)
        power = None if found is None else filling(found.member.store)
        if found is None or power is None:
            return None
        offset, length = found.layout.exact_range(found.start, location.size_bytes)
        return _Filler(power, shard_key(location.pack_id, found.number), offset, length, found.start)

    def _one_shard(self, location: Location) -> _OneShard | None:
        """The shard that has all of a location, if the pack is known and the shard's store is well."""
        known = self._places.get(location.pack_id)
        if known is None:
            return None
        pack, layout = known
        number, start = divmod(location.offset, layout.shard_payload_bytes)
        if start + location.size_bytes > layout.shard_payload_bytes:
            return None
        place = _place_of(pack, number)
        member = self._stores.get(place.store_id) if place is not None and place.state == "ok" else None
        return None if member is None or member.down else _OneShard(member, layout, number, start)

    async def _look_twice(self, pack_id: bytes, offset: int, length: int, reading: _Reading) -> _Parts:
        """Read a range. A shard that repair has moved since it was looked up is looked up once more."""
        pack, layout = await self.places(pack_id)
        try:
            return await self._range(pack, layout, offset, length, reading)
        except (Integrity, Unavailable):
            self.forget(pack_id)
            now, layout = await self.places(pack_id)
            if now == pack:
                raise
        return await self._range(now, layout, offset, length, reading)

    async def _range(
        self, pack: PackPlaces, layout: ShardLayout, offset: int, length: int, reading: _Reading
    ) -> _Parts:
        pieces = [_Piece(pack, layout, number, at, size, reading) for number, at, size in layout.locate(offset, length)]
        if len(pieces) == 1:
            return await self._piece(pieces[0])
        return [part for parts in await _all([self._piece(piece) for piece in pieces]) for part in parts]

    async def _piece(self, piece: _Piece) -> _Parts:
        """A payload range: from its shard, or rebuilt when that fails or takes too long."""
        place = _place_of(piece.pack, piece.number)
        member = self._stores.get(place.store_id) if place is not None and place.state == "ok" else None
        if member is not None and self._is_cached(piece, member):
            try:
                return await self._fetch_blocks(piece, piece.number, member)
            except SkepError:
                pass  # it was not there after all: as if it had not seemed so
        if member is None or member.store is None or member.resting:
            return await self._rebuild(piece)
        if not piece.pack.scheme.parity_shards:
            return await self._only(piece, member)
        if member.passed_by:
            return await self._rebuild(piece)
        direct = asyncio.create_task(self._fetch(piece, piece.number, member))
        patience_s = self._patience_s(piece)
        try:
            await asyncio.wait([direct], timeout=patience_s)
        except asyncio.CancelledError:
            direct.cancel()
            raise
        if not direct.done():
            self._hedged([member], patience_s)
            return await _first([direct, asyncio.create_task(self._rebuild(piece))])
        try:
            return direct.result()
        except SkepError:
            return await self._rebuild(piece)

    def _patience_s(self, piece: _Piece) -> float | None:
        """How long to wait before others are asked; None: until there is an answer.

        From the k-th quickest of the pack's stores, so that a slow one does not buy itself more time. For whole files
        nobody waits who is in a hurry.
        """
        pack, options, k = piece.pack, self._options, piece.pack.scheme.data_shards
        if not options.hedge:
            return None
        if piece.reading.whole:
            return options.hedge_max_s
        usual = sorted(member.latency_s for place in pack.shards if (member := self._stores.get(place.store_id)))
        usual_s = usual[min(k, len(usual)) - 1] if usual else 0.0
        return min(options.hedge_max_s, max(options.hedge_min_s, HEDGE_FACTOR * usual_s))

    def _hedged(self, slow: Sequence[Member], waited_s: float | None) -> None:
        """Count it, and let the stores be taken for as slow as they have been at least."""
        self._counters.hedged_reads += 1
        for member in slow:
            member.note_late()
            member.note_latency(max(member.latency_s * 1.001, waited_s or 0.0))

    async def _only(self, piece: _Piece, member: Member) -> _Parts:
        """From the one shard that holds it: no other can stand in."""
        try:
            return await self._fetch(piece, piece.number, member)
        except ObjectNotFound as error:
            raise self._lost(piece, piece.pack.scheme.data_shards - 1, [error]) from error

    async def _fetch(self, piece: _Piece, number: int, member: Member) -> _Parts:
        """Read, and verify if wanted, one shard's share of a payload range; reports damage."""
        if piece.reading.whole:
            raw = await self._read(piece, number, member, 0, piece.layout.shard_file_bytes)
            return [memoryview(raw)]
        if self._cache is not None and member.cached:
            return await self._fetch_blocks(piece, number, member)
        layout = piece.layout
        if not piece.reading.checked:
            offset, length = layout.exact_range(piece.offset, piece.length)
            return unframed(piece.offset, await self._read(piece, number, member, offset, length))
        span = layout.file_range(piece.offset, piece.length)
        raw = await self._read(piece, number, member, span.offset, span.length)
        return _cut_out(await self._verified(piece, number, member, span.first_block, raw), span.skip, piece.length)

    def _is_cached(self, piece: _Piece, member: Member) -> bool:
        if self._cache is None or not member.cached:
            return False
        first, count = _blocks_of(piece)
        return self._cache.has(piece.pack.pack_id, piece.number, first, count)

    async def _fetch_blocks(self, piece: _Piece, number: int, member: Member) -> _Parts:
        """The same by whole blocks, those that the cache has from there."""
        assert self._cache is not None

        async def fetch(first: int, count: int) -> Buffer:
            payload_bytes = sum(piece.layout.block_bytes(block) for block in range(first, first + count))
            span = piece.layout.file_range(first * BLOCK_BYTES, payload_bytes)
            raw = await self._read(piece, number, member, span.offset, span.length)
            await self._verified(piece, number, member, first, raw)
            return raw

        first, count = _blocks_of(piece)
        blocks = await self._cache.payloads(piece.pack, number, piece.layout, first, count, fetch)
        return _cut_out(blocks, piece.offset - first * BLOCK_BYTES, piece.length)

    async def _read(self, piece: _Piece, number: int, member: Member, offset: int, length: int) -> bytes:
        """Bytes of a shard's file. Raises ObjectNotFound, CorruptShard (cut short), both reported, and Unavailable."""
        pack_id, store = piece.pack.pack_id, member.store
        if store is None:
            raise StoreUnavailable(f"store {member.name!r} is not open: {member.error}")
        key, timeout_s = shard_key(pack_id, number), self._options.read_timeout_s
        try:
            raw = await self._stores.call(
                member, lambda: store.get(key, offset, length), timed=not piece.reading.whole, timeout_s=timeout_s
            )
        except ObjectNotFound:
            self._report(piece, number, member, "missing")
            raise
        if len(raw) != length:
            self._report(piece, number, member, "corrupt")
            raise CorruptShard(f"shard {number} of pack {pack_id.hex()} is cut short")
        return raw

    async def _verified(self, piece: _Piece, number: int, member: Member, first_block: int, raw: Buffer) -> _Parts:
        """The payloads of blocks. Raises CorruptShard, reported."""
        try:
            return await self._run(len(raw), lambda: self._verify(piece.pack, number, first_block, raw))
        except CorruptShard:
            self._report(piece, number, member, "corrupt")
            raise

    def _verify(self, pack: PackPlaces, number: int, first_block: int, raw: Buffer) -> _Parts:
        """The payloads of the blocks read. Raises CorruptShard."""
        return verify_blocks(self._shard_key, pack.pack_id, number, pack.scheme, pack.size_bytes, first_block, raw)

    def _report(self, piece: _Piece, number: int, member: Member, state: str) -> None:
        self.forget(piece.pack.pack_id)
        self._damage(piece.pack.pack_id, number, member.id, state)

    async def _rebuild(self, piece: _Piece) -> _Parts:
        """The same payload range of any k shards gives back the wanted one."""
        scheme = piece.pack.scheme
        gathered, errors = await self._gather(piece, self._rebuild_order(piece))
        if len(gathered) < scheme.data_shards:
            raise self._lost(piece, len(gathered), errors)
        if piece.number in gathered:
            return gathered[piece.number]
        piece.reading.rebuilt += 1
        return await self._run(piece.length, lambda: _rebuild_one(scheme, gathered, piece.number))

    async def _gather(
        self, piece: _Piece, order: Sequence[tuple[int, Member]]
    ) -> tuple[dict[int, _Parts], list[SkepError]]:
        """The range from the first k shards that give it, and what went wrong at stores that are not given up.

        One more shard is asked for each that fails, and whenever patience ends.
        """
        need, rest = piece.pack.scheme.data_shards, list(order)
        asked: dict[asyncio.Task[_Parts], tuple[int, Member]] = {}
        gathered: dict[int, _Parts] = {}
        errors: list[SkepError] = []

        def ask(count: int) -> None:
            for number, member in rest[:count]:
                asked[asyncio.create_task(self._fetch(piece, number, member))] = (number, member)
            del rest[:count]

        try:
            ask(need)
            while asked and len(gathered) < need:
                patience_s = self._patience_s(piece) if rest else None
                done, _ = await asyncio.wait(asked, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    number, member = asked.pop(task)
                    error = task.exception()
                    if error is None:
                        gathered[number] = task.result()
                    elif not isinstance(error, SkepError):
                        raise error
                    elif member.state != "lost":
                        errors.append(error)
                if not done:
                    self._hedged([member for _, member in asked.values()], patience_s)
                    ask(1)
                elif len(gathered) + len(asked) < need:
                    ask(need - len(gathered) - len(asked))
        finally:
            for task in asked:
                task.cancel()
        return gathered, errors

    def _rebuild_order(self, piece: _Piece) -> list[tuple[int, Member]]:
        """Shards to ask, the most promising first; the wanted one and stores that rest come last."""
        found = []
        for place in piece.pack.shards:
            member = self._stores.get(place.store_id)
            if place.state == "ok" and member is not None and member.store is not None:
                worst = (place.number == piece.number, member.down or member.passed_by, member.latency_s, place.number)
                found.append((worst, place.number, member))
        return [(number, member) for _, number, member in sorted(found, key=lambda each: each[0])]

    def _lost(self, piece: _Piece, found: int, errors: Sequence[SkepError]) -> SkepError:
        """DataLost, or StoreUnavailable when a store that nobody has given up may still have what is missing."""
        pack = piece.pack
        text = (
            f"pack {pack.pack_id.hex()} needs {pack.scheme.data_shards} shards of {pack.scheme.total} "
            f"and {found} can be read now"
        )
        offline = any(not isinstance(error, Integrity | ObjectNotFound) for error in errors) or any(
            (member := self._stores.get(place.store_id)) is not None and member.down and member.state != "lost"
            for place in pack.shards
            if place.state == "ok"
        )
        if offline:
            return StoreUnavailable(f"{text}: bring back a store that is down (`skep store ls`)")
        return DataLost(f"{text}: restore the missing store, or the file from a backup")

    async def _run(self, size_bytes: int, call: Callable[[], T]) -> T:
        return call() if size_bytes <= INLINE_BYTES else await run_to_end(self._threads, call)


class _Scratch(threading.local):
    """Memory of each thread in which the parts of a sealed chunk are put together."""

    memory: bytearray | None = None

    def gathered(self, parts: _Parts) -> memoryview:
        """The parts as one; good until this thread asks again."""
        if len(parts) == 1:
            return parts[0]
        whole = self._whole()
        end = 0
        for part in parts:
            whole[end : end + len(part)] = part
            end += len(part)
        return whole[:end]

    def framed(self, payload_offset: int, length: int) -> tuple[_Parts, memoryview]:
        """Memory for ``length`` bytes of a shard's file, and the part of it where the payload comes to lie in one.

        The hashes between blocks come to lie behind it.
        """
        whole = self._whole()
        runs = payload_runs(payload_offset, length)
        payload_bytes = sum(runs)
        views: _Parts = []
        at = 0
        for run in runs:
            if views:
                views.append(whole[payload_bytes : payload_bytes + HASH_BYTES])
            views.append(whole[at : at + run])
            at += run
        return views, whole[:payload_bytes]

    def _whole(self) -> memoryview:
        if self.memory is None:
            self.memory = bytearray(sealed_bound(CHUNK_BYTES_MAX) + HASH_BYTES)
        return memoryview(self.memory)


_SCRATCH = _Scratch()


def _blocks_of(piece: _Piece) -> tuple[int, int]:
    """The first block of a piece, and how many it touches."""
    first = piece.offset // BLOCK_BYTES
    return first, (piece.offset + piece.length - 1) // BLOCK_BYTES - first + 1


def _cut_out(blocks: _Parts, skip: int, length: int) -> _Parts:
    """``length`` bytes of the blocks after the first ``skip``."""
    blocks[0] = blocks[0][skip:]
    over = sum(len(block) for block in blocks) - length
    blocks[-1] = blocks[-1][: len(blocks[-1]) - over]
    return blocks


def _place_of(pack: PackPlaces, number: int) -> ShardPlace | None:
    for place in pack.shards:
        if place.number == number:
            return place
    return None


def _rebuild_one(scheme: Scheme, gathered: Mapping[int, _Parts], wanted: int) -> _Parts:
    if scheme.data_shards == 1:  # mirrors
        return gathered[choose_sources(scheme, gathered)[0]]
    return [memoryview(rebuild_blocks(scheme, gathered, [wanted])[wanted])]


async def _all(calls: Sequence[Awaitable[T]]) -> list[T]:
    """Gather, and cancel the rest when one fails."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        await _end(tasks)
        raise


async def _first(tasks: Sequence[asyncio.Task[T]]) -> T:
    """The first result; if none succeeds, the error of the last of ``tasks``, which knows most. Cancels the others."""
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done and task.exception() is None:
                    return task.result()
        return tasks[-1].result()
    finally:
        for task in tasks:
            task.cancel()


async def _end(tasks: Sequence[asyncio.Future[T]]) -> None:
    """Cancel what still runs and take note of every outcome."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
