"""Who may know of what: every way from an id or a path to a node passes here.

What is not a principal's own, or their groups', does not exist for them: SpaceNotFound, NodeNotFound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.base.errors import NodeNotFound, SpaceNotFound
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import spaces, tree
from skep.filesystem.moves import Source
from skep.filesystem.spaces import Space

if TYPE_CHECKING:
    from skep.auth.records import Principal


def space(tx: Transaction, principal: Principal, space_id: Id | None) -> Space:
    """A space, the principal's own if no id is given. Raises SpaceNotFound."""
    if space_id is None:
        own = spaces.of_owner(tx, "personal", principal.user_id)
        return spaces.used_by(principal, own, SpaceNotFound(f"{principal.name!r} has no space of their own"))
    return spaces.used_by(principal, spaces.by_id(tx, space_id), SpaceNotFound("no such space"))


def living(tx: Transaction, principal: Principal, node_id: Id) -> Source:
    """A node in a tree that the principal may know of. Raises NodeNotFound."""
    both = spaces.node_and_space(tx, node_id)
    missing = NodeNotFound("no such file or directory")
    if both is None:
        raise missing
    node, of_node = both
    spaces.used_by(principal, of_node, missing)
    above = tree.above(tx, node_id)
    if above.top_id != of_node.root_id:
        raise missing
    return Source(of_node, node, above)


def living_file(tx: Transaction, principal: Principal, node_id: Id) -> Source:
    """``living`` for what must be a file. Raises NodeNotFound."""
    source = living(tx, principal, node_id)
    if source.node.is_directory:
        raise NodeNotFound(f'file "{source.path}" does not exist: it is a directory', path=source.path)
    return source


def trashed(tx: Transaction, principal: Principal, node_id: Id) -> Space:
    """The space of a node that may be in its trash. Raises NodeNotFound."""
    both = spaces.node_and_space(tx, node_id)
    missing = NodeNotFound("no such file or directory in the trash")
    if both is None:
        raise missing
    return spaces.used_by(principal, both[1], missing)
