"""The journal of a space as the holder of a share sees it: what happened inside the share, and nothing else.

What always holds: the paths of changes after ``since_change`` of a share were written while its root had the path that
it has now, for whatever gives the root another path raises that number (``shares.moved``). So comparing paths is
enough, also for nodes that are gone; a cursor from before must list anew.
"""

from __future__ import annotations

import msgspec

from skep.base.errors import CursorTooOld
from skep.events import Change
from skep.filesystem.names import join_path
from skep.filesystem.spaces import Space

RUN = 1_000
"""Changes of the space that are looked at together."""
LOOKS_MAX = 20
"""Runs that one call looks at."""


def require_known(position: int, since: int) -> None:
    """Raise CursorTooOld for a cursor from before the share was where it is."""
    if position < since:
        raise CursorTooOld("what is shared came to another place since this cursor: list the share anew")


def seen(space: Space, change: Change) -> Change | None:
    """A change of the space as it is in the share; None: nothing happened inside."""
    assert space.seen is not None
    root = join_path(space.seen.prefix)
    path = _inside(root, change.path)
    old_path = None if change.old_path is None else _inside(root, change.old_path)
    if path is not None:
        return msgspec.structs.replace(change, space_id=space.seen_id, path=path, old_path=old_path)
    if old_path is not None:  # it left the share
        return msgspec.structs.replace(change, space_id=space.seen_id, kind="deleted", path=old_path, old_path=None)
    return None


def _inside(root: str, path: str) -> str | None:
    """A path from the root of the share on; None: it is outside."""
    if root == "/" or path == root:
        return path if root == "/" else "/"
    return path[len(root) :] if path.startswith(root + "/") else None
