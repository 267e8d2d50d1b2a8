"""Packs: what one durable write puts down, up to 16 MiB of sealed chunks and an index.

Format page: docs/formats/pack.md. In short::

    sealed chunks, back to back | sealed index | index size u32 | version 1 | 3 zero bytes | magic "SKEPPACK"

The pack's id is BLAKE3 of everything after the chunks. The index lists id, offset, size, plain
size and AEAD tag of each chunk, so the id commits to every byte with no second pass over them.
Integers are little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence

import msgspec

from skep.base.errors import CorruptPack, CorruptRecord
from skep.base.ids import Id
from skep.chunks.buffers import SHARED_POOL, BufferPool, release_views
from skep.chunks.codec import LEVEL_DEFAULT
from skep.chunks.seal import SEAL_OVERHEAD_BYTES, TAG_BYTES, seal_into, sealed_bound
from skep.crypto.hashing import Buffer, digest
from skep.crypto.keys import DomainKeys
from skep.crypto.sealing import RECORD_OVERHEAD_BYTES, open_record, seal_record

MAGIC = b"SKEPPACK"
VERSION = 1
PACK_BYTES = 16 << 20
"""The usual capacity of a pack, index and trailer included."""
PACK_BYTES_MAX = 1 << 30

_TRAILER = struct.Struct("<IB3x8s")
_INDEX_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<16s32sIII16s")
TRAILER_BYTES = _TRAILER.size
_TAIL_FIXED_BYTES = _INDEX_HEAD.size + RECORD_OVERHEAD_BYTES + TRAILER_BYTES
PADDING_BYTES = 4096
"""Room kept after a pack, so that the coder can read it padded without a copy."""


class PackEntry(msgspec.Struct, frozen=True, gc=False):
    """Where one sealed chunk lies in its pack. Offsets and sizes in bytes."""

    domain_id: Id
    chunk_id: bytes
    offset: int
    size_bytes: int
    """Sealed."""
    plain_bytes: int


class Pack:
    """A finished pack in memory. ``data`` must not be written to."""

    __slots__ = ("_buffers", "_padded", "_pool", "_views", "data", "entries", "id")

    def __init__(
        self,
        id: bytes,
        data: memoryview,
        entries: tuple[PackEntry, ...] = (),
        *,
        buffers: Sequence[mmap.mmap] = (),
        padded: memoryview | None = None,
        pool: BufferPool = SHARED_POOL,
    ) -> None:
        self.id = id
        self.data = data
        self.entries = entries
        self._padded = data if padded is None else padded
        self._buffers = list(buffers)
        self._views = [self.data, self._padded]
        self._pool = pool

    @property
    def size_bytes(self) -> int:
        """The size of the whole pack."""
        return len(self.data)

    def padded(self, start: int, stop: int) -> memoryview:
        """The bytes from ``start`` to ``stop``, zeros after the pack's end; without a copy where there is room."""
        if stop <= len(self._padded):
            return self.own(self._padded[start:stop])
        rest = self.data[start:stop]
        return memoryview(bytes(rest) + bytes(stop - start - len(rest)))

    def borrow(self, size_bytes: int) -> memoryview:
        """A buffer that lives as long as the pack does (for parity)."""
        buffer = self._pool.take(size_bytes)
        self._buffers.append(buffer)
        return self.own(memoryview(buffer))

    def own(self, view: memoryview) -> memoryview:
        """Have ``view`` released with the pack."""
        self._views.append(view)
        return view

    def release(self) -> None:
        """Give the pack's memory back for use by others. Safe to call twice.

        ``data`` and the parts of its shards are released: using one later raises ValueError. So call
        it when every store has taken its shard or given up. A part that is being written at this
        moment stays good, and its buffer is not used again.
        """
        release_views(self._views)
        self.data = self._padded = memoryview(b"")
        buffers, self._buffers = self._buffers, []
        for buffer in buffers:
            self._pool.give(buffer)


