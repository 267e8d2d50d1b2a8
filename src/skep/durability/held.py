"""Chunks that somebody sends to members of their own, under ids of their own: what the services' URLs keep.

A *service* names the members: ``array`` the agents, ``cloud`` the providers' stores, ``both`` either. What comes in is
an object (objects.py) of a domain whose packs lie on those members alone (pools.py), each replica whole on another one;
so it is sealed, verified, audited, repaired, counted and collected like everything else. Here is what the client calls
it.

What always holds: of one owner and service an id names at most one object, which nothing else names; the same content
under the same id is stored once however often it is sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from skep.base.errors import BadInput, ChunkNotFound, Conflict, TooFewMembers
from skep.base.ids import Id, id_text
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import digest
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.objects import Objects, StoredObject
from skep.durability.pools import Pool
from skep.durability.records import Content
from skep.durability.service import ChunkService
from skep.stores.protocol import Buffer

REPLICAS_MAX = 16
PAGE_MAX = 1000
_NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")

_h, _o = s.held_chunks.c, s.objects.c
_ROW = sa.select(_h.chunk_id, _h.object_id, _h.digest, _h.replicas, _h.created_us, _o.size_bytes).join_from(
    s.held_chunks, s.objects, _o.id == _h.object_id
)
_OF = (_h.owner_id == sa.bindparam("owner"), _h.service == sa.bindparam("of"))
_BY_NAME = prepared(_ROW.where(*_OF, _h.chunk_id == sa.bindparam("named")))
_PAGE = prepared(
    _ROW.where(*_OF, _h.chunk_id > sa.bindparam("after")).order_by(_h.chunk_id).limit(sa.bindparam("page"))
)
_ADD = insert_new(s.held_chunks)
_RAISE = prepared(
    sa.update(s.held_chunks).where(*_OF, _h.chunk_id == sa.bindparam("named")).values(replicas=sa.bindparam("count"))
)
_RAISE_OBJECT = prepared(
    sa.update(s.objects).where(_o.id == sa.bindparam("object")).values(durability=sa.bindparam("as_scheme"))
)


@dataclass(frozen=True, slots=True)
class HeldChunk:
    """One chunk by its owner's name for it."""

    chunk_id: str
    object_id: Id
    digest: bytes
    replicas: int
    created_us: int
    size_bytes: int


class HeldChunks:
    """Keeps, finds and drops chunks on members. Lives on one event loop."""

    def __init__(self, db: Database, chunks: ChunkService, objects: Objects) -> None:
        self._db = db
        self._chunks = chunks
        self._objects = objects

    async def put(
        self,
        owner_id: Id,
        service: str,
        chunk_id: str | None,
        stream: AsyncIterator[Buffer],
        replicas: int,
        *,
        encryption: str = "aes256-gcm",
    ) -> tuple[HeldChunk, bool]:
        """Store a stream on so many members, under an id or one that the hive gives; whether it is new.

        The same content under its id changes nothing, except that more replicas may be made. Raises Conflict (another
        content has that id), TooFewMembers, BadInput, QuotaExceeded and what ``ChunkService.write`` raises.
        """
        if chunk_id is not None:
            _check_name(chunk_id)
        scheme = replicated(replicas)
        self._check_members(owner_id, service, replicas)
        domain_id = await self._objects.domain_of_service(owner_id, service)

        def settle(tx: Transaction, content: Content) -> tuple[HeldChunk, bool]:
            there = None if chunk_id is None else _named(tx, owner_id, service, chunk_id)
            if there is not None:
                return _again(tx, owner_id, service, there, content, scheme), False
            made = self._objects.record(tx, owner_id, domain_id, encryption, scheme, content)
            held = HeldChunk(
                chunk_id or id_text(made.id), made.id, _digest(content), replicas, tx.now_us, content.size_bytes
            )
            tx.run(_ADD, _row(owner_id, service, held))
            return held, True

        return await self._objects.store(owner_id, domain_id, stream, scheme, settle)

    def _check_members(self, owner_id: Id, service: str, replicas: int) -> None:
        """Raise TooFewMembers before a body is read for nothing."""
        tier_of = self._chunks.pools.tiers(Pool(owner_id, service))
        there = [each for each in self._chunks.stores if each.state == "active" and tier_of(each) is not None]
        if len(there) < replicas:
            up = f"{len(there)} of the kind that {service} asks for"
            raise TooFewMembers(
                f"{replicas} replicas need as many members and you have {up}: ask for fewer with ?replicas=, or add "
                "members with `skep store add --mine` or `skep agent invite --mine`",
                there_are=len(there),
                needed=replicas,
            )

    async def get(self, owner_id: Id, service: str, chunk_id: str) -> tuple[HeldChunk, StoredObject]:
        """A chunk and its content. Raises ChunkNotFound."""

        def work(tx: Transaction) -> tuple[HeldChunk, StoredObject]:
            held = _must(tx, owner_id, service, chunk_id)
            return held, self._objects.known(tx, owner_id, held.object_id)

        return await self._db.read(work)

    async def list(self, owner_id: Id, service: str, after: str, limit: int) -> Sequence[HeldChunk]:
        """Some of an owner's chunks by name, from after a name on."""
        given = {"owner": owner_id, "of": service, "after": after, "page": min(limit, PAGE_MAX)}
        return [_held(row) for row in await self._db.read(lambda tx: tx.rows(_PAGE, given))]

    async def delete(self, owner_id: Id, service: str, chunk_id: str) -> None:
        """Forget a chunk; its replicas are collected after the grace period. Raises ChunkNotFound."""

        def work(tx: Transaction) -> None:
            self._objects.drop(tx, owner_id, _must(tx, owner_id, service, chunk_id).object_id)

        await self._db.write(work)


