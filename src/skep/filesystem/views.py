"""What a principal sees of a space: all of it, or from a shared node down.

A view is a ``Space`` whose ``seen`` says through which share it is looked at; its ``root_id`` is then the shared node.
Paths that come in and go out are relative to that root; ids of directories on the way (``chain``) and paths in the
journal stay those of the whole space, so that sizes, ETags and the owner's journal are as ever. So whatever a holder is
told - paths, errors, listings - can say nothing of what lies above the root, because nothing of it was looked at.
"""

from __future__ import annotations

from skep.base.errors import InvalidPath, NodeNotFound, SpaceNotFound
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import spaces, tree
from skep.filesystem.names import Segments
from skep.filesystem.shares import Held
from skep.filesystem.spaces import Seen, Space
from skep.filesystem.tree import Above, Place


def through(tx: Transaction, space: Space, held: Held) -> Space:
    """A whole space as it is seen through a share. Raises SpaceNotFound when the shared node is not in the tree."""
    node = tree.node_by_id(tx, held.share.node_id)
    missing = SpaceNotFound("no such space")
    if node is None or node.space_id != space.id:
        raise missing
    up = tree.above(tx, node.id)
    if up.top_id != space.root_id:
        raise missing
    seen = Seen(held, up.chain, up.segments, not node.is_directory, node.size_bytes)
    return space._replace(root_id=node.id, seen=seen)


def lock(tx: Transaction, space: Space) -> Space:
    """The same view, its space locked and its place looked up anew. Raises SpaceNotFound."""
    now = spaces.lock(tx, space.id)
    return now if space.seen is None else through(tx, now, space.seen.held)


def lock_both(tx: Transaction, one: Space, other: Space) -> tuple[Space, Space]:
    """Two views, their spaces locked in the order of their ids so that two movers never wait for each other."""
    for space_id in sorted({one.id, other.id}):
        spaces.lock(tx, space_id)
    return lock(tx, one), lock(tx, other)


def above(tx: Transaction, space: Space, node_id: Id) -> Above:
    """The way from a living node up, its names from the root of the view on. Raises NodeNotFound."""
    up = tree.above(tx, node_id)
    if up.top_id != space.top_id or not is_inside(space, (*up.chain, node_id)):
        raise NodeNotFound("no such file or directory")
    return up if space.seen is None else up._replace(segments=up.segments[len(space.seen.prefix) :])


def is_inside(space: Space, chain: tuple[Id, ...]) -> bool:
    """Whether a way down from the root of the whole space passes the root of the view."""
    depth = 0 if space.seen is None else len(space.seen.way)
    return len(chain) > depth and chain[depth] == space.root_id


def resolve(tx: Transaction, space: Space, segments: Segments) -> Place:
    """Follow a path from the root of a view."""
    seen = space.seen
    if seen is None:
        return tree.resolve(tx, space.root_id, segments)
    if seen.is_file and segments:
        return Place(segments, space.base, None, "/", len(space.base))
    place = tree.resolve(tx, space.root_id, segments)
    return place._replace(chain=(*seen.way, *place.chain), base=len(space.base))


def check_depth(space: Space, segments: Segments, depth_max: int) -> None:
    """Raise InvalidPath for a path that is too deep where the share lies."""
    if space.seen is not None and len(space.seen.prefix) + len(segments) > depth_max:
        raise InvalidPath("the path is too deep in this share: give one with fewer directories")
