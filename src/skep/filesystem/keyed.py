"""Buckets and keys in one transaction: finding, removing, copying what ``flat`` lists.

What always holds: a bucket is a directory right below the root of a space; removing the last key of a directory
removes the directory, unless it has facts of its own, and those above it that are then empty, up to the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from skep.base.errors import InUse, NodeNotFound, VersionNotFound
from skep.base.ids import Id, id_text
from skep.db import Database, Statement, Transaction, prepared, upsert
from skep.db import schema as s
from skep.filesystem import facts, locks, trash, tree, versions, views
from skep.filesystem.books import Books
from skep.filesystem.facts import Facts
from skep.filesystem.flat import Entry, Key
from skep.filesystem.names import stored_segments
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Above, Node, Place
from skep.filesystem.versions import Version
from skep.filesystem.writing import no_bucket

BUCKETS_MAX = 10_000

_n, _b = s.nodes.c, s.buckets.c
_BUCKET = prepared(sa.select(_b.document).where(_b.node_id == sa.bindparam("node")))
_PUT_BUCKET = upsert(s.buckets, ["node_id"], ["document"])
_BUCKETS = prepared(
    sa.select(_n.id, _n.name, _n.created_us, _b.document)
    .join_from(s.nodes, s.buckets, _b.node_id == _n.id, isouter=True)
    .where(_n.parent_id == sa.bindparam("root"), _n.version_id.is_(None), _n.name > sa.bindparam("after"))
    .order_by(_n.name)
    .limit(sa.bindparam("count"))
)
_ANY_CHILD = prepared(sa.select(_n.id).where(_n.parent_id == sa.bindparam("parent")).limit(1))
_SETTINGS_BY_NAME = prepared(
    sa.select(_b.document)
    .select_from(s.buckets)
    .join(s.nodes, _n.id == _b.node_id)
    .join(s.spaces, s.spaces.c.root_id == _n.parent_id)
    .where(_n.name == sa.bindparam("name"))
    .limit(sa.bindparam("count"))
)
TRASH_PAGE, TRASH_PAGES_MAX = 1_000, 100
_v = s.versions.c
_VERSIONS_OF = prepared(
    sa.select(_v.node_id, _v.id, _v.size_bytes, _v.etag, _v.md5, s.facts.c.etag, _v.created_us)
    .select_from(s.versions)
    .join(s.nodes, _n.id == _v.node_id)
    .join(s.facts, s.facts.c.about_id == _v.id, isouter=True)
    .where(_v.node_id.in_(sa.bindparam("nodes", expanding=True)), _n.space_id == sa.bindparam("space"))
    .order_by(_v.node_id, _v.number.desc())
)
_VERSION = prepared(sa.select(*versions.COLUMNS).where(s.versions.c.id == sa.bindparam("id")))


class Bucket(NamedTuple):
    """A bucket and what was set for it; ``document`` is empty where nothing was."""

    id: Id
    name: str
    created_us: int
    document: Mapping[str, Any]


class Found(NamedTuple):
    """What a key leads to. A directory has no version; what is in the trash has no ``place``."""

    bucket: Bucket
    place: Place | None
    node: Node
    version: Version | None
    facts: Facts | None


class Removed(NamedTuple):
    """What a removal did: the node that went to the trash, if one did; the version that went for good."""

    trashed_id: Id | None = None
    version_id: Id | None = None
    purge_id: Id | None = None
    """A node deleted for good that is still to be purged."""


class Past(NamedTuple):
    """A file that was deleted and is in the trash, under the key that it had."""

    key: str
    node_id: Id
    deleted_us: int
    versions: list[Entry]


def document_of(text: str | None) -> dict[str, Any]:
    """The JSON object of facts or of a bucket."""
    loaded: dict[str, Any] = json.loads(text) if text else {}
    return loaded


def past(tx: Transaction, space: Space, name: str, prefix: str, after: str, count: int) -> list[Past]:
    """Files in the trash that had keys with a prefix after a key, by key, the last deleted first."""
    start = f"/{name}/{prefix}"
    found: list[tuple[str, int, Id]] = []
    before: tuple[int, Id] | None = None
    for _ in range(TRASH_PAGES_MAX):
        page = trash.page(tx, space.id, before, TRASH_PAGE)
        for node, entry in page:
            path: str = entry[3]
            key = path[len(name) + 2 :]
            if not node.is_directory and path.startswith(start) and key > after:
                found.append((key, -entry[4], node.id))
        if len(page) < TRASH_PAGE:
            break
        before = (page[-1][1][4], page[-1][0].id)
    found = sorted(found)[:count]
    of = versions_of(tx, space, [node_id for _, _, node_id in found])
    return [Past(key, node_id, -deleted, of.get(node_id, [])) for key, deleted, node_id in found]


def versions_of(tx: Transaction, space: Space, node_ids: Sequence[Id]) -> dict[Id, list[Entry]]:
    """All versions of files of a space, the newest first; their keys are left out."""
    found: dict[Id, list[Entry]] = {}
    for part in versions.parts(node_ids):
        for node_id, *row in tx.rows(_VERSIONS_OF, {"nodes": part, "space": space.id}):
            found.setdefault(node_id, []).append(Entry("", node_id, *row))
    return found


def bucket(tx: Transaction, space: Space, name: str) -> Bucket:
    """A bucket by name. Raises BucketNotFound."""
    node = tree.child(tx, space.root_id, name)
    if node is None or not node.is_directory:
        raise no_bucket((name,))
    return Bucket(node.id, node.name, node.created_us, settings(tx, node.id))


def root_bucket(tx: Transaction, space: Space) -> Bucket:
    """A space or a share as a bucket, under the id that its user knows; it has no settings. Raises BucketNotFound."""
    node = tree.node_by_id(tx, space.root_id)
    name = id_text(space.seen_id)
    if node is None or not node.is_directory:
        raise no_bucket((name,))
    return Bucket(node.id, name, node.created_us, {})


def bucket_and_place(tx: Transaction, space: Space, key: Key) -> tuple[Bucket, Place]:
    """The bucket of a key, and where the key leads in it. Raises BucketNotFound."""
    if key.is_rooted:
        return root_bucket(tx, space), views.resolve(tx, space, key.segments)
    place = tree.resolve(tx, space.root_id, key.segments)
    if len(place.chain) < 2:
        raise no_bucket(key.segments[:1])
    return Bucket(place.chain[1], key.segments[0], 0, settings(tx, place.chain[1])), place


def _above(tx: Transaction, space: Space, place: Place, node: Node) -> Above:
    if space.seen is not None:
        return views.above(tx, space, node.id)
    return Above(place.chain, place.segments, space.root_id)


def buckets(tx: Transaction, space: Space, after: str, count: int) -> list[Bucket]:
    """Buckets of a space by name."""
    rows = tx.rows(_BUCKETS, {"root": space.root_id, "after": after, "count": min(count, BUCKETS_MAX)})
    return [Bucket(row[0], row[1], row[2], document_of(row[3])) for row in rows]


def settings(tx: Transaction, bucket_id: Id) -> dict[str, Any]:
    """What was set for a bucket."""
    return document_of(tx.value(_BUCKET, {"node": bucket_id}))


def settings_by_name(tx: Transaction, name: str, count: int) -> list[dict[str, Any]]:
    """What was set for the buckets of that name in all spaces: for requests that carry no credential."""
    return [document_of(row[0]) for row in tx.rows(_SETTINGS_BY_NAME, {"name": name, "count": count})]


def put_settings(tx: Transaction, bucket_id: Id, document: Mapping[str, Any]) -> None:
    """Keep the settings of a bucket."""
    tx.run(_PUT_BUCKET, {"node_id": bucket_id, "document": json.dumps(document, separators=(",", ":"))})


def remove_bucket(tx: Transaction, books: Books, space: Space, name: str, actor_id: Id) -> None:
    """Delete an empty bucket. Raises BucketNotFound, InUse. The space must be locked."""
    found = bucket(tx, space, name)
    if tx.one(_ANY_CHILD, {"parent": found.id}) is not None:
        raise InUse(f"the bucket {name!r} is not empty: delete what is in it first", bucket=name)
    node = tree.node_by_id(tx, found.id)
    assert node is not None
    _remove_empty(tx, books, space, node, Above((space.root_id,), (name,), space.root_id), actor_id)


async def file_at(db: Database, space: Space, key: Key) -> Found | None:
    """``look`` with one statement and nothing more, for a key that leads to a file. None: let ``look`` tell.

    Raises BucketNotFound, NodeNotFound.
    """
    if len(key.segments) > tree.RESOLVE_SEGMENTS_MAX or key.is_rooted:
        return None
    found = _found(key, space, await db.look(*_asked(key, space)))
    return None if found.version is None else found


def look(tx: Transaction, space: Space, key: Key) -> Found:
    """The current version at a key. Raises BucketNotFound, NodeNotFound."""
    if len(key.segments) > tree.RESOLVE_SEGMENTS_MAX or key.is_rooted:
        return _look_deep(tx, space, key)
    found = _found(key, space, tx.one(*_asked(key, space)))
    if found.version is None and found.facts is None and tx.one(_ANY_CHILD, {"parent": found.node.id}) is not None:
        raise _no_key(key)
    return found


def _asked(key: Key, space: Space) -> tuple[Statement, dict[str, object]]:
    params: dict[str, object] = {f"s{number}": name for number, name in enumerate(key.segments)}
    params["parent"] = space.root_id
    return _at_key(len(key.segments)), params


def _found(key: Key, space: Space, row: tuple[Any, ...] | None) -> Found:
    """What a row of ``_at_key`` says; whether a directory without facts is empty, it does not."""
    depth = len(key.segments)
    if row is None or row[0] is None or row[depth] != "directory":
        raise no_bucket(key.segments[:1])
    rest = row[depth + 1 :]
    of_bucket = Bucket(row[0], key.segments[0], 0, document_of(rest[0]))
    width = len(tree.COLUMNS)
    if rest[1] is None:
        raise _no_key(key)
    node = Node(*rest[1 : 1 + width])
    known = None if rest[1 + width] is None else Facts(*rest[2 + width : 4 + width])
    if node.is_directory is not key.is_directory:
        raise _no_key(key)
    place = Place(key.segments, (space.root_id, *row[: depth - 1]), node, None)
    version = None if node.version_id is None else Version(*rest[4 + width :])
    return Found(of_bucket, place, node, version, known)


@lru_cache(maxsize=tree.RESOLVE_SEGMENTS_MAX)
def _at_key(depth: int) -> Statement:
    """One statement for all of ``look``: the directories' ids, the bucket's kind and settings, node, facts, version."""
    steps = [s.nodes.alias(f"n{number}") for number in range(depth)]
    source: sa.FromClause = steps[0]
    for number in range(1, depth):
        upper, lower = steps[number - 1].c, steps[number].c
        same = sa.and_(lower.parent_id == upper.id, lower.name == sa.bindparam(f"s{number}"))
        source = source.outerjoin(steps[number], same)
    first, last = steps[0].c, steps[-1].c
    f, v = s.facts.c, s.versions.c
    source = source.outerjoin(s.buckets, _b.node_id == first.id)
    source = source.outerjoin(s.facts, f.about_id == sa.func.coalesce(last.version_id, last.id))
    source = source.outerjoin(s.versions, v.id == last.version_id)
    ids = [step.c.id for step in steps[:-1]]
    columns = [*ids, last.id, first.kind, _b.document, *(last[name] for name in Node._fields)]
    facts_columns = [f.about_id, f.etag, f.document]
    return prepared(
        sa.select(*columns, *facts_columns, *versions.COLUMNS)
        .select_from(source)
        .where(first.parent_id == sa.bindparam("parent"), first.name == sa.bindparam("s0"))
    )


def _look_deep(tx: Transaction, space: Space, key: Key) -> Found:
    """``look`` for keys of more names than one statement takes."""
    of_bucket, place = bucket_and_place(tx, space, key)
    node = place.node
    if node is None or node.is_directory is not key.is_directory:
        raise _no_key(key)
    if node.version_id is None:
        known = facts.of(tx, node.id)
        if known is None and tx.one(_ANY_CHILD, {"parent": node.id}) is not None:
            raise _no_key(key)
        return Found(of_bucket, place, node, None, known)
    return Found(of_bucket, place, node, versions.of_file(tx, node, None), facts.of(tx, node.version_id))


def look_at_version(tx: Transaction, space: Space, key: Key, version_id: Id) -> Found:
    """A version at a key by its id, also where the file is in the trash.

    Raises BucketNotFound, VersionNotFound; InUse where the id is that of a file in the trash: a delete marker.
    """
    of_bucket = root_bucket(tx, space) if key.is_rooted else bucket(tx, space, key.segments[0])
    missing = VersionNotFound("the key has no such version", key=key.text)
    row = tx.one(_VERSION, {"id": version_id})
    if row is None:
        if trashed_at(tx, space, key, version_id) is not None:
            raise InUse("this version is a delete marker: it has no content")
        raise missing
    version = Version._make(row)
    node = tree.node_by_id(tx, version.node_id)
    if node is None or node.space_id != space.id:
        raise missing
    place = views.resolve(tx, space, key.segments)
    if place.node is None or place.node.id != node.id:
        if trashed_at(tx, space, key, node.id) is None:
            raise missing
        place = place._replace(node=None)
    return Found(of_bucket, place if place.node else None, node, version, facts.of(tx, version.id))


def trashed_at(tx: Transaction, space: Space, key: Key, node_id: Id) -> Node | None:
    """The file of that id, if it was deleted at the key and is in the trash."""
    entry = None if key.is_rooted else trash.entry(tx, node_id)
    if entry is None or entry[1] != space.id or stored_segments(entry[3]) != key.segments:
        return None
    node = tree.node_by_id(tx, node_id)
    return None if node is None or node.is_directory else node


def remove(tx: Transaction, books: Books, space: Space, key: Key, actor_id: Id, *, for_good: bool) -> Removed:
    """Remove a key; that nothing is there is fine. Raises BucketNotFound. The space must be locked."""
    _, place = bucket_and_place(tx, space, key)
    node = place.node
    if node is None or node.is_directory is not key.is_directory:
        return Removed()
    above = _above(tx, space, place, node)
    removed = Removed()
    if node.is_directory:
        facts.drop(tx, [node.id])
        if tx.one(_ANY_CHILD, {"parent": node.id}) is not None:
            return removed
        space = _remove_empty(tx, books, space, node, above, actor_id)
    else:
        number = trash.put(tx, books, space, node, above, actor_id, for_good=for_good)
        space = space._replace(last_change=number)
        removed = Removed(purge_id=node.id) if for_good else Removed(trashed_id=node.id)
    prune(tx, books, space, above, actor_id, rooted=key.is_rooted)
    return removed


def prune(tx: Transaction, books: Books, space: Space, above: Above, actor_id: Id, *, rooted: bool) -> None:
    """Delete the directories above what went, from below, as long as they are empty and have no facts.

    The bucket stays; ``rooted``: that is the space or the share itself.
    """
    outside = len(space.base) - 1
    for depth in range(len(above.chain) - 1, outside if rooted else 1, -1):
        directory_id = above.chain[depth]
        if tx.one(_ANY_CHILD, {"parent": directory_id}) is not None or facts.of(tx, directory_id) is not None:
            return
        node = tree.node_by_id(tx, directory_id)
        if node is None:
            return
        way = Above(above.chain[:depth], above.segments[: depth - outside], above.top_id)
        space = _remove_empty(tx, books, space, node, way, actor_id)


def _remove_empty(tx: Transaction, books: Books, space: Space, node: Node, above: Above, actor_id: Id) -> Space:
    number = trash.put(tx, books, space, node, above, actor_id, for_good=True)
    trash.purge_step(tx, books, space, node.id)
    return space._replace(last_change=number)


def drop_version(tx: Transaction, books: Books, space: Space, found: Found, actor_id: Id) -> Removed:
    """Delete one version for good; of the current one the next older takes the place, of the only one the file goes.

    The space must be locked.
    """
    version, node = found.version, found.node
    assert version is not None
    gone = versions.Kept(version.id, node.id, version.size_bytes, version.manifest)
    if version.id != node.version_id:
        versions.let_go(tx, books, space, [gone])
        return Removed(version_id=version.id)
    if found.place is not None:
        locks.require_writable(tx, books, space, actor_id, found.place.chain, node.id)
    older = versions.page(tx, node.id, version.number, 1)
    if older:
        versions.step_back(tx, books, space, node, older[0], found.place, actor_id)
        versions.let_go(tx, books, space, [gone])
        return Removed(version_id=version.id)
    if found.place is None:
        trash.forget(tx, books, space, node.id, actor_id)
    else:
        above = _above(tx, space, found.place, node)
        number = trash.put(tx, books, space, node, above, actor_id, for_good=True)
        prune(tx, books, space._replace(last_change=number), above, actor_id, rooted=space.seen is not None)
    return Removed(version_id=version.id, purge_id=node.id)


def _no_key(key: Key) -> NodeNotFound:
    name = key.text
    return NodeNotFound(f"the key {name[:200]!r} does not exist", key=name)
