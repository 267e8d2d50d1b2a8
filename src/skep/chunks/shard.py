"""Shards: what a store holds of a pack, and how a reader knows that it is unchanged.

Format page: docs/formats/shard.md. In short::

    magic "SKSH" | version 1 | k | m | number | pack size u64 | pack id 32 | keyed hash 16      (64 bytes)
    then for each block: payload, 256 KiB or the rest | keyed hash 32

A block's hash is BLAKE3 under the hive's shard key over the first 48 bytes of the header, the
block's number (u64), 8 zero bytes and the payload: it holds for one block of one shard of one pack
only, so whoever keeps the shard can neither forge nor swap nor reorder. Integers are
little-endian.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from skep.base.errors import CorruptShard, InvalidScheme
from skep.chunks.coding import choose_sources, encode_parity, rebuild_into
from skep.chunks.layout import BLOCK_BYTES, HASH_BYTES, HEADER_BYTES, ShardLayout
from skep.chunks.pack import PACK_BYTES_MAX, Pack
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import Buffer

MAGIC = b"SKSH"
VERSION = 1
_BOUND = struct.Struct("<4sBBBBQ32s")
_HEADER_HASH_BYTES = HEADER_BYTES - _BOUND.size
_BLOCK_NUMBER = struct.Struct("<Q8x")
_HEADER_NUMBER = (1 << 64) - 1  # no block has it


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard, as a list of buffers whose concatenation is its file. The buffers belong to the pack."""

    number: int
    parts: Sequence[Buffer]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ShardHeader:
    """What a shard says of itself."""

    pack_id: bytes
    scheme: Scheme
    number: int
    pack_size: int

    @property
    def layout(self) -> ShardLayout:
        """The layout of the shard's pack."""
        return ShardLayout(self.scheme, self.pack_size)


def encode_shards(shard_key: bytes, pack: Pack, scheme: Scheme, only: Collection[int] | None = None) -> list[Shard]:
    """All shards of a pack, by number; or ``only`` those of these numbers.

    Data shards are views of the pack, parity lies in one buffer of the pack's own; ``pack.release()``
    takes both back, once the shards are stored.
    """
    layout = ShardLayout(scheme, pack.size_bytes)
    payload = layout.shard_payload_bytes
    payloads = [pack.padded(i * payload, (i + 1) * payload) for i in range(scheme.data_shards)]
    if only is None or any(number >= scheme.data_shards for number in only):
        payloads += _parity(pack, scheme, payloads, payload)
    shards = [
        frame_shard(shard_key, ShardHeader(pack.id, scheme, number, pack.size_bytes), content)
        for number, content in enumerate(payloads)
        if only is None or number in only
    ]
    for shard in shards:
        for part in shard.parts:
            if isinstance(part, memoryview):
                pack.own(part)
    return shards


def rebuild_shards(
    shard_key: bytes,
    pack_id: bytes,
    scheme: Scheme,
    pack_size: int,
    files: Mapping[int, Buffer],
    wanted: Sequence[int],
    buffer: memoryview,
) -> list[Shard]:
    """Lost shards from the whole files of k others: checked, coded and framed block by block, while each is warm.

    ``buffer`` takes the payloads of the wanted ones, one after the other; their parts are views of it. Raises
    CorruptShard (its details have the ``number``) for a file that is not what was written, DataLost for fewer than k.
    """
    layout = ShardLayout(scheme, pack_size)
    present = choose_sources(scheme, files)
    sources = {
        number: _Checked(shard_key, ShardHeader(pack_id, scheme, number, pack_size), files[number])
        for number in present
    }
    size = layout.shard_payload_bytes
    made = {number: buffer[i * size : (i + 1) * size] for i, number in enumerate(wanted)}
    framed = {number: _Framed(shard_key, ShardHeader(pack_id, scheme, number, pack_size)) for number in wanted}
    for block in range(layout.block_count):
        start = block * BLOCK_BYTES
        end = start + layout.block_bytes(block)
        blocks = [sources[number].block(block) for number in present]
        rebuild_into(scheme, present, blocks, wanted, [made[number][start:end] for number in wanted])
        for number in wanted:
            framed[number].add(block, made[number][start:end])
    return [Shard(number, framed[number].parts, layout.shard_file_bytes) for number in wanted]


