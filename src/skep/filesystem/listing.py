"""Listing a directory, one level or more, in pages.

Entries come in tree order: a directory, then what is in it, names by their bytes. A page goes on after the relative
path that the last one ended with, whether or not that is still there.
"""

from __future__ import annotations

from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import info, tree
from skep.filesystem.names import Segments, child_path
from skep.filesystem.records import NodeInfo

RUN = 512
"""Entries read at once where a listing goes down more than one level."""


def listing(
    tx: Transaction, directory: NodeInfo, user_id: Id, depth: int, limit: int, after: Segments
) -> list[NodeInfo]:
    """Up to ``limit`` nodes below a directory, at most ``depth`` levels down, that come after ``after``."""
    found: list[NodeInfo] = []
    _list(tx, directory.id, directory.path, user_id, depth, limit, after, found)
    return found


def _list(
    tx: Transaction,
    directory_id: Id,
    path: str,
    user_id: Id,
    depth: int,
    limit: int,
    after: Segments,
    found: list[NodeInfo],
) -> None:
    if depth == 1:
        found.extend(info.children(tx, directory_id, path, user_id, after[0] if after else "", limit - len(found)))
        return
    start = ""
    if after:
        start = after[0]
        entered = _entered(tx, directory_id, path, user_id, start)
        if entered is not None:
            _list(tx, entered.id, entered.path, user_id, depth - 1, limit, after[1:], found)
    while len(found) < limit:
        # A run of entries may be cut short by what lies below them: ask for no more than can be used.
        run = info.children(tx, directory_id, path, user_id, start, min(limit - len(found), RUN))
        for entry in run:
            found.append(entry)
            if entry.is_directory and len(found) < limit:
                _list(tx, entry.id, entry.path, user_id, depth - 1, limit, (), found)
            if len(found) >= limit:
                return
        if len(run) < RUN:  # fewer than asked for: the limit is not reached, so nothing is left
            return
        start = run[-1].name


def _entered(tx: Transaction, directory_id: Id, path: str, user_id: Id, name: str) -> NodeInfo | None:
    """The directory in which the last page ended, if it is still one."""
    node = tree.child(tx, directory_id, name)
    if node is None or not node.is_directory:
        return None
    return info.node_info(node, child_path(path, name))
