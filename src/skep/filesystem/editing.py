"""Changing facts of a node: name, time, media type, attributes. Its content and, of a file, its ETag stay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from skep.base.errors import BadInput, BodyTooLarge, InvalidPath
from skep.base.ids import Id
from skep.db import Transaction, prepared
from skep.db import schema as s
from skep.filesystem import locks, mimes, moves, tree, views
from skep.filesystem.books import Books
from skep.filesystem.growth import attributes_of
from skep.filesystem.moves import Source, Target
from skep.filesystem.names import check_name, check_time
from skep.filesystem.ports import Note
from skep.filesystem.records import Conditions
from skep.filesystem.spaces import Space

_UPDATE = prepared(
    sa.update(s.nodes)
    .where(s.nodes.c.id == sa.bindparam("node"))
    .values(
        changed=sa.bindparam("number"),
        modified_us=sa.bindparam("new_modified_us"),
        mime=sa.bindparam("new_mime"),
        attributes=sa.bindparam("new_attributes"),
    )
)


class Change(NamedTuple):
    """What to change; None leaves as it is."""

    name: str | None
    attributes: Mapping[str, Any] | None
    modified_us: int | None
    mime: str | None

    @property
    def is_of_facts(self) -> bool:
        """Whether more than the name changes."""
        return any(one is not None for one in (self.attributes, self.modified_us, self.mime))


def check(change: Change) -> None:
    """Raise InvalidName or BadInput for what no node can take."""
    if change.name is not None:
        check_name(change.name)
    check_time(change.modified_us)
    if change.mime is not None and mimes.given(change.mime, "") != change.mime:
        raise BadInput(f"{change.mime[:64]!r} is not a media type such as text/plain")


def update(
    tx: Transaction, books: Books, space: Space, node_id: Id, change: Change, conditions: Conditions, actor_id: Id
) -> None:
    """Change a living node. Raises NodeNotFound, NameClash, InvalidPath, PreconditionFailed, BodyTooLarge, BadInput."""
    space = views.lock(tx, space)
    source = moves.living(tx, space, node_id)
    moves.require(source, conditions)
    if change.name is not None and change.name != source.node.name:
        if node_id == space.root_id:
            raise InvalidPath("the root of a space has no name of its own", path="/")
        target = Target(space, (*source.above.segments[:-1], change.name), overwrite=False, replace_kind=False)
        moves.move(tx, books, space, node_id, target, Conditions(), actor_id)
        space = views.lock(tx, space)
        source = moves.living(tx, space, node_id)
    if change.is_of_facts:
        locks.require_writable(tx, books, space, actor_id, source.above.chain, node_id)
        update_facts(tx, books, source, change, actor_id)


def update_facts(tx: Transaction, books: Books, source: Source, change: Change, actor_id: Id) -> None:
    """Write the facts that change, and that they did: also where none does, for what is kept beside the node."""
    node = source.node
    if change.mime is not None and node.is_directory:
        raise BadInput(f'"{source.path}" is a directory: it has no media type')
    attributes = node.attributes
    if change.attributes is not None:
        attributes = _merged(node.attributes, change.attributes, books.limits.attributes_bytes_max)
    path = source.whole_path
    note = Note("metadata", node.id, node.kind, path, node.size_bytes, None, node.version_number, node.etag)
    number = books.record(tx, source.space, [note], actor_id)
    tx.run(
        _UPDATE,
        {
            "node": node.id,
            "number": number,
            "new_modified_us": node.modified_us if change.modified_us is None else change.modified_us,
            "new_mime": node.mime if change.mime is None else change.mime,
            "new_attributes": attributes,
        },
    )
    tree.touch(tx, source.above.chain, number, 0)


def _merged(old: str | None, changes: Mapping[str, Any], bytes_max: int) -> str | None:
    merged = {**attributes_of(old), **changes}
    kept = {name: value for name, value in merged.items() if value is not None}
    if not kept:
        return None
    try:
        text = json.dumps(kept, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"attributes must be JSON: {error}") from None
    if len(text) > bytes_max:
        raise BodyTooLarge(f"attributes of {len(text)} bytes are too many; at most {bytes_max} are allowed")
    return text
