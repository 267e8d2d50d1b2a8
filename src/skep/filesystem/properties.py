"""Dead properties: named XML elements that clients keep on nodes. Skep gives them back as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from skep.base.errors import BodyTooLarge, InvalidName, LimitReached
from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared, upsert
from skep.db import schema as s
from skep.filesystem.records import Limits
from skep.filesystem.versions import parts

NAME_BYTES_MAX = 255

_c = s.properties.c
_PUT = upsert(s.properties, ["node_id", "name"], ["value"])
_INSERT = insert_new(s.properties)
_REMOVE = prepared(sa.delete(s.properties).where(_c.node_id == sa.bindparam("node"), _c.name == sa.bindparam("which")))
_ANY = prepared(sa.select(_c.node_id).limit(1))
_OF_NODES = prepared(
    sa.select(_c.node_id, _c.name, _c.value)
    .where(_c.node_id.in_(sa.bindparam("nodes", expanding=True)))
    .order_by(_c.node_id, _c.name)
)
_SIZES = prepared(
    sa.select(sa.func.count(), sa.func.sum(sa.func.length(_c.value))).where(_c.node_id == sa.bindparam("node"))
)
_DROP = prepared(sa.delete(s.properties).where(_c.node_id.in_(sa.bindparam("nodes", expanding=True))))


def of_nodes(tx: Transaction, node_ids: Sequence[Id]) -> dict[Id, dict[str, str]]:
    """The properties of nodes by name, of those that have any."""
    if tx.one(_ANY) is None:
        return {}
    found: dict[Id, dict[str, str]] = {}
    for part in parts(node_ids):
        for node_id, name, value in tx.rows(_OF_NODES, {"nodes": part}):
            found.setdefault(bytes(node_id), {})[name] = value
    return found


def check(changes: Sequence[tuple[str, str | None]], limits: Limits) -> None:
    """Raise InvalidName or BodyTooLarge for what no node can take."""
    for name, value in changes:
        if len(name.encode()) > NAME_BYTES_MAX:
            raise InvalidName(
                f"the property {name[:64]!r} has a name of more than {NAME_BYTES_MAX} bytes, its namespace included"
            )
        if value is not None and len(value.encode()) > limits.properties_bytes_max:
            raise BodyTooLarge(
                f"the property {name[:64]!r} is over {limits.properties_bytes_max} bytes", part="property"
            )


def patch(tx: Transaction, node_id: Id, changes: Sequence[tuple[str, str | None]], limits: Limits) -> None:
    """Set properties, or remove those whose value is None, in order. Raises LimitReached: too many on one node."""
    for name, value in changes:
        if value is None:
            tx.run(_REMOVE, {"node": node_id, "which": name})
        else:
            tx.run(_PUT, {"node_id": node_id, "name": name, "value": value})
    row = tx.one(_SIZES, {"node": node_id})
    count, size = (int(row[0]), int(row[1] or 0)) if row is not None else (0, 0)
    if count > limits.properties_max or size > limits.properties_bytes_max:
        raise LimitReached(
            f"{count} properties of {size} characters are too many for one node; at most {limits.properties_max} "
            f"of {limits.properties_bytes_max} together are kept",
            limit=limits.properties_max,
        )


def copy(tx: Transaction, copies: Mapping[Id, Id]) -> None:
    """Put properties on copies too; ``copies`` maps the originals to them."""
    found = of_nodes(tx, list(copies))
    rows = [
        {"node_id": copies[node_id], "name": name, "value": value}
        for node_id, named in found.items()
        for name, value in named.items()
    ]
    tx.many(_INSERT, rows)


def drop(tx: Transaction, node_ids: Sequence[Id]) -> None:
    """Forget all properties of nodes; at most as many as one statement takes."""
    if node_ids:
        tx.run(_DROP, {"nodes": node_ids})
