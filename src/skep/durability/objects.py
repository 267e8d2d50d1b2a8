"""Objects: content that somebody stored by itself, under an id that the hive gave, without a file.

The chunk door (``/api/chunk/``) stands on this. An object may be larger than one chunk; it is cut,
sealed, coded and placed like any content, and found again by its id alone, by its owner alone,
against whose quota it counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from skep.base.errors import ChunkNotFound
from skep.base.ids import Id, id_text, new_id
from skep.base.waiting import to_the_end
from skep.chunks.manifest import Manifest
from skep.chunks.scheme import Scheme
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.records import ChunkPlaces, Content
from skep.durability.service import ChunkService
from skep.stores.protocol import Buffer

T = TypeVar("T")
_o, _d = s.objects.c, s.domains.c

_INSERT = insert_new(s.objects)
_BY_ID = prepared(
    sa.select(
        _o.id, _o.owner_id, _o.domain_id, _o.encryption, _o.durability, _o.size_bytes, _o.manifest, _o.created_us
    ).where(_o.id == sa.bindparam("object"))
)
_FORGET_NAME = prepared(sa.delete(s.held_chunks).where(s.held_chunks.c.object_id == sa.bindparam("object")))
_DELETE = prepared(sa.delete(s.objects).where(_o.id == sa.bindparam("object")))
_SOME_OF_OWNER = prepared(
    sa.select(_o.id, _o.domain_id, _o.manifest).where(_o.owner_id == sa.bindparam("owner")).order_by(_o.id).limit(500)
)
_DOMAIN_OF = prepared(
    sa.select(_d.id).where(_d.kind == "account", _d.owner_id == sa.bindparam("owner")).order_by(_d.created_us).limit(1)
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object and how to read it."""

    id: Id
    owner_id: Id
    domain_id: Id
    encryption: str
    durability: str
    size_bytes: int
    manifest: Manifest
    created_us: int


class Payer(Protocol):
    """Whose room an object takes; all in the caller's transaction. The package that keeps spaces fills it."""

    def room(self, tx: Transaction, owner_id: Id) -> int | None:
        """Bytes that the owner may still store; None: no limit."""
        ...

    def charge(self, tx: Transaction, owner_id: Id, size_bytes: int) -> None:
        """Count new bytes, or raise QuotaExceeded."""
        ...

    def give_back(self, tx: Transaction, owner_id: Id, size_bytes: int) -> None:
        """Count bytes as gone."""
        ...


class References(Protocol):
    """The part of the chunk service that gives chunks up."""

    def release(self, tx: Transaction, domain_id: Id, manifests: Iterable[Manifest]) -> None: ...


