"""Tags: words that a user puts on nodes for themself. Nobody else sees them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.filesystem.versions import parts

RENAMED_AT_ONCE = 1_000

_c = s.tags.c
_INSERT = insert_new(s.tags, or_ignore=True)
_OF_NODE = prepared(
    sa.select(_c.name).where(_c.node_id == sa.bindparam("node"), _c.user_id == sa.bindparam("user")).order_by(_c.name)
)
_OF_NODES = prepared(
    sa.select(_c.node_id, _c.name)
    .where(_c.user_id == sa.bindparam("user"), _c.node_id.in_(sa.bindparam("nodes", expanding=True)))
    .order_by(_c.name)
)
_OF_USER = prepared(
    sa.select(_c.name, sa.func.count())
    .where(_c.user_id == sa.bindparam("user"))
    .group_by(_c.name)
    .order_by(_c.name)
    .limit(sa.bindparam("count"))
)
_HAS_ANY = prepared(sa.select(_c.name).where(_c.user_id == sa.bindparam("user")).limit(1))
_OF_CHILDREN = prepared(
    sa.select(_c.node_id, _c.name)
    .join_from(s.tags, s.nodes, s.nodes.c.id == _c.node_id)
    .where(_c.user_id == sa.bindparam("user"), s.nodes.c.parent_id == sa.bindparam("parent"))
    .order_by(_c.name)
)
_NODES = prepared(
    sa.select(_c.node_id)
    .where(_c.user_id == sa.bindparam("user"), _c.name == sa.bindparam("tag"), _c.node_id > sa.bindparam("after"))
    .order_by(_c.node_id)
    .limit(sa.bindparam("count"))
)
_CLEAR = prepared(sa.delete(s.tags).where(_c.user_id == sa.bindparam("user"), _c.node_id == sa.bindparam("node")))
_DROP = prepared(sa.delete(s.tags).where(_c.user_id == sa.bindparam("user"), _c.name == sa.bindparam("tag")))


def of_node(tx: Transaction, user_id: Id, node_id: Id) -> tuple[str, ...]:
    """A user's tags on a node, sorted."""
    return tuple([row[0] for row in tx.rows(_OF_NODE, {"user": user_id, "node": node_id})])


def of_children(tx: Transaction, user_id: Id, directory_id: Id) -> dict[Id, tuple[str, ...]]:
    """A user's tags on what is directly in a directory."""
    if tx.one(_HAS_ANY, {"user": user_id}) is None:
        return {}
    return _gathered(tx.rows(_OF_CHILDREN, {"user": user_id, "parent": directory_id}))


def of_nodes(tx: Transaction, user_id: Id, node_ids: Sequence[Id]) -> dict[Id, tuple[str, ...]]:
    """A user's tags on nodes."""
    if tx.one(_HAS_ANY, {"user": user_id}) is None:
        return {}
    found: dict[Id, tuple[str, ...]] = {}
    for part in parts(node_ids):
        found.update(_gathered(tx.rows(_OF_NODES, {"user": user_id, "nodes": part})))
    return found


def _gathered(rows: Sequence[tuple[Id, str]]) -> dict[Id, tuple[str, ...]]:
    found: dict[Id, tuple[str, ...]] = {}
    for node_id, name in rows:
        found[node_id] = (*found.get(node_id, ()), name)
    return found


def of_user(tx: Transaction, user_id: Id, count_max: int) -> list[tuple[str, int]]:
    """A user's tags, and on how many nodes each is (those in the trash included)."""
    return [(row[0], row[1]) for row in tx.rows(_OF_USER, {"user": user_id, "count": count_max})]


def nodes(tx: Transaction, user_id: Id, name: str, after: Id, count: int) -> list[Id]:
    """Nodes with a user's tag, in id order."""
    return [row[0] for row in tx.rows(_NODES, {"user": user_id, "tag": name, "after": after, "count": count})]


def put(tx: Transaction, user_id: Id, node_id: Id, names: Collection[str]) -> None:
    """Make these a user's tags on a node, and no others."""
    tx.run(_CLEAR, {"user": user_id, "node": node_id})
    tx.many(_INSERT, [{"user_id": user_id, "name": name, "node_id": node_id} for name in sorted(set(names))])


def rename(tx: Transaction, user_id: Id, name: str, new_name: str) -> int:
    """Give a tag another name on all nodes; on how many. Where a node has both, one stays."""
    after = b""
    while page := nodes(tx, user_id, name, after, RENAMED_AT_ONCE):
        tx.many(_INSERT, [{"user_id": user_id, "name": new_name, "node_id": node_id} for node_id in page])
        after = page[-1]
    return drop(tx, user_id, name)


def drop(tx: Transaction, user_id: Id, name: str) -> int:
    """Take a tag off all nodes; off how many."""
    return tx.run(_DROP, {"user": user_id, "tag": name})


def copy(tx: Transaction, user_id: Id, copies: Mapping[Id, Id]) -> None:
    """Put a user's tags on copies too; ``copies`` maps the originals to them."""
    found = of_nodes(tx, user_id, list(copies))
    rows = [
        {"user_id": user_id, "name": name, "node_id": copies[node_id]}
        for node_id, names in found.items()
        for name in names
    ]
    tx.many(_INSERT, rows)
