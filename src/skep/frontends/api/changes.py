"""The change journal of a space, with long polling."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import msgspec
from msgspec import Meta

from skep.filesystem import ChangePage
from skep.frontends.api.call import Call
from skep.frontends.api.files_query import SpaceQuery, space_id
from skep.frontends.api.operation import Operation
from skep.frontends.common.change_records import ChangeRecord, change_record

TAG = "changes"


class ChangesQuery(SpaceQuery, frozen=True, kw_only=True):
    """Changes after ``cursor`` (left out: from the journal's start); waits up to ``timeout_s`` for the first."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1)] = 1_000
    timeout_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0


class Changes(msgspec.Struct, frozen=True):
    """A run of the journal. ``cursor``: ask on from here; ``more``: there is more already."""

    changes: list[ChangeRecord]
    cursor: str
    more: bool


async def list_changes(call: Call, query: ChangesQuery) -> Changes:
    """List changes of a space since a cursor, or wait for the next one.

    An old cursor that the journal no longer reaches gives 410 ``cursor-too-old``: list anew. Too many
    waits of one user at a time give 429.
    """
    with call.services.polls.enter(call.principal.user_id) if query.timeout_s else nullcontext():
        page = await _page(call, query)
    return Changes([change_record(change) for change in page.changes], page.cursor, page.more)


async def _page(call: Call, query: ChangesQuery) -> ChangePage:
    limits = call.services.limits
    return await call.services.filesystem.changes(
        call.principal,
        space_id(query.space),
        query.cursor,
        min(query.limit, limits.changes_items),
        min(query.timeout_s, limits.poll_s),
    )


OPERATIONS = (Operation("GET", "/api/filesystem/changes", list_changes, "files:read", TAG),)
