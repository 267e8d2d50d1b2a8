"""Facts: what a door keeps of a version, or of a directory, beside what every door knows.

An ETag of the door's own, headers, the client's words about the content. They belong to a version's id (a directory's
are under the id of its node), so that moves keep them, a new version starts without, and they go when it goes.
Copies and restored versions take them along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared, upsert
from skep.db import schema as s

IDS_PER_STATEMENT = 512


class Facts(NamedTuple):
    """``etag``: None where the content's MD5 serves; ``document``: JSON that its door understands."""

    etag: str | None
    document: str | None


_c = s.facts.c
INSERT = insert_new(s.facts)
_PUT = upsert(s.facts, ["about_id"], ["etag", "document"])
_OF = prepared(sa.select(_c.etag, _c.document).where(_c.about_id == sa.bindparam("about")))
_OF_MANY = prepared(
    sa.select(_c.about_id, _c.etag, _c.document).where(_c.about_id.in_(sa.bindparam("ids", expanding=True)))
)
_DROP = prepared(sa.delete(s.facts).where(_c.about_id.in_(sa.bindparam("ids", expanding=True))))
_DROP_BUCKETS = prepared(sa.delete(s.buckets).where(s.buckets.c.node_id.in_(sa.bindparam("ids", expanding=True))))


def row(about_id: Id, facts: Facts) -> dict[str, object]:
    """A row of the table."""
    return {"about_id": about_id, "etag": facts.etag, "document": facts.document}


def of(tx: Transaction, about_id: Id) -> Facts | None:
    """The facts of a version or a directory."""
    found = tx.one(_OF, {"about": about_id})
    return None if found is None else Facts(*found)


def of_many(tx: Transaction, ids: Sequence[Id]) -> dict[Id, Facts]:
    """The facts of those that have some."""
    found: dict[Id, Facts] = {}
    for part in _parts(ids):
        found.update((about_id, Facts(etag, document)) for about_id, etag, document in tx.rows(_OF_MANY, {"ids": part}))
    return found


def put(tx: Transaction, about_id: Id, facts: Facts) -> None:
    """Make these the facts, whatever they were."""
    tx.run(_PUT, row(about_id, facts))


def copy(tx: Transaction, copies: Mapping[Id, Id]) -> None:
    """Give copies the facts of their originals; ``copies`` maps the originals to them."""
    found = of_many(tx, list(copies))
    tx.many(INSERT, [row(copies[about_id], facts) for about_id, facts in found.items()])


def drop(tx: Transaction, ids: Sequence[Id]) -> None:
    """Forget the facts of what goes."""
    for part in _parts(ids):
        tx.run(_DROP, {"ids": part})


def drop_buckets(tx: Transaction, node_ids: Sequence[Id]) -> None:
    """Forget what directories that go had as buckets."""
    for part in _parts(node_ids):
        tx.run(_DROP_BUCKETS, {"ids": part})


def _parts(ids: Sequence[Id]) -> list[Sequence[Id]]:
    return [ids[at : at + IDS_PER_STATEMENT] for at in range(0, len(ids), IDS_PER_STATEMENT)]
