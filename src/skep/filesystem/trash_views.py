"""The trash as the holder of a share sees it: what was deleted from directories that are in the share now."""

from __future__ import annotations

from typing import Any

from skep.base.errors import NodeNotFound
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import info, trash, views
from skep.filesystem.names import child_path
from skep.filesystem.records import TrashInfo
from skep.filesystem.spaces import Space

RUN = 512
"""Entries looked at together."""
LOOKED_AT_MAX = 20_000
"""Entries of the space's trash that one call looks at: what was deleted before them is not shown to holders."""


def page(tx: Transaction, space: Space, before: tuple[int, Id] | None, count: int) -> list[TrashInfo]:
    """Up to ``count`` entries, the last deleted first, below a time and id; paths are from the root of the share."""
    found: list[TrashInfo] = []
    paths: dict[Id, str | None] = {}
    for _ in range(LOOKED_AT_MAX // RUN):
        entries = trash.page(tx, space.id, before, RUN)
        for node, entry in entries:
            path = _parent(tx, space, entry, paths)
            if path is not None:
                whole = info.trash_info(node, entry)
                found.append(_seen(space, whole, child_path(path, node.name)))
                if len(found) == count:
                    return found
        if len(entries) < RUN:
            break
        before = (entries[-1][1][4], entries[-1][0].id)
    return found


def _parent(tx: Transaction, space: Space, entry: tuple[Any, ...], paths: dict[Id, str | None]) -> str | None:
    """Where the directory that an entry was in is now; None: not in the share."""
    parent_id: Id = entry[2]
    if parent_id not in paths:
        try:
            paths[parent_id] = views.above(tx, space, parent_id).path
        except NodeNotFound:
            paths[parent_id] = None
    return paths[parent_id]


def _seen(space: Space, entry: TrashInfo, path: str) -> TrashInfo:
    return TrashInfo(
        node_id=entry.node_id,
        space_id=space.seen_id,
        name=entry.name,
        kind=entry.kind,
        path=path,
        size_bytes=entry.size_bytes,
        deleted_us=entry.deleted_us,
        deleted_by=entry.deleted_by,
    )
