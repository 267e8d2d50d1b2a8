"""The trash: a deleted node leaves its parent with all below it, keeps its id and its bytes, and can come back.

States of a row, told by ``deleted_us``: a time means in the trash; ``GONE_US`` means deleted for good, to be purged in
bounded steps that any later run can finish. A purge deletes the deepest first, so what is left is always a tree.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from skep.base.errors import Conflict, InvalidPath, NameClash, NodeNotFound
from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.filesystem import facts, locks, properties, shares, subtree, tree, versions, views
from skep.filesystem.books import Books
from skep.filesystem.growth import Directory, Growth
from skep.filesystem.names import child_path, numbered_name, split_path, stored_segments
from skep.filesystem.ports import Note
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Node

GONE_US = 0
"""``deleted_us`` of what was deleted for good."""
END_OF_TIME_US = (1 << 63) - 1
PURGE_STEP_NODES = 500
NAME_ATTEMPTS_MAX = 1_000

_t = s.trash.c
_INSERT = insert_new(s.trash)
_ROW = (_t.node_id, _t.space_id, _t.parent_id, _t.path, _t.deleted_us, _t.deleted_by)
_BY_NODE = prepared(sa.select(*_ROW).where(_t.node_id == sa.bindparam("node")))
_REMOVE = prepared(sa.delete(s.trash).where(_t.node_id == sa.bindparam("node")))
_FORGET = prepared(sa.update(s.trash).where(_t.node_id == sa.bindparam("node")).values(deleted_us=GONE_US))
_PAGE = prepared(
    sa.select(*tree.COLUMNS, *_ROW)
    .join_from(s.trash, s.nodes, s.nodes.c.id == _t.node_id)
    .where(
        _t.space_id == sa.bindparam("space"),
        _t.deleted_us > GONE_US,
        _t.deleted_us <= sa.bindparam("until_us"),
        sa.or_(_t.deleted_us < sa.bindparam("until_us"), _t.node_id < sa.bindparam("before")),
    )
    .order_by(_t.deleted_us.desc(), _t.node_id.desc())
    .limit(sa.bindparam("count"))
)
_UNHOOK = prepared(
    sa.update(s.nodes)
    .where(s.nodes.c.id == sa.bindparam("node"))
    .values(parent_id=None, changed=sa.bindparam("number"))
)
_HOOK = prepared(
    sa.update(s.nodes)
    .where(s.nodes.c.id == sa.bindparam("node"))
    .values(parent_id=sa.bindparam("parent"), name=sa.bindparam("new_name"), changed=sa.bindparam("number"))
)
_DELETE_NODES = prepared(sa.delete(s.nodes).where(s.nodes.c.id.in_(sa.bindparam("ids", expanding=True))))
_DELETE_TAGS = prepared(sa.delete(s.tags).where(s.tags.c.node_id.in_(sa.bindparam("ids", expanding=True))))


def put(
    tx: Transaction,
    books: Books,
    space: Space,
    node: Node,
    above: tree.Above,
    actor_id: Id | None,
    *,
    for_good: bool = False,
) -> int:
    """Unhook a living node; the number of the change. The space must be locked."""
    if node.id == space.root_id:
        raise InvalidPath("the root of a space cannot be deleted: delete what is in it", path="/")
    locks.require_removable(tx, books, space, actor_id, above.chain, node.id)
    locks.end_below(tx, space, node.id)
    kind = "deleted" if for_good else "trashed"
    path = space.whole(above.path)
    number = books.record(tx, space, [_note(kind, node, path)], actor_id)
    tx.run(_UNHOOK, {"node": node.id, "number": number})
    tree.touch(tx, above.chain, number, -node.size_bytes)
    tx.run(
        _INSERT,
        {
            "node_id": node.id,
            "space_id": space.id,
            "parent_id": node.parent_id,
            "path": path,
            "deleted_us": GONE_US if for_good else tx.now_us,
            "deleted_by": actor_id,
        },
    )
    return number


def _note(kind: str, node: Node, path: str) -> Note:
    return Note(kind, node.id, node.kind, path, node.size_bytes, None, node.version_number, node.etag)


def any_entry(tx: Transaction, node_id: Id) -> tuple[Any, ...] | None:
    """The row of the trash for a node, be it deleted for good."""
    return tx.one(_BY_NODE, {"node": node_id})


def entry(tx: Transaction, node_id: Id) -> tuple[Any, ...] | None:
    """The row of the trash for a node that can still come back."""
    row = any_entry(tx, node_id)
    return None if row is None or row[4] == GONE_US else row


def page(
    tx: Transaction, space_id: Id, before: tuple[int, Id] | None, count: int
) -> list[tuple[Node, tuple[Any, ...]]]:
    """Nodes in the trash of a space with their rows, the last deleted first, below a time and id."""
    until_us, before_id = before or (END_OF_TIME_US, b"")
    rows = tx.rows(_PAGE, {"space": space_id, "until_us": until_us, "before": before_id, "count": count})
    width = len(tree.COLUMNS)
    return [(Node._make(row[:width]), row[width:]) for row in rows]


def restore(tx: Transaction, books: Books, space: Space, node_id: Id, target: str | None, actor_id: Id) -> Node:
    """Hook a trashed node in again: where it was, or at ``target``.

    Where its old parent is gone, the directories of its old path are made again; where a file stands in their way, it
    goes to the root; where its name is taken, it gets another. With ``target`` nothing is guessed: NameClash.
    Raises NodeNotFound.
    """
    row = entry(tx, node_id)
    node = tree.node_by_id(tx, node_id)
    if row is None or node is None or row[1] != space.id:
        raise NodeNotFound("no such file or directory in the trash")
    if target is None:
        parent, space = _old_parent(tx, books, space, row[2], row[3], actor_id)
        name = _free_name(tx, parent.id, node.name)
    else:
        segments = split_path(target)
        if not segments:
            raise InvalidPath("a node cannot be restored as the root: give the path where it shall be", path=target)
        parent, space = _parent_at(tx, books, space, segments[:-1], actor_id, parents=False)
        name = segments[-1]
        if tree.child(tx, parent.id, name) is not None:
            raise NameClash(f'path "{target}" exists: restore to another path', path=target)
    path = child_path(parent.path, name)
    locks.require_writable(tx, books, space, actor_id, parent.chain, None)
    number = books.record(tx, space, [_note("restored", node, space.whole(path))], actor_id)
    tx.run(_HOOK, {"node": node.id, "parent": parent.id, "new_name": name, "number": number})
    tree.touch(tx, parent.chain, number, node.size_bytes)
    tx.run(_REMOVE, {"node": node.id})
    shares.moved(tx, space.id, node.id, number)
    return node._replace(parent_id=parent.id, name=name, changed=number)


def _old_parent(
    tx: Transaction, books: Books, space: Space, parent_id: Id, path: str, actor_id: Id
) -> tuple[Directory, Space]:
    parent = tree.node_by_id(tx, parent_id)
    if parent is not None and parent.space_id == space.id and parent.is_directory:
        up = tree.above(tx, parent_id)
        if up.top_id == space.top_id:
            up = views.above(tx, space, parent_id)
            return Directory(parent_id, up.path, (*up.chain, parent_id), False), space
    try:
        return _parent_at(tx, books, space, stored_segments(path)[:-1], actor_id, parents=True)
    except NameClash:
        return Directory(space.root_id, "/", space.base, False), space


def _parent_at(
    tx: Transaction, books: Books, space: Space, segments: tuple[str, ...], actor_id: Id, *, parents: bool
) -> tuple[Directory, Space]:
    """The directory at a path, and the space as it is after making it."""
    place = views.resolve(tx, space, segments)
    if place.node is None and place.blocked_by is None and not parents:
        raise NodeNotFound(f'directory "{place.path}" does not exist', path=place.path)
    growth = Growth(books, space, actor_id, tx.now_us)
    directory = growth.directory(tx, segments)
    if not directory.is_new:
        return directory, space
    growth.flush(tx)
    return directory._replace(is_new=False), views.lock(tx, space)


def _free_name(tx: Transaction, parent_id: Id, name: str) -> str:
    if tree.child(tx, parent_id, name) is None:
        return name
    for attempt in range(1, NAME_ATTEMPTS_MAX):
        other = numbered_name(name, attempt)
        if tree.child(tx, parent_id, other) is None:
            return other
    raise Conflict(f"{NAME_ATTEMPTS_MAX} nodes are named like {name!r} here: restore it to another path")


def forget(tx: Transaction, books: Books, space: Space, node_id: Id, actor_id: Id | None) -> None:
    """Delete a trashed node for good: from now on it is only there to be purged. Raises NodeNotFound."""
    row = entry(tx, node_id)
    node = tree.node_by_id(tx, node_id)
    if row is None or node is None or row[1] != space.id:
        raise NodeNotFound("no such file or directory in the trash")
    books.record(tx, space, [_note("deleted", node, row[3])], actor_id)
    tx.run(_FORGET, {"node": node_id})


def purge_step(tx: Transaction, books: Books, space: Space, top_id: Id, nodes_max: int = PURGE_STEP_NODES) -> bool:
    """Delete some of a tree that was deleted for good: nodes, versions, tags, references. Whether more is left."""
    top = tree.node_by_id(tx, top_id)
    row = any_entry(tx, top_id)
    if top is None or row is None or row[4] != GONE_US:
        return False
    some = subtree.removable(tx, top, nodes_max)
    versions.let_go(tx, books, space, versions.of_nodes(tx, some.files))
    for part in versions.parts(some.files + some.directories):
        tx.run(_DELETE_TAGS, {"ids": part})
        properties.drop(tx, part)
        shares.remove_on(tx, part)
        tx.run(_DELETE_NODES, {"ids": part})
    if some.directories:
        facts.drop(tx, some.directories)
        facts.drop_buckets(tx, some.directories)
    if some.is_all:
        tx.run(_REMOVE, {"node": top_id})
    return not some.is_all