def replicated(replicas: int) -> Scheme:
    """The scheme of so many whole replicas. Raises BadInput."""
    if not 1 <= replicas <= REPLICAS_MAX:
        raise BadInput(f"a chunk has 1 to {REPLICAS_MAX} replicas, not {replicas}")
    return Scheme.parse("none" if replicas == 1 else f"raid1({replicas})")


def _check_name(chunk_id: str) -> None:
    if _NAME.fullmatch(chunk_id) is None or chunk_id in (".", ".."):
        raise BadInput("a chunk's id is of 1 to 64 letters, digits, dots, dashes, underlines and tildes")


def _again(
    tx: Transaction, owner_id: Id, service: str, there: HeldChunk, content: Content, scheme: Scheme
) -> HeldChunk:
    """What is there already, with more replicas if so many were asked for. Raises Conflict."""
    if there.digest != _digest(content):
        raise Conflict(
            f"another content is stored as {there.chunk_id!r}: delete it first, or take another id",
            chunk_id=there.chunk_id,
        )
    if scheme.total <= there.replicas:
        return there
    tx.run(_RAISE, {"owner": owner_id, "of": service, "named": there.chunk_id, "count": scheme.total})
    tx.run(_RAISE_OBJECT, {"object": there.object_id, "as_scheme": scheme.name})
    return replace(there, replicas=scheme.total)


def _digest(content: Content) -> bytes:
    """Tells contents of one domain apart: the ids of its chunks are keyed hashes."""
    return digest(content.manifest.encode())


def _named(tx: Transaction, owner_id: Id, service: str, chunk_id: str) -> HeldChunk | None:
    row = tx.one(_BY_NAME, {"owner": owner_id, "of": service, "named": chunk_id})
    return None if row is None else _held(row)


def _must(tx: Transaction, owner_id: Id, service: str, chunk_id: str) -> HeldChunk:
    held = _named(tx, owner_id, service, chunk_id) if len(chunk_id) <= 64 else None
    if held is None:
        raise ChunkNotFound(f"There is no chunk {chunk_id[:64]!r} in your {service}.")
    return held


def _held(row: Sequence[Any]) -> HeldChunk:
    chunk_id, object_id, known, replicas, created_us, size_bytes = row
    return HeldChunk(chunk_id, bytes(object_id), bytes(known), int(replicas), int(created_us), int(size_bytes))


def _row(owner_id: Id, service: str, held: HeldChunk) -> dict[str, object]:
    return {
        "owner_id": owner_id,
        "service": service,
        "chunk_id": held.chunk_id,
        "object_id": held.object_id,
        "digest": held.digest,
        "replicas": held.replicas,
        "created_us": held.created_us,
    }
