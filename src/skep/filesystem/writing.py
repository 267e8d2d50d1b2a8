"""Committing content to paths: one file, or thousands with a result for each, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from skep.base.errors import BucketNotFound, Conflict, ContentsChanged, InvalidPath, NameClash, SkepError
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import conditions as conditions_
from skep.filesystem import info, mimes, quota, tags, tree, views
from skep.filesystem.books import Books
from skep.filesystem.growth import Content, Directory, Growth, Row
from skep.filesystem.names import Segments, join_path, numbered_name
from skep.filesystem.records import Conditions, WriteResult
from skep.filesystem.spaces import Space
from skep.filesystem.tree import Node

NAME_ATTEMPTS_MAX = 1_000
"""Names tried for a file whose own is taken, where its sender may not know of what is there."""


class Incoming(NamedTuple):
    """Durable content on its way to a path."""

    segments: Segments
    content: Content
    mime: str | None
    modified_us: int | None
    conditions: Conditions
    below: int = 0
    """So many names at the front of the path must be there, whatever else may be made."""


def check_before(
    tx: Transaction,
    space: Space,
    segments: Segments,
    conditions: Conditions,
    size_bytes: int | None,
    *,
    parents: bool,
    below: int = 0,
) -> None:
    """Refuse early, before a body is taken, what the commit would refuse anyway as things stand now."""
    place = views.resolve(tx, space, segments)
    if len(place.chain) <= below:
        raise no_bucket(segments[:below])
    if place.blocked_by is not None:
        raise NameClash(f'path "{place.blocked_by}" exists as file', path=place.blocked_by)
    if place.missing_parents and not parents and not space.is_dropbox:
        raise tree.missing(join_path(segments[:-1]), "directory")
    there = place.node._asdict() if place.node is not None else None
    there = None if space.is_dropbox else there
    _check_there(there, segments, conditions)
    if not _may_overdraw(there, conditions, size_bytes or 0):
        quota.require_room(space, size_bytes or 0)


def put_files(
    tx: Transaction, books: Books, space: Space, actor_id: Id, items: Sequence[Incoming], *, parents: bool
) -> list[WriteResult | SkepError]:
    """Make each content the current version at its path; the result or the refusal of each, in order.

    A refused item leaves no trace; what the others made is committed together.
    """
    space = views.lock(tx, space)
    growth = Growth(books, space, actor_id, tx.now_us)
    growth.expect(item.segments for item in items)
    outcomes: list[SkepError | tuple[Row, Row, str]] = []
    there_before: list[Id] = []
    for item in items:
        try:
            outcomes.append(_put(tx, growth, item, there_before, parents=parents))
        except SkepError as refusal:
            outcomes.append(refusal)
    growth.flush(tx)
    tagged = tags.of_nodes(tx, actor_id, there_before) if there_before else {}
    return [one if isinstance(one, SkepError) else _result(space, one, tagged) for one in outcomes]


def put_file(
    tx: Transaction, books: Books, space: Space, actor_id: Id, item: Incoming, *, parents: bool
) -> WriteResult:
    """``put_files`` for one, which raises its refusal."""
    result = put_files(tx, books, space, actor_id, [item], parents=parents)[0]
    if isinstance(result, SkepError):
        raise result
    return result


def _put(
    tx: Transaction, growth: Growth, item: Incoming, there_before: list[Id], *, parents: bool
) -> tuple[Row, Row, str]:
    views.check_depth(growth.space, item.segments, growth.depth_max)
    parent, there, segments = _place(tx, growth, item, parents=parents)
    if parent is None and item.below:
        _check_below(tx, growth, item)
    _check_there(there, segments, item.conditions)
    size_bytes = item.content.size_bytes
    overdraws = _check_room(growth, size_bytes, may_overdraw=_may_overdraw(there, item.conditions, size_bytes))
    if there is None:
        growth.require_objects(tx, 1 if parent is not None else 1 + growth.missing(tx, segments))
    if parent is None:
        parent = growth.directory(tx, segments[:-1])
    growth.guard(tx, parent, None if there is None else there["id"])
    if there is not None:
        there_before.append(there["id"])
    name = segments[-1] if there is None else there["name"]
    row, version = growth.put(
        parent,
        name,
        there,
        item.content,
        mime=mimes.given(item.mime, name),
        modified_us=tx.now_us if item.modified_us is None else item.modified_us,
        replaces=item.conditions.replaces,
    )
    if overdraws:
        growth.overdraw(size_bytes)
    return dict(row), version, join_path(segments)


def _place(
    tx: Transaction, growth: Growth, item: Incoming, *, parents: bool
) -> tuple[Directory | None, Row | None, Segments]:
    """The directory of a path if it is there, what is at it, and the path: in a dropbox a free one."""
    segments, space = item.segments, growth.space
    if not segments:
        root = tree.node_by_id(tx, space.root_id)
        if root is None or root.is_directory:
            raise InvalidPath("the root of a space is a directory: give the path of a file", path="/")
        return Directory(space.base[-2], "/", space.base[:-1], False), growth.known(root), segments
    if not space.is_dropbox:
        return *growth.look(tx, segments, parents=parents), segments
    for attempt in range(1, NAME_ATTEMPTS_MAX):
        parent, there = growth.look(tx, segments, parents=True)
        if there is None:
            return parent, None, segments
        segments = (*item.segments[:-1], numbered_name(item.segments[-1], attempt + 1, ""))
    raise Conflict(f"{NAME_ATTEMPTS_MAX} files are named like {item.segments[-1]!r} here: give another name")


def _check_there(there: Row | None, segments: Segments, conditions: Conditions) -> None:
    path = join_path(segments)
    if there is not None and there["kind"] == "directory":
        raise NameClash(f'path "{path}" exists as directory', path=path)
    if conditions.node_id is not None and (there is None or there["id"] != conditions.node_id):
        raise ContentsChanged(f'the file was moved away from "{path}" while its content came: try again', path=path)
    if there is None:
        conditions_.require(conditions, None, 0, path)
    else:
        conditions_.require(conditions, there["etag"], there["modified_us"], path)


def _check_below(tx: Transaction, growth: Growth, item: Incoming) -> None:
    """Raise BucketNotFound unless the first names of the path are there."""
    top = item.segments[: item.below]
    if tree.resolve(tx, growth.space.root_id, top).node is None:
        raise no_bucket(top)


def no_bucket(top: Segments) -> BucketNotFound:
    """The error for a path whose first names must be there and are not."""
    name = join_path(top)[1:]
    return BucketNotFound(f"the bucket {name!r} does not exist", bucket=name)


def _check_room(growth: Growth, size_bytes: int, *, may_overdraw: bool) -> bool:
    """Raise QuotaExceeded for what does not fit, unless it may go over: whether it does."""
    space = growth.space
    taken = space._replace(used_bytes=space.used_bytes + growth.added_bytes)
    left = quota.room(taken)
    if may_overdraw and left is not None and size_bytes > left:
        return True
    quota.require_room(taken, size_bytes)
    return False


def _may_overdraw(there: Row | None, conditions: Conditions, size_bytes: int) -> bool:
    """Whether a write is let through over quota: it replaces a file, and the size changes by little."""
    if there is None or not conditions.replaces:
        return False
    return bool(abs(size_bytes - there["size_bytes"]) < conditions.spare_bytes)


def largest_overdrawing(tx: Transaction, space: Space, segments: Segments, conditions: Conditions) -> int:
    """How many bytes may come to a path whatever the quota says, as things stand now."""
    if not conditions.replaces or not conditions.spare_bytes:
        return 0
    node = views.resolve(tx, space, segments).node
    return 0 if node is None or node.is_directory else node.size_bytes + conditions.spare_bytes - 1


def _result(space: Space, outcome: tuple[Row, Row, str], tagged: dict[Id, tuple[str, ...]]) -> WriteResult:
    row, version, path = outcome
    node = Node(**row)
    digests = (version["md5"], version["sha1"], version["sha256"])
    return WriteResult(
        node=info.seen(space, info.node_info(node, path, tagged.get(node.id, ()), digests)),
        version=info.version_of_row(version, node.version_number),
        created=node.version_number == 1,
    )


def make_directory(
    tx: Transaction, books: Books, space: Space, actor_id: Id, segments: Segments, *, parents: bool, exist_ok: bool
) -> tuple[Node, bool]:
    """The directory at a path, and whether it is new. Raises NameClash, NodeNotFound."""
    space = views.lock(tx, space)
    views.check_depth(space, segments, books.limits.depth_max)
    place = views.resolve(tx, space, segments)
    if place.node is not None:
        if not place.node.is_directory or not exist_ok:
            raise NameClash(f'path "{place.path}" exists as {place.node.kind}', path=place.path)
        return place.node, False
    growth = Growth(books, space, actor_id, tx.now_us)
    made: Directory = growth.directory(tx, segments, parents=parents)
    growth.flush(tx)
    return Node(**growth.row(made.id)), True
