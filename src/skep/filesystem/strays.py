"""Rows of something which is not there any more: locks, properties, what doors keep, tags, share answers, links.

They do no harm and nothing removes them: whatever deletes a node deletes them with it, in the same transaction, so one
that is found is the trace of a bug or of somebody who changed the database by hand. Part of ``skep fsck``; they are
looked for in bounded pages, and taken away when it is asked to mend, if they are strays then still.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.ids import Id, id_text
from skep.db import Statement, Transaction, prepared
from skep.db import schema as s
from skep.filesystem.findings import Finding, Page

PAGE = 500


class _Kind(NamedTuple):
    """Rows of one table by the id of what they belong to."""

    check: str
    what: str
    owner: str
    listing: Statement
    drop: Statement


def _kind(check: str, what: str, column: sa.Column[bytes], *owners: sa.Column[bytes]) -> _Kind:
    """``column`` names what a row belongs to; that is there if one of the ``owners`` has it."""
    table = column.table
    assert isinstance(table, sa.Table)
    joined: sa.FromClause = table
    for owner in owners:
        joined = joined.join(owner.table, owner == column, isouter=True)
    count = (
        sa.select(column, sa.func.count(), *owners)
        .select_from(joined)
        .where(column > sa.bindparam("after"))
        .group_by(column, *owners)
        .order_by(column)
        .limit(PAGE)
    )
    missing = [~sa.exists().where(owner == sa.bindparam("gone")) for owner in owners]
    drop = sa.delete(table).where(column == sa.bindparam("gone"), *missing)
    names = " or ".join(owner.table.name.removesuffix("s") for owner in owners)
    return _Kind(check, what, names, prepared(count), prepared(drop))


_KINDS = (
    _kind("lock", "locks", s.locks.c.node_id, s.nodes.c.id),
    _kind("property", "properties", s.properties.c.node_id, s.nodes.c.id),
    _kind("facts", "facts of doors", s.facts.c.about_id, s.versions.c.id, s.nodes.c.id),
    _kind("bucket", "settings of a bucket", s.buckets.c.node_id, s.nodes.c.id),
    _kind("tag", "tags", s.tags.c.node_id, s.nodes.c.id),
    _kind("share", "answers to a share", s.share_holders.c.share_id, s.shares.c.id),
    _kind("link", "links", s.links.c.id, s.shares.c.id),
)


def _check(kind: _Kind, tx: Transaction, after: Id) -> Page:
    rows = tx.rows(kind.listing, {"after": after})
    findings = [_finding(kind, row[0], row[1]) for row in rows if not any(row[2:])]
    return findings, rows[-1][0] if len(rows) == PAGE else None


def _finding(kind: _Kind, gone: Id, count: int) -> Finding:
    def mend(tx: Transaction) -> None:
        tx.run(kind.drop, {"gone": gone})

    message = (
        f"{count} row{'s' if count != 1 else ''} ({kind.what}) of the {kind.owner} {id_text(gone)}, which is not there"
    )
    return Finding(kind.check, None, None, message, mend=mend)


CHECKS: tuple[Callable[[Transaction, Id], Page], ...] = tuple(partial(_check, kind) for kind in _KINDS)
"""One look for each kind."""
