"""Copying: new nodes that reference the same chunks; no bytes move.

Between domains the service wrote the contents anew first. A copy takes the current versions, the attributes, the
dead properties and the asking user's tags along; the older versions stay behind. A file copied onto a file becomes a
new version of it; whatever else is replaced goes to the trash. The rules are those of ``moves``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from skep.base.errors import ContentsChanged, InvalidPath
from skep.base.ids import Id
from skep.chunks.manifest import Manifest
from skep.db import Transaction
from skep.filesystem import facts, moves, properties, quota, subtree, tags, versions, views
from skep.filesystem.books import Books
from skep.filesystem.facts import Facts
from skep.filesystem.growth import Content, Directory, Growth, Row
from skep.filesystem.moves import Source, Target
from skep.filesystem.names import join_path
from skep.filesystem.records import Conditions
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Node
from skep.filesystem.versions import Version


def copy(
    tx: Transaction,
    books: Books,
    source_space: Space,
    node_id: Id,
    target: Target,
    conditions: Conditions,
    actor_id: Id,
    manifests: Mapping[Id, Manifest] | None = None,
    *,
    shallow: bool = False,
) -> Node:
    """Copy a node, with all below it unless ``shallow``, to a path; the new node.

    Raises what ``moves.move`` raises; also InvalidPath where source and target are the same.
    """
    here, there = views.lock_both(tx, source_space, target.space)
    source = moves.living(tx, here, node_id)
    node = source.node
    moves.require(source, conditions)
    views.check_depth(there, target.segments, books.limits.depth_max)
    place = views.resolve(tx, there, target.segments)
    if place.node is not None and place.node.id == node_id:
        raise InvalidPath(f'"{source.path}" cannot be copied onto itself', path=source.path)
    moves.check_target(source, place, target)
    nodes = [node] if shallow else subtree.nodes_below(tx, node, books.limits.tree_max)
    contents = _contents(tx, nodes, manifests, same_domain=here.domain_id == there.domain_id)
    quota.require_room(there, sum(one.size_bytes for one in nodes if not one.is_directory))
    onto = place.node if place.node is not None and not node.is_directory and not place.node.is_directory else None
    if place.node is not None and onto is None:
        there = moves.clear(tx, books, there, place, place.node, actor_id)
    growth = Growth(books, there, actor_id, tx.now_us)
    parent = Directory(place.chain[-1], join_path(target.segments[:-1]), place.chain, False)
    made = _grow(growth, parent, place.name, source, nodes, contents, onto)
    growth.flush(tx)
    copied = {old_id: row["id"] for old_id, row in made.items()}
    tags.copy(tx, actor_id, copied)
    if onto is not None:
        properties.drop(tx, [onto.id])
    properties.copy(tx, copied)
    facts.copy(tx, {old_id: row["id"] for old_id, row in made.items() if row["kind"] == "directory"})
    return Node(**made[node.id])


def _contents(
    tx: Transaction, nodes: Sequence[Node], manifests: Mapping[Id, Manifest] | None, *, same_domain: bool
) -> dict[Id, Content]:
    """The current content of every file, by version id."""
    current = versions.by_ids(tx, [node.version_id for node in nodes if node.version_id is not None])
    known = facts.of_many(tx, list(current))
    if same_domain:
        return {
            one: content_of(version, Manifest.decode(version.manifest), known.get(one))
            for one, version in current.items()
        }
    if manifests is None or not current.keys() <= manifests.keys():
        raise ContentsChanged("files changed while they were copied to another space: try again")
    return {one: content_of(version, manifests[one], known.get(one)) for one, version in current.items()}


def content_of(version: Version, manifest: Manifest, facts: Facts | None) -> Content:
    """The content of a version, and what doors keep of it, to become another one."""
    return Content(
        manifest, manifest.encode(), version.size_bytes, version.etag, version.md5, version.sha1, version.sha256, facts
    )


def _grow(
    growth: Growth,
    parent: Directory,
    name: str,
    source: Source,
    nodes: Sequence[Node],
    contents: Mapping[Id, Content],
    onto: Node | None,
) -> dict[Id, Row]:
    """Add a copy of every node; rows of the copies by the ids of the originals. Parents come before children."""
    parents: dict[Id, Directory] = {}
    made: dict[Id, Row] = {}
    for node in nodes:
        is_top = node.id == source.node.id
        into = parent if is_top or node.parent_id is None else parents[node.parent_id]
        as_name = name if is_top else node.name
        if node.version_id is None:
            directory = growth.make_directory(into, as_name, modified_us=node.modified_us, attributes=node.attributes)
            parents[node.id] = directory
            made[node.id] = growth.row(directory.id)
        else:
            there = onto._asdict() if is_top and onto is not None else None
            made[node.id], _ = growth.put(
                into,
                as_name,
                there,
                contents[node.version_id],
                mime=node.mime or "",
                modified_us=node.modified_us,
                attributes=node.attributes,
            )
    return made
