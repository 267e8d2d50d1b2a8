"""Finding a file by its path with one statement, which is what most reads are made of.

It finds files that are there, in spaces seen as a whole. Whatever else there is to say of a path (nothing there, a
directory, a share) is said by the longer way, which looks again.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Database, Statement, prepared
from skep.db import schema as s
from skep.filesystem import info, versions
from skep.filesystem.names import Segments, join_path
from skep.filesystem.records import NodeInfo
from skep.filesystem.tree import RESOLVE_SEGMENTS_MAX, Node
from skep.filesystem.versions import Version

_WIDTH = len(Node._fields)


async def file_at(db: Database, root_id: Id, segments: Segments) -> tuple[NodeInfo, Version] | None:
    """The file at a path below a root, and its current version; None: there is none, or the path is too long."""
    if not 0 < len(segments) <= RESOLVE_SEGMENTS_MAX:
        return None
    params: dict[str, object] = {f"s{number}": name for number, name in enumerate(segments)}
    params["root"] = root_id
    row: tuple[Any, ...] | None = await db.look(_file_at(len(segments)), params)
    if row is None:
        return None
    return info.info_of_row(row[:_WIDTH], join_path(segments)), Version(*row[_WIDTH:])


@lru_cache(maxsize=RESOLVE_SEGMENTS_MAX)
def _file_at(depth: int) -> Statement:
    """Names lead down from the root; only a file has a version. Nodes that have others below them are directories."""
    steps = [s.nodes.alias(f"n{number}").c for number in range(depth)]
    last = steps[-1]
    names = [step.name == sa.bindparam(f"s{number}") for number, step in enumerate(steps)]
    ways = [lower.parent_id == upper.id for upper, lower in pairwise(steps)]
    return prepared(
        sa.select(*[last[name] for name in Node._fields], *versions.COLUMNS).where(
            steps[0].parent_id == sa.bindparam("root"), *names, *ways, s.versions.c.id == last.version_id
        )
    )
