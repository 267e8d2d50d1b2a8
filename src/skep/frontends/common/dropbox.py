"""A share that lets its holder add files and see none, at doors whose clients look before they write.

Nothing in it exists for its holder (docs/filesystem.md). Its root does: clients list it, or look at it, before they
send anything, and find an empty directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skep.base.errors import Forbidden, NodeNotFound
from skep.base.ids import Id
from skep.filesystem import NodeInfo, SpaceInfo

if TYPE_CHECKING:
    from skep.auth import Principal
    from skep.filesystem import Filesystem

UPLOAD = "upload"


async def node_at(filesystem: Filesystem, principal: Principal, space_id: Id | None, path: str) -> NodeInfo:
    """The node at a path, as ``Filesystem.by_path``; of a drop box only the root, as an empty directory."""
    try:
        return await filesystem.by_path(principal, space_id, path)
    except Forbidden as error:
        if error.details.get("rights") != UPLOAD:
            raise
        if path != "/":
            raise NodeNotFound("what is in this share does not exist for you: you may add files to it") from None
        return _empty(await filesystem.space(principal, space_id))


def is_dropbox_root(node: NodeInfo) -> bool:
    """Whether ``node_at`` made it up: it is listed nowhere, and nothing is in it."""
    return node.id == node.space_id


def _empty(space: SpaceInfo) -> NodeInfo:
    since_us = space.created_us
    return NodeInfo(space.id, space.id, None, "", "directory", "/", 0, "dropbox", "", None, since_us, since_us)
