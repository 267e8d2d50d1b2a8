"""The tree of nodes: finding by path and by id, the way up, and what a change means to all directories above it.

What always holds:
- a node lives when its parents lead to the root of its space; a trashed one leads to a node whose parent is null
  and which has a row in the trash;
- every writer of a space first locks the row of the space (``spaces.lock`` or ``quota.charge``), so between its
  look at the tree and its commit nobody else changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.errors import NodeNotFound
from skep.base.ids import Id
from skep.db import Statement, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.filesystem.names import DEPTH_MAX, Segments, join_path

RESOLVE_SEGMENTS_MAX = 8
"""Segments that one statement resolves; longer paths take one for each eight."""
NAMES_AT_ONCE = 256
"""Names that one statement looks for in a directory."""


class Node(NamedTuple):
    """A row of ``nodes``."""

    id: Id
    space_id: Id
    parent_id: Id | None
    name: str
    kind: str
    size_bytes: int
    changed: int
    version_id: Id | None
    version_number: int | None
    etag: str | None
    mime: str | None
    created_us: int
    modified_us: int
    attributes: str | None

    @property
    def is_directory(self) -> bool:
        return self.kind == "directory"


class Place(NamedTuple):
    """What a path leads to in a space."""

    segments: Segments
    """All names of the path."""
    chain: tuple[Id, ...]
    """The directories from the root down to the node's parent, as far as they exist."""
    node: Node | None
    """What is there; None: nothing."""
    blocked_by: str | None
    """The path of a file that stands where a directory should be."""
    base: int = 1
    """How many of the chain are above what the path names, the root that it begins at included."""

    @property
    def path(self) -> str:
        return join_path(self.segments)

    @property
    def name(self) -> str:
        """The last name; empty for the root."""
        return self.segments[-1] if self.segments else ""

    @property
    def missing_parents(self) -> Segments:
        """Names of the directories between the deepest that exists and the node."""
        return self.segments[len(self.chain) - self.base : -1]


class Above(NamedTuple):
    """The way from a node up to the top."""

    chain: tuple[Id, ...]
    """The directories above the node, the topmost first."""
    segments: Segments
    """Names from below the topmost down to the node itself."""
    top_id: Id
    """The topmost: the root of the space, the top of a trashed tree, or the node itself."""

    @property
    def path(self) -> str:
        return join_path(self.segments)


_n = s.nodes.c
COLUMNS = tuple(_n[name] for name in Node._fields)
INSERT = insert_new(s.nodes)

_BY_ID = prepared(sa.select(*COLUMNS).where(_n.id == sa.bindparam("id")))
_CHILD = prepared(sa.select(*COLUMNS).where(_n.parent_id == sa.bindparam("parent"), _n.name == sa.bindparam("name")))
_CHILDREN_NAMED = prepared(
    sa.select(*COLUMNS).where(
        _n.parent_id == sa.bindparam("parent"), _n.name.in_(sa.bindparam("names", expanding=True))
    )
)
_TOUCH = prepared(
    sa.update(s.nodes)
    .where(_n.id.in_(sa.bindparam("ids", expanding=True)))
    .values(changed=sa.bindparam("number"), size_bytes=_n.size_bytes + sa.bindparam("delta_bytes"))
)
_TOUCH_EACH = prepared(
    sa.update(s.nodes)
    .where(_n.id == sa.bindparam("node"))
    .values(changed=sa.bindparam("number"), size_bytes=_n.size_bytes + sa.bindparam("delta_bytes"))
)


def _upwards() -> Statement:
    first = sa.select(_n.id, _n.parent_id, _n.name, sa.literal_column("0").label("level")).where(
        _n.id == sa.bindparam("id")
    )
    way = first.cte("way", recursive=True)
    step = (
        sa.select(_n.id, _n.parent_id, _n.name, way.c.level + 1)
        .join(way, _n.id == way.c.parent_id)
        .where(way.c.level < DEPTH_MAX * 16)
    )
    way = way.union_all(step)
    return prepared(sa.select(way.c.id, way.c.parent_id, way.c.name).order_by(way.c.level.desc()))


_UPWARDS = _upwards()


@lru_cache(maxsize=RESOLVE_SEGMENTS_MAX)
def _resolve(count: int) -> Statement:
    """One statement for ``count`` segments: ids and kinds of all nodes on the way, then the whole last row."""
    steps = [s.nodes.alias(f"n{number}") for number in range(count)]
    source: sa.FromClause = steps[0]
    for number in range(1, count):
        upper, lower = steps[number - 1], steps[number]
        source = source.outerjoin(
            lower, sa.and_(lower.c.parent_id == upper.c.id, lower.c.name == sa.bindparam(f"s{number}"))
        )
    on_the_way = [column for step in steps[:-1] for column in (step.c.id, step.c.kind)]
    last = [steps[-1].c[name] for name in Node._fields]
    return prepared(
        sa.select(*on_the_way, *last)
        .select_from(source)
        .where(steps[0].c.parent_id == sa.bindparam("parent"), steps[0].c.name == sa.bindparam("s0"))
    )


