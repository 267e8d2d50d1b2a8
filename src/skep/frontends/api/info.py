"""Metadata of nodes: ``/api/filesystem/info`` and ``/api/filesystem/spaces``."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, NamedTuple, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from skep.base.errors import SpaceNotFound
from skep.filesystem import Entries, FileContent, NodeInfo, Wants
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import PathQuery, space_id
from skep.frontends.api.operation import Operation
from skep.frontends.api.records import Info, Space, space_record
from skep.frontends.api.share_records import Share, share_record
from skep.frontends.common.conditions import quoted
from skep.frontends.common.file_records import Node, node_record, node_records, version_record
from skep.frontends.common.preconditions import write_conditions

TAG = "files"
VERSIONS_SHOWN = 1000
CHUNKS_COUNTED = 1024
EVERYTHING = Wants(digests=True, tags=True)
_encoder = msgspec.json.Encoder()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """How deep and how much of a listing. ``after`` is the ``next`` of the page before."""

    depth: Annotated[int, Meta(ge=0, le=64)] = 0
    limit: Annotated[int, Meta(ge=1)] = 10_000
    after: str | None = None


class InfoQuery(Page, frozen=True, kw_only=True):
    """A node by path, and what is below it."""

    path: str = "/"
    space: str | None = None
    depth: Annotated[int, Meta(ge=0, le=64)] = 1


class NodeChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change of a node; what is left out stays."""

    name: str | UnsetType = UNSET
    mime: str | UnsetType = UNSET
    modified_us: int | UnsetType = UNSET
    attributes: dict[str, Any] | UnsetType = UNSET
    """The owner's own: merged in; a null takes one away."""
    tags: list[str] | UnsetType = UNSET
    """The caller's tags on the node: replaces all of them."""


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """``permanently``: past the trash."""

    permanently: bool = False


class DeletePath(PathQuery, frozen=True, kw_only=True):
    """A node by path; ``permanently``: past the trash."""

    permanently: bool = False


class SpaceChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``quota_bytes``: of all versions together; null: no limit."""

    quota_bytes: int | None


class Spaces(msgspec.Struct, frozen=True):
    """The spaces that the caller may use; the caller's own comes first."""

    spaces: list[Space]


class SpaceDay(msgspec.Struct, frozen=True):
    """``day_us``: when the day began (UTC); the bytes and versions that came on it and are there still."""

    day_us: int
    added_bytes: int
    versions: int


class SpaceDays(msgspec.Struct, frozen=True):
    """The oldest first; days on which nothing came are left out."""

    days: list[SpaceDay]


async def list_spaces(call: Call) -> Spaces:
    """List the spaces that the caller may use."""
    return Spaces([space_record(space) for space in await call.services.filesystem.spaces(call.principal)])


async def get_space(call: Call) -> Space:
    """Show one space."""
    return space_record(await call.services.filesystem.space(call.principal, call.id("space_id", SpaceNotFound)))


async def get_space_days(call: Call) -> SpaceDays:
    """Show when what a space holds came, by day: what was deleted for good is in none.

    The last sum is what all versions and the trash take now. Of a share it is not told.
    """
    found = await call.services.filesystem.days(call.principal, call.id("space_id", SpaceNotFound))
    return SpaceDays([SpaceDay(day.day_us, day.added_bytes, day.versions) for day in found])


async def change_space(call: Call, body: SpaceChange) -> Space:
    """Set the quota of a space (administrators); null is no limit."""
    wanted = call.id("space_id", SpaceNotFound)
    return space_record(await call.services.filesystem.set_quota(call.principal, wanted, body.quota_bytes))


async def info_by_path(call: Call, query: InfoQuery) -> Info:
    """Show a node by path and, of a directory, what is below it.

    ``depth`` says how many levels: 0 the node alone, 1 its entries. Entries come as flat lists with
    their paths and parents, ordered by path, at most ``limit`` in one answer.
    """
    node = await call.services.filesystem.by_path(call.principal, space_id(query.space), query.path)
    return await _info(call, node, query)


async def info_by_id(call: Call, query: Page) -> Info:
    """Show a node by id; of a file with its versions and the stores of its chunks."""
    node = await call.services.filesystem.by_id(call.principal, call.id("node_id"))
    return await _info(call, node, query)


async def change_info(call: Call, body: NodeChange) -> Node:
    """Save metadata of a node: name, type, time, attributes, tags.

    ``If-Match`` makes it conditional. Giving a name that is taken is a conflict.
    """
    return await _change(call, await call.services.filesystem.by_id(call.principal, call.id("node_id")), body)


async def change_info_by_path(call: Call, query: PathQuery, body: NodeChange) -> Node:
    """Save metadata of a node that is named by its path."""
    node = await call.services.filesystem.by_path(call.principal, space_id(query.space), query.path)
    return await _change(call, node, body)


async def delete_node(call: Call, query: Delete) -> None:
    """Delete a file or a directory with all below it: into the trash, or permanently."""
    await call.services.filesystem.delete(
        call.principal, call.id("node_id"), permanently=query.permanently, conditions=write_conditions(call.headers)
    )


