"""What the root of a share is called before its holder says otherwise."""

from __future__ import annotations

from collections.abc import Collection

from skep.base.errors import Conflict
from skep.db import Transaction
from skep.filesystem import spaces, tree
from skep.filesystem.names import NAME_BYTES_MAX
from skep.filesystem.shares import Share
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Node

ATTEMPTS_MAX = 1_000


def plain_name(node: Node, space: Space) -> str:
    """The name of a shared node; of a whole space that of the space."""
    return node.name or space.name


def free_name(tx: Transaction, share: Share, taken: Collection[str]) -> str:
    """The node's name; where the holder has one like it, with its owner's in brackets, and then with a number.

    ``taken``: case-folded. Raises Conflict.
    """
    node, space = tree.node_by_id(tx, share.node_id), spaces.by_id(tx, share.space_id)
    assert node is not None
    assert space is not None
    name = plain_name(node, space)
    if name.casefold() not in taken:
        return name
    for attempt in range(1, ATTEMPTS_MAX):
        mark = f" ({space.name})" if attempt == 1 else f" ({space.name} {attempt})"
        other = _cut(name, NAME_BYTES_MAX - len(mark.encode())) + mark
        if other.casefold() not in taken:
            return other
    raise Conflict(f"{ATTEMPTS_MAX} of your shares are named like {name!r}: give a name")


def _cut(name: str, size_bytes: int) -> str:
    return name.encode()[: max(0, size_bytes)].decode(errors="ignore")
