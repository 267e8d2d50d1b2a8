"""Tags: each user's own words on nodes, at most 64 bytes each."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import InvalidCursor, SkepError
from skep.base.ids import Id, parse_id
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.file_records import Node, node_record

TAG = "tags"


class TagCount(msgspec.Struct, frozen=True):
    """A tag and how many nodes have it."""

    name: str
    count: int


class Tags(msgspec.Struct, frozen=True):
    """The caller's tags."""

    tags: list[TagCount]


class Tagged(msgspec.Struct, frozen=True):
    """The nodes that have a tag. ``next``: there may be more."""

    nodes: list[Node]
    next: str | None


class TaggedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page; ``after`` is the ``next`` of the page before."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    after: str | None = None


class SetTags(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All tags that the node is to have."""

    tags: list[str]


class RenameTag(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new name; ``merge``: it may be a tag that is there already, the two become one."""

    name: str
    merge: bool = False


class Renamed(msgspec.Struct, frozen=True):
    """On how many nodes the tag was renamed."""

    renamed: int


class Removed(msgspec.Struct, frozen=True):
    """From how many nodes the tag was taken."""

    removed: int


async def list_tags(call: Call) -> Tags:
    """List the caller's tags."""
    return Tags([TagCount(name, count) for name, count in await call.services.filesystem.tags(call.principal)])


async def list_tagged(call: Call, query: TaggedQuery) -> Tagged:
    """List the nodes that have a tag, in the order of their ids."""
    after = b"" if query.after is None else _node_id(query.after)
    found = await call.services.filesystem.by_tag(call.principal, call.path["name"], query.limit, after)
    nodes = [node_record(node) for node in found]
    return Tagged(nodes, nodes[-1].id if len(nodes) == query.limit else None)


def _node_id(text: str) -> Id:
    try:
        return parse_id(text)
    except SkepError:
        raise InvalidCursor(f"{text[:80]!r} is not the `next` of a page of nodes.") from None


async def set_tags(call: Call, body: SetTags) -> Node:
    """Replace the caller's tags on a node."""
    return node_record(await call.services.filesystem.set_tags(call.principal, call.id("node_id"), body.tags))


async def rename_tag(call: Call, body: RenameTag) -> Renamed:
    """Rename a tag on all nodes that have it.

    A name that is another tag of the caller's already is a conflict, unless ``merge`` says that they become one.
    """
    filesystem = call.services.filesystem
    return Renamed(await filesystem.rename_tag(call.principal, call.path["name"], body.name, merge=body.merge))


async def remove_tag(call: Call) -> Removed:
    """Take a tag off all nodes that have it."""
    return Removed(await call.services.filesystem.drop_tag(call.principal, call.path["name"]))


OPERATIONS = (
    Operation("GET", "/api/filesystem/tags", list_tags, "files:read", TAG),
    Operation("GET", "/api/filesystem/tags/{name}", list_tagged, "files:read", TAG),
    Operation("PUT", "/api/filesystem/tags/{name}", rename_tag, "files:write", TAG),
    Operation("DELETE", "/api/filesystem/tags/{name}", remove_tag, "files:write", TAG),
    Operation("PUT", "/api/filesystem/info/{node_id}/tags", set_tags, "files:write", TAG),
)
