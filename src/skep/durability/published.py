"""Published content: encrypted bytes under their SHA-256, stored once whoever sends them, for whoever has the hash.

What is stored is a ciphertext whose key travels with its hash and is not kept here; its chunks are of the ``public``
domain, whose secret is a constant. Nobody owns it: it counts against a room of its own.

What always holds:
- one row of ``published`` for each hash, and one object (owned by nobody, ``NOBODY``) for each row;
- ``published_room`` says how many files and bytes these are; both change with them in one transaction, and the bytes
  never pass the limit, however many write at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from skep.base.errors import ChunkNotFound, QuotaExceeded
from skep.base.ids import Id, new_id
from skep.base.waiting import to_the_end
from skep.chunks.manifest import Manifest
from skep.crypto.keys import PUBLIC_DOMAIN_ID
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.records import Content
from skep.durability.service import ChunkService
from skep.stores.protocol import Buffer

NOBODY: Id = bytes(16)
ENCRYPTION = "convergent"
NAME_BYTES_MAX = 200
_p, _r, _o = s.published.c, s.published_room.c, s.objects.c
_INSERT = insert_new(s.published)
_INSERT_OBJECT = insert_new(s.objects)
_INSERT_ROOM = insert_new(s.published_room)
_BY_HASH = prepared(
    sa.select(_p.hash, _p.object_id, _p.name, _p.key_check, _o.size_bytes, _o.manifest, _p.created_us)
    .join_from(s.published, s.objects, _o.id == _p.object_id)
    .where(_p.hash == sa.bindparam("sought"))
)
_DELETE = prepared(sa.delete(s.published).where(_p.hash == sa.bindparam("sought")))
_DELETE_OBJECT = prepared(sa.delete(s.objects).where(_o.id == sa.bindparam("object")))
_ROOM = prepared(sa.select(_r.used_bytes, _r.files).where(_r.id == "all"))
_TAKE = prepared(
    sa.update(s.published_room)
    .where(_r.id == "all", _r.used_bytes + sa.bindparam("size_bytes") <= sa.bindparam("limit_bytes"))
    .values(used_bytes=_r.used_bytes + sa.bindparam("size_bytes"), files=_r.files + 1)
)
_GIVE = prepared(
    sa.update(s.published_room)
    .where(_r.id == "all")
    .values(used_bytes=_r.used_bytes - sa.bindparam("size_bytes"), files=_r.files - 1)
)
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class Published:
    """One content. ``hash``: SHA-256 of the encrypted bytes; ``key_check``: see ``crypto.convergent``."""

    hash: bytes
    object_id: Id
    name: str
    key_check: bytes
    size_bytes: int
    manifest: Manifest
    created_us: int


class Publisher:
    """Stores and finds published content. ``limit_bytes`` is the room for all of it; 0: no limit."""

    def __init__(self, db: Database, chunks: ChunkService, limit_bytes: int = 0) -> None:
        self._db = db
        self._chunks = chunks
        self._limit_bytes = limit_bytes or _NO_LIMIT

    async def put(self, name: str, key_check: bytes, stream: AsyncIterator[Buffer], size_bytes: int) -> Published:
        """Store a ciphertext of so many bytes, or find that it is there already.

        Raises QuotaExceeded (no room; then nothing is stored) and what ``ChunkService.write`` raises.
        """
        used_bytes, _ = await self.room()
        if size_bytes > self._limit_bytes:
            raise self._full(size_bytes, used_bytes)
        keys = await self._chunks.domain(PUBLIC_DOMAIN_ID)
        with self._chunks.writing():
            content = await self._chunks.write(keys, stream, digests=("sha256",), limit_bytes=size_bytes)
            kept = _short(name)
            return await to_the_end(self._db.write_or_find(lambda tx: self._settle(tx, kept, key_check, content)))

    def _settle(self, tx: Transaction, name: str, key_check: bytes, content: Content) -> Published:
        content_hash = content.digests["sha256"]
        there = _found(tx, content_hash)
        if there is not None:
            return there
        made = Published(
            content_hash, new_id(), name, key_check, content.size_bytes, content.manifest, tx.now_us
        )  # fmt: skip
        self._take_room(tx, content.size_bytes)
        self._chunks.reference(tx, PUBLIC_DOMAIN_ID, [content.manifest])
        tx.run(_INSERT_OBJECT, self._object_row(made))
        tx.run(
            _INSERT,
            {
                "hash": made.hash, "object_id": made.object_id, "name": made.name, "key_check": made.key_check,
                "created_us": made.created_us,
            },
        )  # fmt: skip
        return made

    def _object_row(self, made: Published) -> dict[str, object]:
        return {
            "id": made.object_id, "owner_id": NOBODY, "domain_id": PUBLIC_DOMAIN_ID, "encryption": ENCRYPTION,
            "durability": self._chunks.scheme.name, "size_bytes": made.size_bytes, "manifest": made.manifest.encode(),
            "created_us": made.created_us,
        }  # fmt: skip

    def _take_room(self, tx: Transaction, size_bytes: int) -> None:
        if tx.one(_ROOM) is None:
            tx.run(_INSERT_ROOM, {"id": "all", "used_bytes": 0, "files": 0})
        if not tx.run(_TAKE, {"size_bytes": size_bytes, "limit_bytes": self._limit_bytes}):
            raise self._full(size_bytes, (tx.one(_ROOM) or (0,))[0])

    def _full(self, size_bytes: int, used_bytes: int) -> QuotaExceeded:
        return QuotaExceeded(
            f"{size_bytes} bytes do not fit: {used_bytes} of {self._limit_bytes} bytes of published content are used",
            size_bytes=size_bytes,
            used_bytes=used_bytes,
            quota_bytes=self._limit_bytes,
        )

    async def get(self, content_hash: bytes) -> Published:
        """The content of a hash. Raises ChunkNotFound."""
        found = await self._db.read(lambda tx: _found(tx, content_hash))
        if found is None:
            raise _missing()
        return found

    async def read(self, published: Published, offset: int, length: int) -> AsyncIterator[bytes]:
        """Verified encrypted bytes of a content."""
        keys = await self._chunks.domain(PUBLIC_DOMAIN_ID)
        async for part in self._chunks.read(keys, published.manifest, offset, length):
            yield part

    async def is_near(self, published: Published) -> bool:
        """Whether all that is needed to read it is on stores of this machine."""
        near = {member.name for member in self._chunks.stores if not member.cached}
        places = await self._chunks.places(PUBLIC_DOMAIN_ID, published.manifest)
        return all(place[0] in near for chunk in places for place in chunk.stores)

    async def delete(self, content_hash: bytes) -> None:
        """Forget a content; its chunks are collected when nothing else needs them. Raises ChunkNotFound."""

        def work(tx: Transaction) -> None:
            there = _found(tx, content_hash)
            if there is None or not tx.run(_DELETE, {"sought": content_hash}):
                raise _missing()
            tx.run(_DELETE_OBJECT, {"object": there.object_id})
            tx.run(_GIVE, {"size_bytes": there.size_bytes})
            self._chunks.release(tx, PUBLIC_DOMAIN_ID, [there.manifest])

        await self._db.write(work)

    async def room(self) -> tuple[int, int]:
        """How many bytes of published content there are, and how many files."""
        found = await self._db.read(lambda tx: tx.one(_ROOM))
        return (0, 0) if found is None else (int(found[0]), int(found[1]))


def _found(tx: Transaction, content_hash: bytes) -> Published | None:
    row: tuple[Any, ...] | None = tx.one(_BY_HASH, {"sought": content_hash})
    if row is None:
        return None
    known, object_id, name, check, size, manifest, created = row
    return Published(
        bytes(known),
        bytes(object_id),
        str(name),
        bytes(check),
        int(size),
        Manifest.decode(bytes(manifest)),
        int(created),
    )


def _short(name: str) -> str:
    """As much of a file's name as is kept, without its directories and control characters."""
    plain = "".join(char for char in name.replace("\\", "/").rsplit("/", 1)[-1] if char.isprintable())
    return plain.encode("utf-8", "replace")[:NAME_BYTES_MAX].decode("utf-8", "ignore") or "file"


def _missing() -> ChunkNotFound:
    return ChunkNotFound("nothing is published under this hash: check it, or upload the file")
