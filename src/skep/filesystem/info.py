"""From rows to records: what callers see of nodes, versions, spaces and the trash."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.events import encode_cursor
from skep.filesystem import tags as tags_
from skep.filesystem import tree, versions
from skep.filesystem.growth import Row, attributes_of
from skep.filesystem.records import DIRECTORY_MIME, NodeInfo, SpaceInfo, TrashInfo, VersionInfo
from skep.filesystem.spaces import Seen, Space
from skep.filesystem.tree import Node
from skep.filesystem.versions import Version

_DIGESTS = prepared(
    sa.select(s.versions.c.md5, s.versions.c.sha1, s.versions.c.sha256).where(s.versions.c.id == sa.bindparam("id"))
)
_n = s.nodes.c
_CHILDREN = prepared(
    sa.select(*tree.COLUMNS)
    .where(_n.parent_id == sa.bindparam("parent"), _n.name > sa.bindparam("after"))
    .order_by(_n.name)
    .limit(sa.bindparam("count"))
)
_CHILDREN_AND_DIGESTS = prepared(
    sa.select(*tree.COLUMNS, s.versions.c.md5, s.versions.c.sha1, s.versions.c.sha256)
    .join_from(s.nodes, s.versions, s.versions.c.id == _n.version_id, isouter=True)
    .where(_n.parent_id == sa.bindparam("parent"), _n.name > sa.bindparam("after"))
    .order_by(_n.name)
    .limit(sa.bindparam("count"))
)
Digests = tuple[bytes | None, bytes | None, bytes | None]
NO_DIGESTS: Digests = (None, None, None)


def space_info(space: Space) -> SpaceInfo:
    """What callers see of a space."""
    if space.seen is not None:
        return _shared_space_info(space, space.seen)
    return SpaceInfo(
        id=space.id,
        kind=space.kind,  # type: ignore[arg-type]
        owner_id=space.owner_id,
        name=space.name,
        root_id=space.root_id,
        quota_bytes=space.quota_bytes,
        used_bytes=space.used_bytes,
        cursor=encode_cursor(space.id, space.last_change),
        created_us=space.created_us,
    )


def _shared_space_info(space: Space, seen: Seen) -> SpaceInfo:
    share = seen.held.share
    return SpaceInfo(
        id=share.id,
        kind="share",
        owner_id=space.owner_id,
        name=seen.held.name,
        root_id=share.node_id,
        quota_bytes=None,
        used_bytes=seen.size_bytes if share.grants("read") else 0,
        cursor=encode_cursor(share.id, space.last_change),
        created_us=share.created_us,
        rights=share.rights,
    )


def seen(space: Space, node: NodeInfo) -> NodeInfo:
    """What a principal may see of a node in a view: of a share its id for the space, and nothing above its root."""
    if space.seen is None:
        return node
    if node.id != space.root_id:
        return msgspec.structs.replace(node, space_id=space.seen_id)
    return msgspec.structs.replace(node, space_id=space.seen_id, parent_id=None, name=space.seen.held.name)


def node_info(node: Node, path: str, tags: tuple[str, ...] = (), digests: Digests = NO_DIGESTS) -> NodeInfo:
    """What callers see of a node."""
    return info_of_row(tuple(node), path, tags, digests)


def described(tx: Transaction, space: Space, node: Node, path: str, user_id: Id) -> NodeInfo:
    """A node with the user's tags and the digests that are known."""
    digests = NO_DIGESTS
    if node.version_id is not None:
        row = tx.one(_DIGESTS, {"id": node.version_id})
        digests = NO_DIGESTS if row is None else (row[0], row[1], row[2])
    return seen(space, node_info(node, path, tags_.of_node(tx, user_id, node.id), digests))


def children(
    tx: Transaction, parent_id: Id, path: str, user_id: Id, after: str, count: int, *, digests: bool = True
) -> list[NodeInfo]:
    """Nodes directly in a directory whose names come after ``after``, in the order of their bytes."""
    span = {"parent": parent_id, "after": after, "count": count}
    rows = tx.rows(_CHILDREN_AND_DIGESTS if digests else _CHILDREN, span)
    tags = tags_.of_children(tx, user_id, parent_id)
    prefix = path if path == "/" else path + "/"
    none = () if digests else NO_DIGESTS
    return [info_of_row(row, prefix + row[3], tags.get(row[0], ()) if tags else (), none) for row in rows]


def info_of_row(
    row: tuple[Any, ...], path: str, tags: tuple[str, ...] = (), digests: tuple[bytes | None, ...] = ()
) -> NodeInfo:
    """What callers see of the node in a row of ``tree.COLUMNS``, which digests may follow."""
    # By position, because a listing makes ten thousand of these.
    node_id, space_id, parent_id, name, kind, size, changed, _, number, etag, mime, created, modified, *rest = row
    attributes, *known = rest
    if etag is None:
        etag, mime = tree.directory_etag(space_id, changed), DIRECTORY_MIME
    return NodeInfo(
        node_id,
        space_id,
        parent_id,
        name,
        kind,
        path,
        size,
        etag,
        mime,
        number,
        created,
        modified,
        tags,
        attributes_of(attributes) if attributes else {},
        *known,
        *digests,
    )


def version_info(version: Version, current_number: int | None) -> VersionInfo:
    """What callers see of a version."""
    return VersionInfo(
        id=version.id,
        node_id=version.node_id,
        number=version.number,
        size_bytes=version.size_bytes,
        etag=version.etag,
        mime=version.mime,
        created_us=version.created_us,
        modified_us=version.modified_us,
        created_by=version.created_by,
        is_current=version.number == current_number,
        md5=version.md5,
        sha1=version.sha1,
        sha256=version.sha256,
    )


def version_of_row(row: Row, current_number: int | None) -> VersionInfo:
    """What callers see of a version that was just made."""
    return version_info(versions.Version(**row), current_number)


def trash_info(node: Node, entry: tuple[Any, ...]) -> TrashInfo:
    """What callers see of an entry of the trash."""
    return TrashInfo(
        node_id=node.id,
        space_id=node.space_id,
        name=node.name,
        kind=node.kind,  # type: ignore[arg-type]
        path=entry[3],
        size_bytes=node.size_bytes,
        deleted_us=entry[4],
        deleted_by=entry[5],
    )