class _Checked:
    """A shard's file whose blocks are given out checked."""

    def __init__(self, shard_key: bytes, header: ShardHeader, raw: Buffer) -> None:
        self._header, self._view = header, memoryview(raw)
        bound, self._keyed = _bound(shard_key, header)
        head = bound + _header_hash(self._keyed)
        if len(raw) != header.layout.shard_file_bytes or not hmac.compare_digest(self._view[:HEADER_BYTES], head):
            raise self._corrupt("its header or its size")

    def block(self, block: int) -> memoryview:
        """The payload of a block. Raises CorruptShard."""
        start = HEADER_BYTES + block * (BLOCK_BYTES + HASH_BYTES)
        end = start + self._header.layout.block_bytes(block)
        payload = self._view[start:end]
        if not hmac.compare_digest(_block_hash(self._keyed, block, payload), self._view[end : end + HASH_BYTES]):
            raise self._corrupt(f"block {block}")
        return payload

    def _corrupt(self, what: str) -> CorruptShard:
        number, pack_id = self._header.number, self._header.pack_id.hex()
        return CorruptShard(
            f"shard {number} of pack {pack_id} is not what was written: {what}", pack_id=pack_id, number=number
        )


class _Framed:
    """The parts of a shard's file, block after block."""

    def __init__(self, shard_key: bytes, header: ShardHeader) -> None:
        bound, self._keyed = _bound(shard_key, header)
        self.parts: list[Buffer] = [bound + _header_hash(self._keyed)]

    def add(self, block: int, payload: Buffer) -> None:
        """The next block, which is not copied."""
        self.parts += (payload, _block_hash(self._keyed, block, payload))


def _parity(pack: Pack, scheme: Scheme, data: list[memoryview], payload: int) -> list[memoryview]:
    m = scheme.parity_shards
    if scheme.data_shards == 1:
        return data * m  # mirrors: the code's coefficients are all 1
    if not m:
        return []
    buffer = pack.borrow(m * payload)
    parity = [pack.own(buffer[i * payload : (i + 1) * payload]) for i in range(m)]
    encode_parity(scheme, data, parity)
    return parity


def frame_shard(shard_key: bytes, header: ShardHeader, payload: Buffer) -> Shard:
    """A shard from its whole payload: header, and hashes between the blocks. The payload is not copied."""
    layout = header.layout
    view = memoryview(payload)
    assert len(view) == layout.shard_payload_bytes
    framed = _Framed(shard_key, header)
    for block in range(layout.block_count):
        framed.add(block, view[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])
    return Shard(header.number, framed.parts, layout.shard_file_bytes)


def verify_blocks(
    shard_key: bytes, pack_id: bytes, number: int, scheme: Scheme, pack_size: int, first_block: int, raw: Buffer
) -> list[memoryview]:
    """Check whole blocks as read from a shard's file (see ``ShardLayout.file_range``).

    Gives their payloads as views of ``raw``. Raises CorruptShard when ``raw`` is cut short or any
    block is not the one that belongs there.
    """
    header = ShardHeader(pack_id, scheme, number, pack_size)
    layout = header.layout
    _, keyed = _bound(shard_key, header)
    view = memoryview(raw)
    payloads = []
    block = first_block
    while len(view):
        size = layout.block_bytes(block) if block < layout.block_count else -1
        payload, claimed = view[:size], bytes(view[size : size + HASH_BYTES])
        if size < 0 or not hmac.compare_digest(_block_hash(keyed, block, payload), claimed):
            raise CorruptShard(
                f"block {block} of shard {number} of pack {pack_id.hex()} is not what was written",
                pack_id=pack_id.hex(),
                number=number,
                block=block,
            )
        payloads.append(payload)
        view = view[size + HASH_BYTES :]
        block += 1
    return payloads