async def delete_path(call: Call, query: DeletePath) -> None:
    """Delete what is at a path: into the trash, or permanently."""
    node = await call.services.filesystem.by_path(call.principal, space_id(query.space), query.path)
    await call.services.filesystem.delete(
        call.principal, node.id, permanently=query.permanently, conditions=write_conditions(call.headers)
    )


async def _info(call: Call, node: NodeInfo, page: Page) -> Info:
    call.answer_headers.append(("etag", quoted(node.etag)))
    if not node.is_directory:
        return await _file_info(call, node)
    limit = min(page.limit, call.services.limits.listing_items)
    shared_with = await _shared_with(call, node) or None
    if page.depth == 1:
        found = await _entries(call, node, limit, page.after)
        return Info(node_record(node), found.dirs, found.files, next=found.following, shared_with=shared_with)
    entries: list[NodeInfo] = []
    if page.depth:
        entries = await call.services.filesystem.listing(call.principal, node.id, page.depth, limit, page.after)
    below = len(node.path.rstrip("/")) + 1
    dirs: list[Node] = []
    files: list[Node] = []
    for entry in entries:
        (dirs if entry.kind == "directory" else files).append(node_record(entry))
    following = entries[-1].path[below:] if len(entries) == limit else None
    return Info(node_record(node), dirs, files, next=following, shared_with=shared_with)


class _Entries(NamedTuple):
    """What is in a directory, as JSON already."""

    dirs: list[Node]
    files: list[Node]
    following: str | None


def _encoded(entries: Entries) -> _Entries:
    dirs, files = (cast(list[Node], msgspec.Raw(_encoder.encode(nodes))) for nodes in node_records(entries))
    return _Entries(dirs, files, entries.following)


async def _entries(call: Call, node: NodeInfo, limit: int, after: str | None) -> _Entries:
    """One level, made into JSON by the thread that reads it."""
    return await call.services.filesystem.listed(call.principal, node.id, _encoded, limit, after, wants=EVERYTHING)


async def _shared_with(call: Call, node: NodeInfo) -> list[Share]:
    return [share_record(share) for share in await call.services.filesystem.shares_on(call.principal, node.id)]


async def _file_info(call: Call, node: NodeInfo) -> Info:
    files = call.services.filesystem
    versions = [version_record(v) for v in await files.versions(call.principal, node.id, VERSIONS_SHOWN)]
    current = next((v for v in versions if v.is_current), None)
    chunks = await _chunks_by_store(call, await files.open_file(call.principal, node.id))
    shared_with = await _shared_with(call, node)
    return Info(
        node_record(node), [], [], version=current, versions=versions, chunks=chunks, shared_with=shared_with or None
    )


async def _chunks_by_store(call: Call, content: FileContent) -> dict[str, int] | None:
    """How many chunks each store has a part of; None for a file too large to count on the way."""
    if len(content.manifest.chunks) > CHUNKS_COUNTED:
        return None
    places = await call.services.chunks.places(content.domain.domain_id, content.manifest)
    return dict(Counter(name for chunk in places for name in {store[0] for store in chunk.stores}))


async def _change(call: Call, node: NodeInfo, change: NodeChange) -> Node:
    files = call.services.filesystem
    given = {
        name: value
        for name in ("name", "attributes", "modified_us", "mime")
        if (value := getattr(change, name)) is not UNSET
    }
    if isinstance(change.tags, list):
        files.check_tags(change.tags)  # before anything is changed
    conditions = write_conditions(call.headers)
    if given or not isinstance(change.tags, list):
        node = await files.update(call.principal, node.id, conditions=conditions, **given)
    if isinstance(change.tags, list):
        node = await files.set_tags(call.principal, node.id, change.tags)
    call.answer_headers.append(("etag", quoted(node.etag)))
    return node_record(node)


OPERATIONS = (
    Operation("GET", "/api/filesystem/spaces", list_spaces, "files:read", TAG),
    Operation("GET", "/api/filesystem/spaces/{space_id}", get_space, "files:read", TAG),
    Operation("GET", "/api/filesystem/spaces/{space_id}/days", get_space_days, "files:read", TAG),
    Operation("PATCH", "/api/filesystem/spaces/{space_id}", change_space, "admin", TAG, admin=True),
    Operation("GET", "/api/filesystem/info", info_by_path, "files:read", TAG),
    Operation("POST", "/api/filesystem/info", change_info_by_path, "files:write", TAG),
    Operation("DELETE", "/api/filesystem/info", delete_path, "files:write", TAG, status=204),
    Operation("GET", "/api/filesystem/info/{node_id}", info_by_id, "files:read", TAG),
    Operation("POST", "/api/filesystem/info/{node_id}", change_info, "files:write", TAG),
    Operation("DELETE", "/api/filesystem/info/{node_id}", delete_node, "files:write", TAG, status=204),
)
