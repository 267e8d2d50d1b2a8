"""What the chunk service takes and gives: plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.chunks.scheme import Scheme
from skep.durability.pools import HIVE, Pool


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that are durable now, and how to find them again."""

    manifest: Manifest
    size_bytes: int
    digests: Mapping[str, bytes] = field(default_factory=dict)
    """Digests of the plain bytes that were asked for, by name (``md5``, ``sha1``, ``sha256``)."""


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Where one shard of a pack lies."""

    number: int
    store_id: Id
    state: str
    """``ok``, ``missing`` or ``corrupt``."""


@dataclass(frozen=True, slots=True)
class PackPlaces:
    """A pack and its shards, as the database has them."""

    pack_id: bytes
    scheme: Scheme
    size_bytes: int
    shards: tuple[ShardPlace, ...]
    pool: Pool = HIVE


class Location(NamedTuple):
    """Where a sealed chunk lies."""

    pack_id: bytes
    offset: int
    size_bytes: int
    plain_bytes: int


@dataclass(frozen=True, slots=True)
class ChunkPlaces:
    """For people and the API: one chunk, its pack and the stores with its shards."""

    chunk_id: bytes
    plain_bytes: int
    sealed_bytes: int
    pack_id: bytes
    scheme: str
    stores: tuple[tuple[str, str, str], ...]
    """(store name, zone, shard state) of each shard of the pack."""


def shard_key(pack_id: bytes, number: int) -> str:
    """The key of a shard in its store: 256 prefixes, then the pack's id and the shard's number."""
    name = pack_id.hex()
    return f"shards/{name[:2]}/{name}.{number}"


def parse_shard_key(key: str) -> tuple[bytes, int] | None:
    """The pack id and shard number of a key made by ``shard_key``; None for any other key."""
    name, dot, number = key.rpartition("/")[2].partition(".")
    if not dot or len(name) != 64 or not number.isdigit():
        return None
    try:
        pack_id = bytes.fromhex(name)
    except ValueError:
        return None
    return (pack_id, int(number)) if shard_key(pack_id, int(number)) == key else None