def unframed(payload_offset: int, raw: Buffer) -> list[memoryview]:
    """The payload in what was read of a shard's file (see ``ShardLayout.exact_range``), as views of ``raw``.

    Nothing is checked: only for bytes that are authenticated afterwards, before anything is made of them.
    """
    view = memoryview(raw)
    payloads = []
    rest_of_block = BLOCK_BYTES - payload_offset % BLOCK_BYTES
    while len(view):
        payloads.append(view[:rest_of_block])
        view = view[rest_of_block + HASH_BYTES :]
        rest_of_block = BLOCK_BYTES
    return payloads


def read_header(raw: Buffer, shard_key: bytes | None = None) -> ShardHeader:
    """The header of a shard from its first 64 bytes or more: where recovery starts from.

    With ``shard_key`` it is authenticated. Raises CorruptShard.
    """
    if len(raw) < HEADER_BYTES:
        raise CorruptShard(f"a shard has only {len(raw)} bytes")
    head = bytes(raw[:HEADER_BYTES])
    magic, version, k, m, number, pack_size, pack_id = _BOUND.unpack_from(head)
    if (magic, version) != (MAGIC, VERSION):
        raise CorruptShard(f"a shard starts with {head[:5].hex()}: it is damaged, or a newer Skep wrote it")
    try:
        header = ShardHeader(pack_id, Scheme.of(k, m), number, pack_size)
    except InvalidScheme as error:
        raise CorruptShard(f"a shard's header is damaged: {error.message}") from None
    if number >= header.scheme.total or not 0 < pack_size <= PACK_BYTES_MAX:
        raise CorruptShard(f"a shard's header is damaged: number {number} of {header.scheme}, {pack_size} bytes")
    if shard_key is not None:
        _, keyed = _bound(shard_key, header)
        if not hmac.compare_digest(_header_hash(keyed), head[_BOUND.size :]):
            raise CorruptShard(f"the header of shard {number} of pack {pack_id.hex()} is changed, or another hive's")
    return header


def verify_shard(shard_key: bytes, pack_id: bytes, number: int, scheme: Scheme, pack_size: int, raw: Buffer) -> None:
    """Check a whole shard file, header and all, for scrubbing. Raises CorruptShard."""
    expected = ShardHeader(pack_id, scheme, number, pack_size)
    found = read_header(raw, shard_key)
    if found != expected:
        raise CorruptShard(f"shard {number} of pack {pack_id.hex()} is shard {found.number} of {found.pack_id.hex()}")
    if len(raw) != expected.layout.shard_file_bytes:
        raise CorruptShard(
            f"shard {number} of pack {pack_id.hex()} has {len(raw)} bytes instead of {expected.layout.shard_file_bytes}"
        )
    verify_blocks(shard_key, pack_id, number, scheme, pack_size, 0, memoryview(raw)[HEADER_BYTES:])


def _bound(shard_key: bytes, header: ShardHeader) -> tuple[bytes, blake3]:
    """The first 48 bytes of a shard's header, and the keyed hash state after them."""
    scheme = header.scheme
    counts = (scheme.data_shards, scheme.parity_shards, header.number)
    bound = _BOUND.pack(MAGIC, VERSION, *counts, header.pack_size, header.pack_id)
    return bound, blake3(bound, key=shard_key)


def _header_hash(keyed: blake3) -> bytes:
    return keyed.copy().update(_BLOCK_NUMBER.pack(_HEADER_NUMBER)).digest(_HEADER_HASH_BYTES)


def _block_hash(keyed: blake3, block: int, payload: Buffer) -> bytes:
    return keyed.copy().update(_BLOCK_NUMBER.pack(block)).update(payload).digest()
