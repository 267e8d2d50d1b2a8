"""Directories and places in the tree: mkdir, move, copy."""

from __future__ import annotations

import msgspec

from skep.frontends.api.call import Call
from skep.frontends.api.files_query import NodeRef, referred, space_id
from skep.frontends.api.operation import Answer, Operation
from skep.frontends.common.file_records import Node, node_record
from skep.frontends.common.preconditions import write_conditions

TAG = "files"


class MakeDirectory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directory to make. ``parents``: make what is missing above it; ``exist_ok``: it may be there."""

    path: str
    space: str | None = None
    parents: bool = True
    exist_ok: bool = True


class Relocate(NodeRef, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node and its new place: ``to_path`` is the whole new path, last name included.

    ``overwrite``: a file that is there goes to the trash first.
    """

    to_path: str
    to_space: str | None = None
    overwrite: bool = False


async def make_directory(call: Call, body: MakeDirectory) -> Answer[Node]:
    """Make a directory: 201, or 200 if it was there."""
    node, is_new = await call.services.filesystem.ensure_directory(
        call.principal, space_id(body.space), body.path, parents=body.parents, exist_ok=body.exist_ok
    )
    return Answer(node_record(node), 201 if is_new else 200)


async def move(call: Call, body: Relocate) -> Node:
    """Move or rename a node; its id stays."""
    node = await referred(call, body)
    target = space_id(body.to_space) or node.space_id
    moved = await call.services.filesystem.move(
        call.principal,
        node.id,
        target,
        body.to_path,
        overwrite=body.overwrite,
        conditions=write_conditions(call.headers),
    )
    return node_record(moved)


async def copy(call: Call, body: Relocate) -> Answer[Node]:
    """Copy a node with all below it. No content is moved: copies share it."""
    node = await referred(call, body)
    target = space_id(body.to_space) or node.space_id
    copied = await call.services.filesystem.copy(
        call.principal,
        node.id,
        target,
        body.to_path,
        overwrite=body.overwrite,
        conditions=write_conditions(call.headers),
    )
    return Answer(node_record(copied), 201)


OPERATIONS = (
    Operation("POST", "/api/filesystem/mkdir", make_directory, "files:write", TAG, also=(201,)),
    Operation("POST", "/api/filesystem/move", move, "files:write", TAG),
    Operation("POST", "/api/filesystem/copy", copy, "files:write", TAG, status=201),
)
