"""Listing a directory, one level or more, in pages.

Entries come in tree order: a directory, then what is in it, names by their bytes. A page goes on after the relative
path that the last one ended with, whether or not that is still there.
"""

from __future__ import annotations

from typing import NamedTuple

from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import info, tree
from skep.filesystem.names import Segments, child_path
from skep.filesystem.records import NodeInfo

RUN = 512
"""Entries read at once where a listing goes down more than one level."""


def listing(
    tx: Transaction,
    directory: NodeInfo,
    user_id: Id,
    depth: int,
    limit: int,
    after: Segments,
    *,
    digests: bool = True,
) -> list[NodeInfo]:
    """Up to ``limit`` nodes below a directory, at most ``depth`` levels down, that come after ``after``."""
    found: list[NodeInfo] = []
    look = Look(tx, user_id, limit, digests)
    _list(look, directory.id, directory.path, depth, after, found)
    return found


class Look(NamedTuple):
    """What stays the same on the way down."""

    tx: Transaction
    user_id: Id
    limit: int
    digests: bool

    def children(self, directory_id: Id, path: str, after: str, count: int) -> list[NodeInfo]:
        """Up to ``count`` nodes of a directory."""
        return info.children(self.tx, directory_id, path, self.user_id, after, count, digests=self.digests)


def _list(look: Look, directory_id: Id, path: str, depth: int, after: Segments, found: list[NodeInfo]) -> None:
    limit = look.limit
    if depth == 1:
        found.extend(look.children(directory_id, path, after[0] if after else "", limit - len(found)))
        return
    start = ""
    if after:
        start = after[0]
        entered = _entered(look.tx, directory_id, path, start)
        if entered is not None:
            _list(look, entered.id, entered.path, depth - 1, after[1:], found)
    while len(found) < limit:
        # A run of entries may be cut short by what lies below them: ask for no more than can be used.
        run = look.children(directory_id, path, start, min(limit - len(found), RUN))
        for entry in run:
            found.append(entry)
            if entry.is_directory and len(found) < limit:
                _list(look, entry.id, entry.path, depth - 1, (), found)
            if len(found) >= limit:
                return
        if len(run) < RUN:  # fewer than asked for: the limit is not reached, so nothing is left
            return
        start = run[-1].name


def _entered(tx: Transaction, directory_id: Id, path: str, name: str) -> NodeInfo | None:
    """The directory in which the last page ended, if it is still one."""
    node = tree.child(tx, directory_id, name)
    if node is None or not node.is_directory:
        return None
    return info.node_info(node, child_path(path, name))
