"""The JSON of a change, in the journal's listing and in the live stream. Ids are UUID text, times UTC microseconds."""

from __future__ import annotations

import msgspec

from skep.events import Change
from skep.frontends.common.id_text import text_of, text_or_none


class ChangeRecord(msgspec.Struct, frozen=True):
    """One entry of a space's journal."""

    number: int
    kind: str
    node_id: str
    node_kind: str
    path: str
    old_path: str | None
    version_number: int | None
    etag: str | None
    size_bytes: int
    actor_id: str | None
    at_us: int


def change_record(change: Change) -> ChangeRecord:
    """The JSON of a change."""
    return ChangeRecord(
        number=change.number,
        kind=change.kind,
        node_id=text_of(change.node_id),
        node_kind=change.node_kind,
        path=change.path,
        old_path=change.old_path,
        version_number=change.version_number,
        etag=change.etag,
        size_bytes=change.size_bytes,
        actor_id=text_or_none(change.actor_id),
        at_us=change.at_us,
    )
