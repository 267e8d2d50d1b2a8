"""The JSON of files: what the API takes and gives. Ids are UUID text, times UTC microseconds, sizes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from skep.filesystem import NodeInfo, SpaceInfo, TrashInfo, VersionInfo, WriteResult
from skep.frontends.api.share_records import Share
from skep.frontends.common.id_text import shared_text, text_of, text_or_none


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def extension_of(name: str) -> str:
    """The extension with its dot, as ``.txt``; empty for none and for names that only start with a dot."""
    stem, dot, extension = name.rpartition(".")
    return dot + extension if stem and extension else ""


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


class Version(msgspec.Struct, frozen=True):
    """One content that a file has or had."""

    id: str
    number: int
    size_bytes: int
    etag: str
    mime: str
    md5: str | None
    sha1: str | None
    sha256: str | None
    created_us: int
    modified_us: int
    created_by: str | None
    is_current: bool


class Node(msgspec.Struct, frozen=True, gc=False):
    """A directory or a file."""

    id: str
    space_id: str
    parent_id: str | None
    name: str
    extension: str
    path: str
    kind: str
    """``file`` or ``directory``."""
    size_bytes: int
    """Of a directory: of all files below it."""
    etag: str
    mime: str
    version_number: int | None
    created_us: int
    modified_us: int
    tags: tuple[str, ...]
    """The caller's own."""
    attributes: Mapping[str, Any]
    md5: str | None = None
    sha1: str | None = None
    sha256: str | None = None


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


class Written(msgspec.Struct, frozen=True):
    """What an upload made."""

    node: Node
    version: Version
    created: bool
    """False: a new version of a file that was there."""


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


def node_record(node: NodeInfo) -> Node:
    """The JSON of a node."""
    return Node(
        text_of(node.id),
        shared_text(node.space_id),
        text_or_none(node.parent_id),
        node.name,
        extension_of(node.name) if node.kind == "file" else "",
        node.path,
        node.kind,
        node.size_bytes,
        node.etag,
        node.mime,
        node.version_number,
        node.created_us,
        node.modified_us,
        node.tags,
        node.attributes,
        _hex(node.md5),
        _hex(node.sha1),
        _hex(node.sha256),
    )


def version_record(version: VersionInfo) -> Version:
    """The JSON of a version."""
    return Version(
        id=text_of(version.id),
        number=version.number,
        size_bytes=version.size_bytes,
        etag=version.etag,
        mime=version.mime,
        md5=_hex(version.md5),
        sha1=_hex(version.sha1),
        sha256=_hex(version.sha256),
        created_us=version.created_us,
        modified_us=version.modified_us,
        created_by=text_or_none(version.created_by),
        is_current=version.is_current,
    )


def written_record(result: WriteResult) -> Written:
    """The JSON of a write."""
    return Written(node_record(result.node), version_record(result.version), result.created)


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