class PackBuilder:
    """Collects sealed chunks for one pack. For one thread at a time."""

    def __init__(
        self,
        index_key: bytes,
        capacity_bytes: int = PACK_BYTES,
        *,
        pool: BufferPool = SHARED_POOL,
        index_salt: bytes | None = None,
    ) -> None:
        """``index_salt`` is for test vectors only: it makes the sealed index repeatable."""
        assert _TAIL_FIXED_BYTES < capacity_bytes <= PACK_BYTES_MAX
        self.capacity_bytes = capacity_bytes
        self._index_key = index_key
        self._index_salt = index_salt
        self._pool = pool
        self._buffer: mmap.mmap | None = pool.take(capacity_bytes + PADDING_BYTES)
        self._view = memoryview(self._buffer)
        self._room = capacity_bytes - RECORD_OVERHEAD_BYTES - TRAILER_BYTES - _ENTRY.size - sealed_bound(0)
        self._end = 0
        self._index = bytearray(_INDEX_HEAD.size)
        self._entries: list[PackEntry] = []

    @property
    def entries(self) -> Sequence[PackEntry]:
        """What is in it so far, by offset."""
        return self._entries

    @property
    def size_bytes(self) -> int:
        """The size that the pack would have if it were closed now."""
        return self._end + len(self._index) + RECORD_OVERHEAD_BYTES + TRAILER_BYTES

    def fits(self, plain_bytes: int) -> bool:
        """Whether a chunk of ``plain_bytes`` has room for sure."""
        return self._end + len(self._index) + plain_bytes <= self._room

    def append(self, keys: DomainKeys, id: bytes, plain: Buffer, level: int = LEVEL_DEFAULT) -> PackEntry:
        """Seal a chunk into the pack. The caller has asked ``fits``."""
        plain_bytes = len(plain)
        assert self.fits(plain_bytes)
        offset = self._end
        size = seal_into(keys, id, plain, self._view[offset : offset + sealed_bound(plain_bytes)], level)
        return self._add(PackEntry(keys.domain_id, id, offset, size, plain_bytes))

    def adopt(self, entry: PackEntry, sealed: Buffer) -> PackEntry:
        """Take a chunk from another pack as it is, for repacking. Gives its entry in this pack.

        Raises CorruptPack when ``sealed`` has not the size that ``entry`` tells.
        """
        if len(sealed) != entry.size_bytes or len(sealed) < SEAL_OVERHEAD_BYTES:
            raise CorruptPack(
                f"sealed chunk {entry.chunk_id.hex()} has {len(sealed)} bytes, its entry says {entry.size_bytes}"
            )
        assert self.fits(len(sealed) - SEAL_OVERHEAD_BYTES)
        offset = self._end
        self._view[offset : offset + len(sealed)] = sealed
        return self._add(PackEntry(entry.domain_id, entry.chunk_id, offset, len(sealed), entry.plain_bytes))

    def _add(self, entry: PackEntry) -> PackEntry:
        end = entry.offset + entry.size_bytes
        self._index += _ENTRY.pack(
            entry.domain_id,
            entry.chunk_id,
            entry.offset,
            entry.size_bytes,
            entry.plain_bytes,
            bytes(self._view[end - TAG_BYTES : end]),
        )
        self._entries.append(entry)
        self._end = end
        return entry

    def close(self) -> Pack:
        """Seal the index and finish the pack. The builder is not used afterwards."""
        assert self._buffer is not None
        assert self._entries, "a pack holds at least one chunk"
        _INDEX_HEAD.pack_into(self._index, 0, len(self._entries), self._end)
        trailer = _TRAILER.pack(len(self._index) + RECORD_OVERHEAD_BYTES, VERSION, MAGIC)
        tail = seal_record(self._index_key, self._index, trailer, salt=self._index_salt) + trailer
        size = self._end + len(tail)
        self._view[self._end : size] = tail
        self._view[size : size + PADDING_BYTES] = bytes(PADDING_BYTES)
        pack = Pack(
            pack_id(tail),
            self._view[:size].toreadonly(),
            tuple(self._entries),
            buffers=[self._buffer],
            padded=self._view[: size + PADDING_BYTES].toreadonly(),
            pool=self._pool,
        )
        self._forget()
        return pack

    def abandon(self) -> None:
        """Drop what is in it and give the memory back. Safe after ``close`` and twice."""
        buffer = self._buffer
        self._forget()
        if buffer is not None:
            self._pool.give(buffer)

    def _forget(self) -> None:
        self._buffer = None
        self._view.release()


def pack_id(tail: Buffer) -> bytes:
    """The id of the pack that ends in ``tail``, its sealed index and trailer: 32 bytes."""
    return digest(tail)


def index_tail_size(trailer: Buffer) -> int:
    """From the last 16 bytes of a pack, how many bytes at its end are index and trailer.

    Raises CorruptPack.
    """
    if len(trailer) != TRAILER_BYTES:
        raise CorruptPack(f"a pack's trailer has {TRAILER_BYTES} bytes, these are {len(trailer)}")
    index_bytes, version, magic = _TRAILER.unpack(trailer)
    if (version, magic) != (VERSION, MAGIC) or any(trailer[5:8]):
        raise CorruptPack(f"a pack ends in {bytes(trailer).hex()}: it is damaged, or a newer Skep wrote it")
    if not RECORD_OVERHEAD_BYTES + _INDEX_HEAD.size < index_bytes < PACK_BYTES_MAX:
        raise CorruptPack(f"a pack's trailer tells of an index of {index_bytes} bytes")
    return int(index_bytes) + TRAILER_BYTES


def read_index(index_key: bytes, tail: Buffer, pack_bytes: int) -> list[PackEntry]:
    """The entries of a pack of ``pack_bytes`` from its tail, or from more of its end.

    Raises CorruptPack when the tail is cut short, damaged, of another hive, or contradicts itself.
    """
    view = memoryview(tail)
    tail_bytes = index_tail_size(view[-TRAILER_BYTES:])
    if not tail_bytes <= len(view) <= pack_bytes:
        raise CorruptPack(f"a pack's index and trailer need {tail_bytes} bytes; {len(view)} of {pack_bytes} were given")
    trailer = bytes(view[-TRAILER_BYTES:])
    try:
        index = open_record(index_key, view[len(view) - tail_bytes : -TRAILER_BYTES], trailer)
    except CorruptRecord as error:
        raise CorruptPack(f"a pack's index does not open: {error.message}") from None
    return _entries(index, pack_bytes - tail_bytes)


def _entries(index: bytes, chunks_bytes: int) -> list[PackEntry]:
    """Check that the entries follow one another from the pack's start to its index."""
    count, end_of_chunks = _INDEX_HEAD.unpack_from(index)
    if len(index) != _INDEX_HEAD.size + count * _ENTRY.size or end_of_chunks != chunks_bytes:
        raise CorruptPack(f"a pack's index tells of {count} chunks in {end_of_chunks} bytes and contradicts its size")
    entries = []
    end = 0
    for domain_id, chunk, offset, size, plain_bytes, _tag in _ENTRY.iter_unpack(memoryview(index)[_INDEX_HEAD.size :]):
        if offset != end or size < SEAL_OVERHEAD_BYTES:
            raise CorruptPack(f"chunk {chunk.hex()} in a pack's index does not follow the one before it")
        end = offset + size
        entries.append(PackEntry(domain_id, chunk, offset, size, plain_bytes))
    if end != chunks_bytes:
        raise CorruptPack(f"the chunks in a pack's index end at {end} instead of {chunks_bytes}")
    return entries
