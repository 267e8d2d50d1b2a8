"""The trash: list, restore, purge."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import InvalidCursor
from skep.filesystem import TrashInfo
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import SpaceQuery, space_id
from skep.frontends.api.operation import Operation
from skep.frontends.api.records import Trashed, trashed_record
from skep.frontends.common.file_records import Node, node_record

TAG = "trash"
_POSITION = re.compile(r"(\d{1,18})\.([0-9a-f]{32})", re.ASCII)


class TrashQuery(SpaceQuery, frozen=True, kw_only=True):
    """A page of a space's trash, newest first."""

    limit: Annotated[int, Meta(ge=1)] = 1_000
    after: str | None = None


class TrashPage(msgspec.Struct, frozen=True):
    """Entries of the trash."""

    items: list[Trashed]
    next: str | None


class Restore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``path``: where to; left out: where it was."""

    path: str | None = None


class Purged(msgspec.Struct, frozen=True):
    """How many entries are gone for good."""

    purged: int


async def list_trash(call: Call, query: TrashQuery) -> TrashPage:
    """List what is in the trash of a space."""
    limit = min(query.limit, call.services.limits.listing_items)
    after = None if query.after is None else _position(query.after)
    entries = await call.services.filesystem.trash(call.principal, space_id(query.space), limit, after)
    more = len(entries) == limit
    return TrashPage([trashed_record(entry) for entry in entries], _position_text(entries[-1]) if more else None)


async def restore_from_trash(call: Call, body: Restore) -> Node:
    """Bring an entry back, with all below it."""
    node = await call.services.filesystem.restore_from_trash(call.principal, call.id("node_id"), body.path)
    return node_record(node)


async def purge(call: Call) -> None:
    """Delete one entry of the trash for good."""
    await call.services.filesystem.purge(call.principal, call.id("node_id"))


async def empty_trash(call: Call, query: SpaceQuery) -> Purged:
    """Delete everything in the trash of a space for good."""
    return Purged(await call.services.filesystem.empty_trash(call.principal, space_id(query.space)))


def _position_text(entry: TrashInfo) -> str:
    """Where a page ended, as ``next`` says it: when the last entry was deleted, and its id."""
    return f"{entry.deleted_us}.{entry.node_id.hex()}"


def _position(text: str) -> TrashInfo:
    """The entry that ``next`` stands for, as far as the order of entries needs it. Raises InvalidCursor."""
    match = _POSITION.fullmatch(text)
    if match is None:
        raise InvalidCursor(f"{text[:80]!r} is not the `next` of a page of the trash.")
    nobody = bytes(16)
    return TrashInfo(
        node_id=bytes.fromhex(match[2]),
        space_id=nobody,
        name="",
        kind="file",
        path="",
        size_bytes=0,
        deleted_us=int(match[1]),
        deleted_by=None,
    )


OPERATIONS = (
    Operation("GET", "/api/filesystem/trash", list_trash, "files:read", TAG),
    Operation("DELETE", "/api/filesystem/trash", empty_trash, "files:write", TAG),
    Operation("POST", "/api/filesystem/trash/{node_id}/restore", restore_from_trash, "files:write", TAG),
    Operation("DELETE", "/api/filesystem/trash/{node_id}", purge, "files:write", TAG, status=204),
)
