"""Metadata snapshots: an encrypted copy of the database in the stores, coded like any pack.

Format page: docs/formats/snapshot-objects.md. A snapshot is a UUIDv7, so that ids sort by age. Its
objects, in the stores' own key space:

    snapshots/<id>/<part>.<number>   shards of a sealed, compressed part of the export
    snapshots/<id>/head              what it is made of, sealed; on every store that takes writes

Parts are written before the head and removed after it, so a head always stands for a whole
snapshot. Nothing in the database refers to snapshots: they are found by listing the stores.
Written by snapshotter.py, read by recover.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from backports import zstd

from skep.base.errors import CorruptRecord, DataLost, KeyWrong, SkepError
from skep.base.ids import Id
from skep.chunks.coding import rebuild
from skep.chunks.layout import HEADER_BYTES
from skep.chunks.scheme import Scheme
from skep.chunks.shard import verify_blocks, verify_shard
from skep.crypto.keys import HiveKeys
from skep.crypto.sealing import open_record, seal_record
from skep.stores.protocol import Store

PREFIX = "snapshots/"
HEAD_MAGIC = b"SKEPHEAD\x01"
KEY_CHECK_BYTES = 32
PIECE_BYTES = 4 << 20
"""Of a decompressed export that are in memory at once."""


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
class KeyHint:
    """What a head says in the clear: which master key opens it, and the salt if a passphrase makes that key."""

    key_check: bytes
    """``MasterKey.key_check()``."""
    salt: bytes = b""


def head_key(snapshot_id: Id) -> str:
    """The key of a snapshot's head."""
    return f"{PREFIX}{snapshot_id.hex()}/head"


def part_key(snapshot_id: Id, part: int, number: int) -> str:
    """The key of one shard of one part."""
    return f"{PREFIX}{snapshot_id.hex()}/{part:06d}.{number}"


def parse_snapshot_key(key: str) -> tuple[Id, str] | None:
    """The snapshot's id and the name of its object; None for any other key."""
    name, slash, rest = key.removeprefix(PREFIX).partition("/")
    if not key.startswith(PREFIX) or not slash or len(name) != 32:
        return None
    try:
        return bytes.fromhex(name), rest
    except ValueError:
        return None


def seal_head(keys: HiveKeys, hint: KeyHint, head: Head) -> bytes:
    """The stored form of a head."""
    assert len(hint.key_check) == KEY_CHECK_BYTES
    clear = HEAD_MAGIC + hint.key_check + bytes([len(hint.salt)]) + hint.salt
    return clear + seal_record(keys.snapshot_key, msgspec.msgpack.encode(head), _head_aad(head.snapshot_id, clear))


def read_hint(raw: bytes) -> KeyHint:
    """The part of a head that anybody can read. Raises CorruptRecord."""
    return _split_head(raw)[0]


def _split_head(raw: bytes) -> tuple[KeyHint, int]:
    """The hint, and where the sealed part starts."""
    at = len(HEAD_MAGIC) + KEY_CHECK_BYTES
    if not raw.startswith(HEAD_MAGIC) or len(raw) <= at:
        raise CorruptRecord("this is not the head of a metadata snapshot that this Skep knows")
    end = at + 1 + raw[at]
    return KeyHint(raw[len(HEAD_MAGIC) : at], raw[at + 1 : end]), end


def open_head(keys: HiveKeys, key_check: bytes, snapshot_id: Id, raw: bytes) -> Head:
    """Read a head. Raises KeyWrong (another master key's) or CorruptRecord."""
    hint, start = _split_head(raw)
    if hint.key_check != key_check:
        raise KeyWrong(f"snapshot {snapshot_id.hex()} was made with another master key")
    try:
        plain = open_record(keys.snapshot_key, raw[start:], _head_aad(snapshot_id, raw[:start]))
        head = msgspec.msgpack.decode(plain, type=Head)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"snapshot {snapshot_id.hex()} has a head that a newer Skep wrote: {error}") from None
    if head.version != 1:
        raise CorruptRecord(f"snapshot {snapshot_id.hex()} has version {head.version}: upgrade Skep")
    return head


def _head_aad(snapshot_id: Id, clear: bytes) -> bytes:
    return b"snapshot head " + snapshot_id + clear


def seal_part(keys: HiveKeys, snapshot_id: Id, part: int, compressed: bytes) -> bytes:
    """One part, sealed for its place."""
    return seal_record(keys.snapshot_key, compressed, _part_aad(snapshot_id, part))


def _part_aad(snapshot_id: Id, part: int) -> bytes:
    return b"snapshot part " + snapshot_id + part.to_bytes(4, "big")


async def list_heads(store: Store) -> list[Id]:
    """The ids of the snapshots that have their head on this store."""
    found = []
    async for info in store.list(PREFIX):
        parsed = parse_snapshot_key(info.key)
        if parsed is not None and parsed[1] == "head":
            found.append(parsed[0])
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
        piece = decompressor.decompress(plain, PIECE_BYTES)
        while piece:
            yield piece
            piece = b"" if decompressor.eof or decompressor.needs_input else decompressor.decompress(b"", PIECE_BYTES)
    if not decompressor.eof:
        raise DataLost(f"snapshot {head.snapshot_id.hex()} ends in the middle: take an older one")


async def _read_part(
    keys: HiveKeys, snapshot_id: Id, number: int, part: Part, scheme: Scheme, stores: Sequence[Store]
) -> bytes:
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
    return b"".join(bytes(whole[each]) for each in range(scheme.data_shards))[: part.size_bytes]
