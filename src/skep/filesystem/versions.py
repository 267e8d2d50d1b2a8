"""Versions: every content that a file has or had, numbered from 1; the newest is current."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from skep.base.errors import InUse, VersionNotFound
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem import facts, quota, tree
from skep.filesystem.books import Books
from skep.filesystem.ports import Note
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Node, Place

IDS_PER_STATEMENT = 512


class Version(NamedTuple):
    """A row of ``versions``."""

    id: Id
    node_id: Id
    number: int
    size_bytes: int
    etag: str
    mime: str
    md5: bytes | None
    sha1: bytes | None
    sha256: bytes | None
    manifest: bytes
    created_us: int
    modified_us: int
    created_by: Id | None


class Kept(NamedTuple):
    """What must be let go with a version."""

    id: Id
    node_id: Id
    size_bytes: int
    manifest: bytes


_c = s.versions.c
COLUMNS = tuple(_c[name] for name in Version._fields)
_KEPT = tuple(_c[name] for name in Kept._fields)
_ONE = prepared(sa.select(*COLUMNS).where(_c.node_id == sa.bindparam("node"), _c.number == sa.bindparam("which")))
_BY_ID = prepared(sa.select(*COLUMNS).where(_c.id == sa.bindparam("id")))
_OF_NODE = prepared(
    sa.select(*[sa.literal_column("''") if name == "manifest" else _c[name] for name in Version._fields])
    .where(_c.node_id == sa.bindparam("node"), _c.number < sa.bindparam("before"))
    .order_by(_c.number.desc())
    .limit(sa.bindparam("count"))
)
_BEYOND = prepared(
    sa.select(*_KEPT)
    .where(_c.node_id == sa.bindparam("node"))
    .order_by(_c.number.desc())
    .limit(sa.bindparam("count"))
    .offset(sa.bindparam("keep"))
)
_BEFORE = prepared(
    sa.select(*_KEPT)
    .where(_c.node_id == sa.bindparam("node"), _c.number < sa.bindparam("which"))
    .order_by(_c.number)
    .limit(sa.bindparam("count"))
)
_OF_NODES = prepared(sa.select(*_KEPT).where(_c.node_id.in_(sa.bindparam("nodes", expanding=True))))
_BY_IDS = prepared(sa.select(*COLUMNS).where(_c.id.in_(sa.bindparam("ids", expanding=True))))
_DELETE = prepared(sa.delete(s.versions).where(_c.id.in_(sa.bindparam("ids", expanding=True))))
_SET_MANIFEST = prepared(
    sa.update(s.versions).where(_c.id == sa.bindparam("version")).values(manifest=sa.bindparam("new_manifest"))
)
_SET_DIGESTS = prepared(
    sa.update(s.versions)
    .where(_c.id == sa.bindparam("version"))
    .values(md5=sa.bindparam("new_md5"), sha1=sa.bindparam("new_sha1"), sha256=sa.bindparam("new_sha256"))
)

_SET_CURRENT = prepared(
    sa.update(s.nodes)
    .where(s.nodes.c.id == sa.bindparam("node"))
    .values(
        {
            name: sa.bindparam(f"new_{name}")
            for name in ("size_bytes", "changed", "version_id", "version_number", "etag", "mime", "modified_us")
        }
    )
)

PRUNE_MAX = 1_000
"""Versions let go in one step."""


def of_file(tx: Transaction, node: Node, number: int | None) -> Version:
    """One version of a file, the current one if ``number`` is None. Raises VersionNotFound."""
    if number is None:
        row = tx.one(_BY_ID, {"id": node.version_id})
    else:
        row = tx.one(_ONE, {"node": node.id, "which": number})
    if row is None:
        raise VersionNotFound(f"{node.name!r} has no version {number}: list its versions", number=number)
    return Version._make(row)


def page(tx: Transaction, node_id: Id, before: int, count: int) -> list[Version]:
    """Versions of a file below a number, the newest first, with their manifests left out."""
    return [Version._make(row) for row in tx.rows(_OF_NODE, {"node": node_id, "before": before, "count": count})]


def by_ids(tx: Transaction, ids: Sequence[Id]) -> dict[Id, Version]:
    """Versions with their manifests."""
    found: dict[Id, Version] = {}
    for part in parts(ids):
        found.update((row[0], Version._make(row)) for row in tx.rows(_BY_IDS, {"ids": part}))
    return found


def of_nodes(tx: Transaction, node_ids: Sequence[Id]) -> list[Kept]:
    """All versions of files."""
    found: list[Kept] = []
    for part in parts(node_ids):
        found.extend(Kept._make(row) for row in tx.rows(_OF_NODES, {"nodes": part}))
    return found


def keep_newest(tx: Transaction, books: Books, space: Space, node_id: Id, keep: int) -> int:
    """Let go of versions of a file beyond the newest ``keep``; how many went."""
    rows = tx.rows(_BEYOND, {"node": node_id, "keep": max(1, keep), "count": PRUNE_MAX})
    return let_go(tx, books, space, [Kept._make(row) for row in rows])


def drop_before(tx: Transaction, books: Books, space: Space, node_id: Id, number: int) -> int:
    """Let go of versions of a file older than a number; how many went, at most PRUNE_MAX."""
    rows = tx.rows(_BEFORE, {"node": node_id, "which": number, "count": PRUNE_MAX})
    return let_go(tx, books, space, [Kept._make(row) for row in rows])


def drop(tx: Transaction, books: Books, space: Space, node: Node, number: int) -> None:
    """Let go of one version that is not the current. Raises VersionNotFound, InUse."""
    if number == node.version_number:
        raise InUse(f"version {number} of {node.name!r} is the current one: delete the file, or write a newer version")
    version = of_file(tx, node, number)
    let_go(tx, books, space, [Kept(version.id, node.id, version.size_bytes, version.manifest)])


def step_back(
    tx: Transaction, books: Books, space: Space, node: Node, older: Version, place: Place | None, actor_id: Id
) -> None:
    """Make an older version the current one again; ``place`` None: of a file in the trash."""
    number = node.changed
    if place is not None:
        note = Note(
            "updated", node.id, "file", place.path, older.size_bytes, version_number=older.number, etag=older.etag
        )
        number = books.record(tx, space, [note], actor_id)
        tree.touch(tx, place.chain, number, older.size_bytes - node.size_bytes)
    tx.run(
        _SET_CURRENT,
        {
            "node": node.id,
            "new_size_bytes": older.size_bytes,
            "new_changed": number,
            "new_version_id": older.id,
            "new_version_number": older.number,
            "new_etag": older.etag,
            "new_mime": older.mime,
            "new_modified_us": older.modified_us,
        },
    )


def let_go(tx: Transaction, books: Books, space: Space, gone: Sequence[Kept]) -> int:
    """Delete versions, give their bytes back and release their chunks; how many there were."""
    if not gone:
        return 0
    quota.give_back(tx, space.id, sum(version.size_bytes for version in gone))
    books.chunks.release(tx, space.domain_id, [Manifest.decode(version.manifest) for version in gone])
    for part in parts([version.id for version in gone]):
        tx.run(_DELETE, {"ids": part})
        facts.drop(tx, part)
    return len(gone)


def set_manifests(tx: Transaction, manifests: dict[Id, bytes]) -> None:
    """Point versions at the chunks of another domain."""
    tx.many(_SET_MANIFEST, [{"version": version, "new_manifest": body} for version, body in manifests.items()])


def set_digests(tx: Transaction, version_id: Id, digests: dict[str, bytes]) -> None:
    """Fill in the digests of a version."""
    tx.run(
        _SET_DIGESTS, {"version": version_id, **{f"new_{name}": digests[name] for name in ("md5", "sha1", "sha256")}}
    )


def parts(ids: Sequence[Id]) -> list[Sequence[Id]]:
    """Ids in runs that one IN list takes."""
    return [ids[at : at + IDS_PER_STATEMENT] for at in range(0, len(ids), IDS_PER_STATEMENT)]


def digests_of(version: Any) -> dict[str, bytes]:
    """The digests that a version row or record knows."""
    known = {name: getattr(version, name) for name in ("md5", "sha1", "sha256")}
    return {name: value for name, value in known.items() if value is not None}