def node_by_id(tx: Transaction, node_id: Id) -> Node | None:
    """The row of a node, be it alive or in the trash."""
    row = tx.one(_BY_ID, {"id": node_id})
    return None if row is None else Node._make(row)


def child(tx: Transaction, parent_id: Id, name: str) -> Node | None:
    """The node of that name in a directory."""
    row = tx.one(_CHILD, {"parent": parent_id, "name": name})
    return None if row is None else Node._make(row)


def children_named(tx: Transaction, parent_id: Id, names: Sequence[str]) -> dict[str, Node]:
    """Those nodes of a directory that have one of these names."""
    found: dict[str, Node] = {}
    for start in range(0, len(names), NAMES_AT_ONCE):
        part = names[start : start + NAMES_AT_ONCE]
        for row in tx.rows(_CHILDREN_NAMED, {"parent": parent_id, "names": part}):
            node = Node._make(row)
            found[node.name] = node
    return found


def resolve(tx: Transaction, root_id: Id, segments: Segments) -> Place:
    """Follow a path from a root. Nothing is raised: the place says how far the path leads."""
    if not segments:
        return Place(segments, (), node_by_id(tx, root_id), None)
    chain = [root_id]
    for start in range(0, len(segments), RESOLVE_SEGMENTS_MAX):
        names = segments[start : start + RESOLVE_SEGMENTS_MAX]
        params: dict[str, object] = {f"s{number}": name for number, name in enumerate(names)}
        row = tx.one(_resolve(len(names)), {"parent": chain[-1], **params})
        if row is None:
            return Place(segments, tuple(chain), None, None)
        middle = 2 * (len(names) - 1)
        for at in range(0, middle, 2):
            if row[at] is None:
                return Place(segments, tuple(chain), None, None)
            if row[at + 1] != "directory":
                return Place(segments, tuple(chain), None, join_path(segments[: len(chain)]))
            chain.append(row[at])
        if row[middle] is None:
            return Place(segments, tuple(chain), None, None)
        node = Node._make(row[middle:])
        if start + len(names) == len(segments):
            return Place(segments, tuple(chain), node, None)
        if node.kind != "directory":
            return Place(segments, tuple(chain), None, join_path(segments[: len(chain)]))
        chain.append(node.id)
    raise AssertionError("every path ends in its last run of segments")


def found(place: Place) -> Node:
    """The node at a place. Raises NodeNotFound."""
    if place.node is None:
        raise missing(place.path)
    return place.node


def missing(path: str, what: str = "path") -> NodeNotFound:
    """The error for a path that leads nowhere."""
    return NodeNotFound(f'{what} "{path}" does not exist', path=path)


def above(tx: Transaction, node_id: Id) -> Above:
    """The way from a node to its top. Raises NodeNotFound when there is no such node."""
    way = tx.rows(_UPWARDS, {"id": node_id})
    if not way:
        raise NodeNotFound("no such file or directory")
    return Above(tuple([row[0] for row in way[:-1]]), tuple([row[2] for row in way[1:]]), way[0][0])


def touch(tx: Transaction, directories: Sequence[Id], number: int, delta_bytes: int) -> None:
    """Tell directories of a change at or below them: their ETag is new, their size differs by ``delta_bytes``."""
    if directories:
        tx.run(_TOUCH, {"ids": directories, "number": number, "delta_bytes": delta_bytes})


class Touches:
    """Collects what many changes of one transaction mean to the directories above them."""

    def __init__(self) -> None:
        self._of: dict[Id, tuple[int, int]] = {}

    def add(self, directories: Iterable[Id], number: int, delta_bytes: int) -> None:
        """Note one change; numbers must grow from call to call."""
        for directory in directories:
            _, sum_bytes = self._of.get(directory, (0, 0))
            self._of[directory] = (number, sum_bytes + delta_bytes)

    def of(self, directory: Id) -> tuple[int, int]:
        """The newest number and the sum of bytes for a directory."""
        return self._of.get(directory, (0, 0))

    def write(self, tx: Transaction, *, but: Mapping[Id, object]) -> None:
        """Bring it all into the database, in id order; ``but`` has directories that are written otherwise."""
        tx.many(
            _TOUCH_EACH,
            [
                {"node": directory, "number": number, "delta_bytes": delta_bytes}
                for directory, (number, delta_bytes) in sorted(self._of.items())
                if directory not in but
            ],
        )


def directory_etag(space_id: Id, changed: int) -> str:
    """The ETag of a directory. The space is in it because numbers of two spaces would collide on a move."""
    return f"{space_id[-4:].hex()}-{changed:x}"
