"""How a request names a node: by path in a space, or by id."""

from __future__ import annotations

import msgspec

from skep.base.errors import MalformedRequest, NodeNotFound, SkepError, SpaceNotFound
from skep.base.ids import Id, parse_id
from skep.filesystem import NodeInfo
from skep.frontends.api.call import Call


class PathQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A path in a space; without a space it is the caller's own."""

    path: str
    space: str | None = None


class SpaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A space; without one it is the caller's own."""

    space: str | None = None


class NodeRef(msgspec.Struct, frozen=True, kw_only=True):
    """A node in a JSON body: its ``id``, or its ``path`` and maybe its ``space``."""

    id: str | None = None
    path: str | None = None
    space: str | None = None


def space_id(text: str | None) -> Id | None:
    """The id of a space in a query or body. Raises SpaceNotFound for what is no id."""
    if not text:
        return None
    try:
        return parse_id(text)
    except SkepError:
        raise SpaceNotFound(f"There is no space with the id {text[:64]!r}.") from None


async def referred(call: Call, ref: NodeRef) -> NodeInfo:
    """The node that a body names. Raises MalformedRequest when it names none or two."""
    if (ref.id is None) == (ref.path is None):
        raise MalformedRequest("Name the node by `id` or by `path`, one of them.")
    if ref.id is not None:
        try:
            node_id = parse_id(ref.id)
        except SkepError:
            raise NodeNotFound(f"There is nothing with the id {ref.id[:64]!r}.") from None
        return await call.services.filesystem.by_id(call.principal, node_id)
    assert ref.path is not None
    return await call.services.filesystem.by_path(call.principal, space_id(ref.space), ref.path)
