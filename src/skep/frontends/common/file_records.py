"""The JSON of files and versions, the same at every door. Ids are UUID text, times UTC microseconds, sizes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from skep.filesystem import Entries, NodeInfo, VersionInfo, WriteResult
from skep.frontends.common.id_text import shared_text, text_of, text_or_none


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def extension_of(name: str) -> str:
    """The extension with its dot, as ``.txt``; empty for none and for names that only start with a dot."""
    stem, dot, extension = name.rpartition(".")
    return dot + extension if stem and extension else ""


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


class Written(msgspec.Struct, frozen=True):
    """What an upload made."""

    node: Node
    version: Version
    created: bool
    """False: a new version of a file that was there."""


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


def node_records(entries: Entries) -> tuple[list[Node], list[Node]]:
    """The JSON of a page of a directory: the directories, the files."""
    space_id, parent_id = text_of(entries.space_id), text_of(entries.directory_id)
    prefix = entries.directory_path.rstrip("/") + "/"
    tags = entries.tags
    dirs: list[Node] = []
    files: list[Node] = []
    for name, node_id, size, etag, mime, created, modified, number, attributes, _, md5, sha1, sha256 in entries.rows:
        (dirs if number is None else files).append(
            Node(
                text_of(node_id),
                space_id,
                parent_id,
                name,
                "" if number is None else extension_of(name),
                prefix + name,
                "directory" if number is None else "file",
                size,
                etag,
                mime,
                number,
                created,
                modified,
                tags.get(node_id, ()) if tags else (),
                cast(Mapping[str, Any], msgspec.Raw(attributes.encode())) if attributes else {},
                md5 and md5.hex(),
                sha1 and sha1.hex(),
                sha256 and sha256.hex(),
            )
        )
    return dirs, files


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
