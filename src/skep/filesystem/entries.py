"""What is in a directory as rows, for doors that make text of ten thousands of them.

A record for each entry costs more than finding and writing it. So a page is one query's rows, and what a door makes of
them is made in the thread that read them: the event loop gets bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem import properties, tags, tree
from skep.filesystem.records import DIRECTORY_MIME, NodeInfo

EntryRow: TypeAlias = tuple[Any, ...]
"""One entry: name, id, size_bytes, etag, mime, created_us, modified_us, version number (None: a directory), attributes
(JSON, or None), number of its last change; and, where asked for, the digests md5, sha1 and sha256, each or None.

What they mean is what ``NodeInfo`` says.
"""

_n, _v = s.nodes.c, s.versions.c
_COLUMNS = (
    _n.name, _n.id, _n.size_bytes, _n.etag, _n.mime, _n.created_us, _n.modified_us, _n.version_number, _n.attributes,
    _n.changed,
)  # fmt: skip
_IN_ORDER = (_n.parent_id == sa.bindparam("parent"), _n.name > sa.bindparam("after"))
_ROWS = prepared(sa.select(*_COLUMNS).where(*_IN_ORDER).order_by(_n.name).limit(sa.bindparam("count")))
_ROWS_AND_DIGESTS = prepared(
    sa.select(*_COLUMNS, _v.md5, _v.sha1, _v.sha256)
    .join_from(s.nodes, s.versions, _v.id == _n.version_id, isouter=True)
    .where(*_IN_ORDER)
    .order_by(_n.name)
    .limit(sa.bindparam("count"))
)


class Wants(NamedTuple):
    """What a door wants to know of entries beside their rows. What is not asked for is left empty."""

    digests: bool = False
    tags: bool = False
    properties: bool = False


class Entries(NamedTuple):
    """A run of what is in a directory, by the bytes of names."""

    space_id: Id
    """Of the space, or of the share that it is seen through."""
    directory_id: Id
    directory_path: str
    rows: Sequence[EntryRow]
    following: str | None
    """More follow: those after this name."""
    tags: Mapping[Id, tuple[str, ...]]
    """The asking user's own."""
    properties: Mapping[Id, Mapping[str, str]]
    """Dead properties by name, of those that have any."""


def page(
    tx: Transaction,
    seen_id: Id,
    space_id: Id,
    directory: tuple[Id, str],
    user_id: Id,
    after: str,
    count: int,
    wants: Wants,
) -> Entries:
    """Up to ``count`` entries of a directory (its id and path) whose names come after ``after``."""
    directory_id, path = directory
    span = {"parent": directory_id, "after": after, "count": count}
    found = tx.rows(_ROWS_AND_DIGESTS if wants.digests else _ROWS, span)
    rows = [row if row[3] is not None else _of_directory(space_id, row) for row in found]
    return Entries(
        seen_id,
        directory_id,
        path,
        rows,
        rows[-1][0] if len(rows) == count else None,
        tags.of_children(tx, user_id, directory_id) if wants.tags else {},
        properties.of_nodes(tx, [row[1] for row in rows]) if wants.properties else {},
    )


def _of_directory(space_id: Id, row: EntryRow) -> EntryRow:
    return (*row[:3], tree.directory_etag(space_id, row[9]), DIRECTORY_MIME, *row[5:])


def rows_of(nodes: Iterable[NodeInfo]) -> list[EntryRow]:
    """Nodes that are known already, as rows; without attributes."""
    return [
        (
            node.name, node.id, node.size_bytes, node.etag, node.mime, node.created_us, node.modified_us,
            None if node.is_directory else node.version_number or 0, None, 0, node.md5, node.sha1, node.sha256,
        )
        for node in nodes
    ]  # fmt: skip
