"""Versions of files: list, restore, delete."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import VersionNotFound
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.file_records import Node, Version, node_record, version_record
from skep.frontends.common.preconditions import write_conditions

TAG = "versions"


class VersionsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page; ``before`` is the last number of the page before."""

    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000
    before: Annotated[int, Meta(ge=0, le=1 << 62)] | None = None


class Versions(msgspec.Struct, frozen=True):
    """The contents that a file has or had, newest first."""

    versions: list[Version]


def version_number(text: str) -> int:
    """The number of a version in a URL. Raises VersionNotFound for what is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise VersionNotFound(f"The file has no version {text[:40]!r}.")
    return int(text)


async def list_versions(call: Call, query: VersionsQuery) -> Versions:
    """List the versions of a file."""
    files = call.services.filesystem
    found = await files.versions(call.principal, call.id("node_id"), query.limit, query.before)
    return Versions([version_record(version) for version in found])


async def restore_version(call: Call) -> Node:
    """Make an old version current again, as a new version with its content."""
    number = version_number(call.path["number"])
    result = await call.services.filesystem.restore_version(
        call.principal, call.id("node_id"), number, conditions=write_conditions(call.headers)
    )
    return node_record(result.node)


async def delete_version(call: Call) -> None:
    """Delete a version that is not current; its room is free at once."""
    number = version_number(call.path["number"])
    await call.services.filesystem.delete_version(call.principal, call.id("node_id"), number)


OPERATIONS = (
    Operation("GET", "/api/filesystem/versions/{node_id}", list_versions, "files:read", TAG),
    Operation("POST", "/api/filesystem/versions/{node_id}/{number}/restore", restore_version, "files:write", TAG),
    Operation("DELETE", "/api/filesystem/versions/{node_id}/{number}", delete_version, "files:write", TAG, status=204),
)