class Objects:
    """Stores, finds and deletes objects. Lives on one event loop."""

    def __init__(self, db: Database, chunks: ChunkService, payer: Payer) -> None:
        self._db = db
        self._chunks = chunks
        self._payer = payer

    async def put(
        self, owner_id: Id, stream: AsyncIterator[Buffer], *, scheme: Scheme | None, encryption: str
    ) -> StoredObject:
        """Store a stream; ``scheme`` None is the hive's.

        Raises QuotaExceeded (then nothing is stored) and what ``ChunkService.write`` raises.
        """
        domain_id = await self._domain_of(owner_id)
        used = scheme or self._chunks.scheme
        return await self.store(
            owner_id,
            domain_id,
            stream,
            used,
            lambda tx, content: self.record(tx, owner_id, domain_id, encryption, used, content),
        )

    async def store(
        self,
        owner_id: Id,
        domain_id: Id,
        stream: AsyncIterator[Buffer],
        scheme: Scheme,
        settle: Callable[[Transaction, Content], T],
    ) -> T:
        """Make a stream durable and let ``settle`` say, in one transaction, what becomes of it.

        Raises QuotaExceeded and what ``ChunkService.write`` raises.
        """
        keys = await self._chunks.domain(domain_id)
        room_bytes = await self._db.read(lambda tx: self._payer.room(tx, owner_id))
        with self._chunks.writing():
            content = await self._chunks.write(keys, stream, scheme=scheme, limit_bytes=room_bytes)
            return await to_the_end(self._db.write(lambda tx: settle(tx, content)))

    def record(
        self, tx: Transaction, owner_id: Id, domain_id: Id, encryption: str, scheme: Scheme, content: Content
    ) -> StoredObject:
        """A new object for durable content: its owner pays for it. Raises QuotaExceeded."""
        self._payer.charge(tx, owner_id, content.size_bytes)
        self._chunks.reference(tx, domain_id, [content.manifest])
        made = StoredObject(
            new_id(), owner_id, domain_id, encryption, scheme.name, content.size_bytes, content.manifest, tx.now_us
        )
        tx.run(_INSERT, _row(made))
        return made

    def known(self, tx: Transaction, owner_id: Id, object_id: Id) -> StoredObject:
        """``get`` inside a transaction."""
        return _owned(tx.one(_BY_ID, {"object": object_id}), owner_id, object_id)

    async def domain_of_service(self, owner_id: Id, service: str) -> Id:
        """The owner's domain for what goes to members of one kind."""
        return await self._db.write(lambda tx: self._chunks.domains.of_service(tx, service, owner_id))

    async def get(self, owner_id: Id, object_id: Id) -> StoredObject:
        """An object of this owner. Raises ChunkNotFound, also for another's."""
        row = await self._db.read(lambda tx: tx.one(_BY_ID, {"object": object_id}))
        return _owned(row, owner_id, object_id)

    async def read(self, stored: StoredObject, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The object's verified bytes."""
        keys = await self._chunks.domain(stored.domain_id)
        async for part in self._chunks.read(keys, stored.manifest, offset, length):
            yield part

    async def places(self, stored: StoredObject) -> Sequence[ChunkPlaces]:
        """Where its chunks lie."""
        return await self._chunks.places(stored.domain_id, stored.manifest)

    async def delete(self, owner_id: Id, object_id: Id) -> None:
        """Forget an object; its chunks are collected when nothing else needs them. Raises ChunkNotFound."""

        await self._db.write(lambda tx: self.drop(tx, owner_id, object_id))

    def drop(self, tx: Transaction, owner_id: Id, object_id: Id) -> None:
        """``delete`` inside a transaction."""
        stored = _owned(tx.one(_BY_ID, {"object": object_id}), owner_id, object_id)
        if not tx.run(_DELETE, {"object": object_id}):
            raise _missing(object_id)  # another deleted it in the same moment, and gave its room back
        tx.run(_FORGET_NAME, {"object": object_id})
        self._payer.give_back(tx, owner_id, stored.size_bytes)
        self._chunks.release(tx, stored.domain_id, [stored.manifest])

    async def _domain_of(self, owner_id: Id) -> Id:
        """The owner's own domain, so that objects and files share what they have in common."""

        def look(tx: Transaction) -> Id | None:
            found = tx.value(_DOMAIN_OF, {"owner": owner_id})
            return None if found is None else bytes(found)

        found = await self._db.read(look)
        if found is not None:
            return found
        return await self._db.write(lambda tx: look(tx) or self._chunks.create_domain(tx, owner_id))


def _row(stored: StoredObject) -> dict[str, object]:
    return {
        "id": stored.id,
        "owner_id": stored.owner_id,
        "domain_id": stored.domain_id,
        "encryption": stored.encryption,
        "durability": stored.durability,
        "size_bytes": stored.size_bytes,
        "manifest": stored.manifest.encode(),
        "created_us": stored.created_us,
    }


def _owned(row: tuple[Any, ...] | None, owner_id: Id, object_id: Id) -> StoredObject:
    if row is None or bytes(row[1]) != owner_id:
        raise _missing(object_id)
    found, owner, domain, encryption, durability, size, manifest, created = row
    return StoredObject(
        bytes(found),
        bytes(owner),
        bytes(domain),
        str(encryption),
        str(durability),
        int(size),
        Manifest.decode(bytes(manifest)),
        int(created),
    )


def _missing(object_id: Id) -> ChunkNotFound:
    return ChunkNotFound(f"There is no chunk {id_text(object_id)}.")


def drop_objects_of(tx: Transaction, chunks: References, owner_id: Id) -> None:
    """Forget all objects of an owner who goes; there is nobody left to ask for them."""
    while rows := tx.rows(_SOME_OF_OWNER, {"owner": owner_id}):
        for object_id, domain_id, manifest in rows:
            tx.run(_DELETE, {"object": object_id})
            tx.run(_FORGET_NAME, {"object": object_id})
            chunks.release(tx, bytes(domain_id), [Manifest.decode(bytes(manifest))])
