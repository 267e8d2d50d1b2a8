"""All that references chunks in the hive: versions of files, parts of uploads, objects. For fsck and recovery."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

import sqlalchemy as sa

from skep.base.errors import CorruptRecord
from skep.base.ids import Id, id_text
from skep.chunks.manifest import Manifest
from skep.db import Statement, Transaction, prepared
from skep.db import schema as s

PAGE = 500
Use = tuple[Id, bytes]
"""A domain and an encoded manifest of its chunks."""
_v, _o = s.versions.c, s.objects.c
_FIRST: Id = bytes(16)
_VERSIONS = prepared(
    sa.select(_v.id, s.spaces.c.domain_id, _v.manifest)
    .join_from(s.versions, s.nodes, s.nodes.c.id == _v.node_id)
    .join(s.spaces, s.spaces.c.id == s.nodes.c.space_id)
    .where(_v.id > sa.bindparam("after"))
    .order_by(_v.id)
    .limit(PAGE)
)
_CURRENT = prepared(
    sa.select(_v.id, s.spaces.c.domain_id, _v.manifest)
    .join_from(s.versions, s.nodes, s.nodes.c.version_id == _v.id)
    .join(s.spaces, s.spaces.c.id == s.nodes.c.space_id)
    .where(_v.id > sa.bindparam("after"))
    .order_by(_v.id)
    .limit(PAGE)
)
_OBJECTS = prepared(
    sa.select(_o.id, _o.domain_id, _o.manifest).where(_o.id > sa.bindparam("after")).order_by(_o.id).limit(PAGE)
)
_FILES = prepared(
    sa.select(_v.id, s.spaces.c.domain_id, _v.manifest, _v.node_id, _v.number, s.spaces.c.name)
    .join_from(s.versions, s.nodes, s.nodes.c.id == _v.node_id)
    .join(s.spaces, s.spaces.c.id == s.nodes.c.space_id)
    .where(_v.id > sa.bindparam("after"))
    .order_by(_v.id)
    .limit(PAGE)
)
_p, _u = s.upload_parts.c, s.uploads.c
_PARTS = prepared(
    sa.select(_p.upload_id, s.spaces.c.domain_id, _p.manifest, _p.number, s.spaces.c.name, _u.path)
    .join_from(s.upload_parts, s.uploads, _u.id == _p.upload_id)
    .join(s.spaces, s.spaces.c.id == _u.space_id)
    .where(_p.upload_id == sa.bindparam("upload"), _p.number > sa.bindparam("after"))
    .order_by(_p.number)
    .limit(PAGE)
)
_UPLOADS = prepared(
    sa.select(_u.id).where(_u.id > sa.bindparam("after"), _u.part_count > 0).order_by(_u.id).limit(PAGE)
)
_NODE = prepared(sa.select(s.nodes.c.parent_id, s.nodes.c.name).where(s.nodes.c.id == sa.bindparam("node")))
_TRASHED = prepared(sa.select(s.trash.c.path).where(s.trash.c.node_id == sa.bindparam("node")))
DEPTH_MAX = 10_000


def needing(tx: Transaction, chunks: Set[tuple[Id, bytes]], limit: int) -> list[str]:
    """The first ``limit`` versions, objects and uploads that need any of these chunks, as a person finds them.

    ``space:/path (version 3)``, ``space:/path (version 3, in the trash)``, ``space:/path (unfinished upload)`` or
    ``object <id>``.
    """
    found: list[str] = []
    for row in _rows(tx, _FILES):
        if len(found) < limit and _needs(bytes(row[1]), bytes(row[2]), chunks):
            path, state = _path(tx, bytes(row[3]))
            found.append(f"{row[5]}:{path} (version {row[4]}{state})")
    for row in _rows(tx, _OBJECTS):
        if len(found) < limit and _needs(bytes(row[1]), bytes(row[2]), chunks):
            found.append(f"object {id_text(bytes(row[0]))}")
    for row in _parts(tx):
        if len(found) < limit and _needs(bytes(row[1]), bytes(row[2]), chunks):
            where = f"{row[4]}:{row[5] or '?'} (unfinished upload)"
            if where not in found:
                found.append(where)
    return found


def _needs(domain_id: Id, encoded: bytes, chunks: Set[tuple[Id, bytes]]) -> bool:
    try:
        return any((domain_id, ref.id) in chunks for ref in Manifest.decode(encoded).chunks)
    except CorruptRecord:
        return True


def _path(tx: Transaction, node_id: Id) -> tuple[str, str]:
    """A node's path, and ``, in the trash`` if it is there."""
    names: list[str] = []
    at: Id | None = node_id
    for _ in range(DEPTH_MAX):
        node = tx.one(_NODE, {"node": at})
        if node is None:
            break
        if node[0] is None:
            trashed = tx.value(_TRASHED, {"node": at})
            if trashed is not None:
                return "/".join([trashed, *reversed(names)]), ", in the trash"
            break
        names.append(node[1])
        at = bytes(node[0])
    return "/" + "/".join(reversed(names)), ""


def uses_of_chunks(tx: Transaction) -> Iterator[tuple[Id, bytes]]:
    """Every encoded manifest with the domain of its chunks."""
    yield from _pages(tx, _VERSIONS)
    yield from _pages(tx, _OBJECTS)
    for row in _parts(tx):
        yield bytes(row[1]), bytes(row[2])


def _parts(tx: Transaction) -> Iterator[tuple[Any, ...]]:
    """The parts of all uploads."""
    for (upload_id,) in _rows(tx, _UPLOADS):
        after = -1
        while rows := tx.rows(_PARTS, {"upload": upload_id, "after": after}):
            yield from rows
            after = rows[-1][3]


def contents(tx: Transaction, after: tuple[str, Id], *, all_versions: bool) -> tuple[list[Use], tuple[str, Id] | None]:
    """Some contents from a place on - current versions or all of them, then objects - and the next place.

    The first place is ``("", b"")``; None comes after the last.
    """
    kind, last = after
    if kind in ("", "versions"):
        rows = tx.rows(_VERSIONS if all_versions else _CURRENT, {"after": last or _FIRST})
        following: tuple[str, Id] | None = ("versions", bytes(rows[-1][0])) if rows else ("objects", _FIRST)
    else:
        rows = tx.rows(_OBJECTS, {"after": last})
        following = ("objects", bytes(rows[-1][0])) if rows else None
    return [(bytes(row[1]), bytes(row[2])) for row in rows], following


def _pages(tx: Transaction, statement: Statement) -> Iterator[tuple[Id, bytes]]:
    for row in _rows(tx, statement):
        yield bytes(row[1]), bytes(row[2])


def _rows(tx: Transaction, statement: Statement) -> Iterator[tuple[Any, ...]]:
    after = _FIRST
    while rows := tx.rows(statement, {"after": after}):
        yield from rows
        after = bytes(rows[-1][0])
