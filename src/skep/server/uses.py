"""Everything in the hive that references chunks: versions of files, and objects. For fsck and recovery."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Statement, Transaction, prepared
from skep.db import schema as s

PAGE = 500
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
_OBJECTS = prepared(
    sa.select(_o.id, _o.domain_id, _o.manifest).where(_o.id > sa.bindparam("after")).order_by(_o.id).limit(PAGE)
)


def uses_of_chunks(tx: Transaction) -> Iterator[tuple[Id, bytes]]:
    """Every encoded manifest with the domain of its chunks."""
    yield from _pages(tx, _VERSIONS)
    yield from _pages(tx, _OBJECTS)


def _pages(tx: Transaction, statement: Statement) -> Iterator[tuple[Id, bytes]]:
    after = _FIRST
    while rows := tx.rows(statement, {"after": after}):
        for _, domain_id, manifest in rows:
            yield bytes(domain_id), bytes(manifest)
        after = bytes(rows[-1][0])
