"""The JSON of files: what the API takes and gives. Ids are UUID text, times UTC microseconds, sizes bytes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from skep.filesystem import SpaceInfo, TrashInfo
from skep.frontends.api.share_records import Share
from skep.frontends.common.file_records import Node, Version
from skep.frontends.common.id_text import text_of, text_or_none


class Space(msgspec.Struct, frozen=True):
    """One tree of files with one owner; or, of kind ``share``, what somebody shared with the caller."""

    id: str
    kind: str
    """``personal``, ``group`` or ``share``."""
    name: str
    owner_id: str
    root_id: str
    quota_bytes: int | None
    """None: no limit; of a share: its owner's space pays."""
    used_bytes: int
    """All versions, trash included; of a personal space also what its owner stored through ``/api/chunk/``."""
    cursor: str
    """Ask for changes from here to see all that comes later."""
    created_us: int
    rights: str
    """``write``; of a share what it allows: ``read``, ``write`` or ``upload``."""


class Info(msgspec.Struct, frozen=True, omit_defaults=True):
    """A node; of a directory what is below it, of a file its versions and where its chunks lie."""

    info: Node
    dirs: list[Node]
    files: list[Node]
    next: str | None = None
    """More entries follow: ask again with ``after`` set to this."""
    version: Version | None = None
    versions: list[Version] | None = None
    chunks: Mapping[str, int] | None = None
    """Of a file: how many of its chunks each store has a part of."""
    shared_with: list[Share] | None = None
    """The shares on it and on what is above it, as far as the caller may change them."""


class Trashed(msgspec.Struct, frozen=True):
    """One entry of the trash."""

    id: str
    space_id: str
    name: str
    kind: str
    path: str
    """Where it was."""
    size_bytes: int
    deleted_us: int
    deleted_by: str | None


def space_record(space: SpaceInfo) -> Space:
    """The JSON of a space."""
    return Space(
        id=text_of(space.id),
        kind=space.kind,
        name=space.name,
        owner_id=text_of(space.owner_id),
        root_id=text_of(space.root_id),
        quota_bytes=space.quota_bytes,
        used_bytes=space.used_bytes,
        cursor=space.cursor,
        created_us=space.created_us,
        rights=space.rights,
    )


def trashed_record(entry: TrashInfo) -> Trashed:
    """The JSON of an entry of the trash."""
    return Trashed(
        id=text_of(entry.node_id),
        space_id=text_of(entry.space_id),
        name=entry.name,
        kind=entry.kind,
        path=entry.path,
        size_bytes=entry.size_bytes,
        deleted_us=entry.deleted_us,
        deleted_by=text_or_none(entry.deleted_by),
    )
