"""Walking down: all nodes at and below one, parents first, or a bounded part of them that can go."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from skep.base.errors import LimitReached
from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem import tree
from skep.filesystem.tree import Node
from skep.filesystem.versions import parts

_c = s.nodes.c
_CHILDREN_OF_ALL = prepared(
    sa.select(*tree.COLUMNS)
    .where(_c.parent_id.in_(sa.bindparam("parents", expanding=True)))
    .order_by(_c.parent_id, _c.name)
)
_SOME_CHILDREN = prepared(
    sa.select(_c.id, _c.kind, _c.name)
    .where(_c.parent_id == sa.bindparam("parent"))
    .order_by(_c.name)
    .limit(sa.bindparam("count"))
)
_DIRECTORIES_OF_ALL = prepared(
    sa.select(_c.id).where(_c.parent_id.in_(sa.bindparam("parents", expanding=True)), _c.kind == "directory")
)


def nodes_below(tx: Transaction, top: Node, count_max: int) -> list[Node]:
    """A node and all below it, every parent before its children.

    Raises LimitReached when there are more than ``count_max``.
    """
    found = [top]
    level = [top.id] if top.is_directory else []
    while level:
        below: list[Node] = []
        for part in parts(level):
            below.extend(Node._make(row) for row in tx.rows(_CHILDREN_OF_ALL, {"parents": part}))
            if len(found) + len(below) > count_max:
                raise LimitReached(
                    f"{top.name!r} holds more than {count_max} files and directories, too many for one step: "
                    "take its parts one by one",
                    limit=count_max,
                )
        found.extend(below)
        level = [node.id for node in below if node.is_directory]
    return found


def height(tx: Transaction, top_id: Id, height_max: int) -> int:
    """How many levels of directories lie at and below a directory: 1 if it holds none; stops beyond ``height_max``."""
    level, levels = [top_id], 1
    while levels <= height_max:
        below: list[Id] = []
        for part in parts(level):
            below.extend(row[0] for row in tx.rows(_DIRECTORIES_OF_ALL, {"parents": part}))
        if not below:
            break
        level, levels = below, levels + 1
    return levels


class Removable(NamedTuple):
    """Nodes of a subtree that can be deleted now, with nothing left below any of them."""

    files: list[Id]
    directories: list[Id]
    is_all: bool
    """Whether they are the whole subtree."""


def removable(tx: Transaction, top: Node, count_max: int) -> Removable:
    """Up to about ``count_max`` nodes of a subtree, the deepest first.

    Costs the nodes found and the depth, not the tree.
    """
    if not top.is_directory:
        return Removable([top.id], [], True)
    found = Removable([], [], False)
    # Directories on the way down: id, subdirectories still to look into, whether all that it holds was seen.
    way = [_look_into(tx, top.id, found, count_max)]
    while way:
        directory, subdirectories, all_seen = way[-1]
        if len(found.files) + len(found.directories) >= count_max:
            return found
        if subdirectories:
            way.append(_look_into(tx, subdirectories.pop(), found, count_max))
        elif not all_seen:
            return found
        else:
            found.directories.append(directory)
            way.pop()
    return found._replace(is_all=True)


def _look_into(tx: Transaction, directory: Id, found: Removable, count_max: int) -> tuple[Id, list[Id], bool]:
    """Take the files of a directory, as far as there is room; its subdirectories, as far as they were seen."""
    room = max(1, count_max - len(found.files) - len(found.directories)) + 1
    rows = tx.rows(_SOME_CHILDREN, {"parent": directory, "count": room})
    found.files.extend(row[0] for row in rows if row[1] != "directory")
    return directory, [row[0] for row in rows if row[1] == "directory"], len(rows) < room
