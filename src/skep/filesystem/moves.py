"""Moving: the node keeps its id, its versions, its ETag (a file's) and all that is below it.

What is at the target decides:

    target             overwrite=False   overwrite=True                 overwrite=True, replace_kind=True
    nothing            moved             moved                          moved
    the node itself    nothing happens   nothing happens                nothing happens
    same kind          NameClash         old node to the trash, moved   old node to the trash, moved
    other kind         NameClash         NameClash                      old node to the trash, moved
    below the node     InvalidPath       InvalidPath                    InvalidPath
    holds the node     NameClash         InvalidPath                    InvalidPath

The parent of the target must exist. Between spaces of one domain only rows change; between domains the service has
written the contents anew under the other domain first and gives the manifests along. Within a space a node keeps its
shares; another space has another owner, so there they end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.errors import ContentsChanged, InvalidPath, NameClash, NodeNotFound
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem import conditions as conditions_
from skep.filesystem import locks, quota, shares, subtree, trash, tree, versions, views
from skep.filesystem.books import Books
from skep.filesystem.names import Segments, join_path
from skep.filesystem.ports import Note
from skep.filesystem.records import Conditions
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Above, Node, Place, Touches

_PUT = prepared(
    sa.update(s.nodes)
    .where(s.nodes.c.id == sa.bindparam("node"))
    .values(parent_id=sa.bindparam("parent"), name=sa.bindparam("new_name"), changed=sa.bindparam("number"))
)
_ADOPT = prepared(
    sa.update(s.nodes)
    .where(s.nodes.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(space_id=sa.bindparam("space"), changed=sa.bindparam("number"))
)


class Target(NamedTuple):
    """Where a move or a copy leads, and what it may do to what is there."""

    space: Space
    segments: Segments
    overwrite: bool
    replace_kind: bool


class Source(NamedTuple):
    """A living node, with its space locked."""

    space: Space
    node: Node
    above: Above

    @property
    def path(self) -> str:
        """From the root of what is seen."""
        return self.above.path

    @property
    def whole_path(self) -> str:
        """From the root of the whole space."""
        return self.space.whole(self.above.path)


def living(tx: Transaction, space: Space, node_id: Id) -> Source:
    """A node that is in the seen tree of a space. Raises NodeNotFound."""
    above = views.above(tx, space, node_id)
    node = tree.node_by_id(tx, node_id)
    if node is None:
        raise NodeNotFound("no such file or directory")
    return Source(space, node, above)


def etag_of(node: Node) -> str:
    """The ETag that clients see."""
    return node.etag if node.etag is not None else tree.directory_etag(node.space_id, node.changed)


def require(source: Source, conditions: Conditions) -> None:
    """Raise PreconditionFailed if the conditions do not hold of a node."""
    conditions_.require(conditions, etag_of(source.node), source.node.modified_us, source.path)


def check_target(source: Source, place: Place, target: Target) -> None:
    """Raise what forbids the move or copy; see the table of the module."""
    node = source.node
    if node.id == source.space.root_id:
        raise InvalidPath("the root of a space stays where it is: take what is in it", path="/")
    if node.id in place.chain:
        raise InvalidPath(f'"{source.path}" cannot go into itself: "{place.path}" is below it', path=place.path)
    if place.blocked_by is not None:
        raise NameClash(f'path "{place.blocked_by}" exists as file', path=place.blocked_by)
    if place.missing_parents:
        parent = join_path(target.segments[:-1])
        raise NodeNotFound(f'directory "{parent}" does not exist', path=parent)
    if place.node is None:
        return
    if not target.overwrite:
        raise NameClash(f'path "{place.path}" exists as {place.node.kind}: allow overwriting it', path=place.path)
    if place.node.kind != node.kind and not target.replace_kind:
        raise NameClash(f'path "{place.path}" exists as {place.node.kind}, not as {node.kind}', path=place.path)
    if place.node.id in source.above.chain:
        raise InvalidPath(f'"{place.path}" cannot be replaced by what is in it', path=place.path)


def clear(tx: Transaction, books: Books, space: Space, place: Place, node: Node, actor_id: Id) -> Space:
    """Put what is at a place into the trash; the space as it is then."""
    above = Above(place.chain, place.segments, space.top_id)
    number = trash.put(tx, books, space, node, above, actor_id)
    return space._replace(last_change=number)


def move(
    tx: Transaction,
    books: Books,
    source_space: Space,
    node_id: Id,
    target: Target,
    conditions: Conditions,
    actor_id: Id,
    manifests: Mapping[Id, Manifest] | None = None,
) -> Node:
    """Move a node to a path. ``manifests`` has the contents of all its versions in the domain of the target space.

    Raises NodeNotFound, NameClash, InvalidPath, PreconditionFailed, QuotaExceeded, LimitReached; ContentsChanged when
    versions came or went since the manifests were made.
    """
    here, there = views.lock_both(tx, source_space, target.space)
    source = living(tx, here, node_id)
    require(source, conditions)
    views.check_depth(there, target.segments, books.limits.depth_max)
    place = views.resolve(tx, there, target.segments)
    if place.node is not None and place.node.id == node_id:
        return source.node
    check_target(source, place, target)
    locks.require_removable(tx, books, here, actor_id, source.above.chain, node_id)
    locks.require_writable(tx, books, there, actor_id, place.chain, None)
    if place.node is not None:
        there = clear(tx, books, there, place, place.node, actor_id)
    locks.end_below(tx, here, node_id)
    if here.id == there.id:
        return _within(tx, books, there, source, place, actor_id)
    return _between(tx, books, source, there, place, actor_id, manifests)


def _moved(node: Node, path: str, old_path: str | None) -> Note:
    return Note("moved", node.id, node.kind, path, node.size_bytes, old_path, node.version_number, node.etag)


def _within(tx: Transaction, books: Books, space: Space, source: Source, place: Place, actor_id: Id) -> Node:
    node = source.node
    number = books.record(tx, space, [_moved(node, space.whole(place.path), source.whole_path)], actor_id)
    _put(tx, node, place, number)
    shares.moved(tx, space.id, node.id, number)
    touches = Touches()
    touches.add(source.above.chain, number, -node.size_bytes)
    touches.add(place.chain, number, node.size_bytes)
    touches.write(tx, but={})
    return node._replace(parent_id=place.chain[-1], name=place.name, changed=number)


def _put(tx: Transaction, node: Node, place: Place, number: int) -> None:
    tx.run(_PUT, {"node": node.id, "parent": place.chain[-1], "new_name": place.name, "number": number})


def _between(
    tx: Transaction,
    books: Books,
    source: Source,
    there: Space,
    place: Place,
    actor_id: Id,
    manifests: Mapping[Id, Manifest] | None,
) -> Node:
    here, node = source.space, source.node
    nodes = subtree.nodes_below(tx, node, books.limits.tree_max)
    gone = Note("deleted", node.id, node.kind, source.whole_path, node.size_bytes, None, node.version_number, node.etag)
    left = books.record(tx, here, [gone], actor_id)
    came = books.record(tx, there, [_moved(node, there.whole(place.path), None)], actor_id)
    _bring_versions(tx, books, here, there, [one.id for one in nodes if not one.is_directory], manifests)
    for part in versions.parts([one.id for one in nodes]):
        shares.remove_on(tx, part)
        quota.require_objects(tx, there, len(part))
        tx.run(_ADOPT, {"ids": part, "space": there.id, "number": came})
    _put(tx, node, place, came)
    tree.touch(tx, source.above.chain, left, -node.size_bytes)
    tree.touch(tx, place.chain, came, node.size_bytes)
    return node._replace(space_id=there.id, parent_id=place.chain[-1], name=place.name, changed=came)


def _bring_versions(
    tx: Transaction,
    books: Books,
    here: Space,
    there: Space,
    files: Sequence[Id],
    manifests: Mapping[Id, Manifest] | None,
) -> None:
    """Let the other space pay for the versions, and its domain hold their chunks."""
    kept = versions.of_nodes(tx, files)
    size_bytes = sum(version.size_bytes for version in kept)
    quota.charge(tx, there, size_bytes)
    quota.give_back(tx, here.id, size_bytes)
    if here.domain_id == there.domain_id:
        return
    if manifests is None or manifests.keys() != {version.id for version in kept}:
        raise ContentsChanged("files changed while they were moved to another space: try again")
    books.chunks.reference(tx, there.domain_id, manifests.values())
    books.chunks.release(tx, here.domain_id, [Manifest.decode(version.manifest) for version in kept])
    versions.set_manifests(tx, {version_id: manifest.encode() for version_id, manifest in manifests.items()})
