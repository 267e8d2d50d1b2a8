"""Prefixes in one transaction: names under which files are kept, each in one space for ever.

The files of a prefix are the files below ``/prefixes/<prefix>`` of its space, as any other file there.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.chance import random_bytes
from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.db.schema_blocks import prefixes
from skep.filesystem import spaces
from skep.filesystem.spaces import Space

DIRECTORY = "prefixes"
NAME_LENGTH_MAX = 36
_c = prefixes.c
_INSERT = insert_new(prefixes)
_OF_SPACE = prepared(
    sa.select(_c.name)
    .where(_c.space_id == sa.bindparam("space"), _c.name > sa.bindparam("after"))
    .order_by(_c.name)
    .limit(sa.bindparam("count"))
)
_BY_NAME = prepared(
    sa.select(s.users.c.state, *spaces.COLUMNS)
    .join_from(prefixes, s.spaces, s.spaces.c.id == _c.space_id)
    .outerjoin(s.users, s.users.c.id == s.spaces.c.owner_id)
    .where(_c.name == sa.bindparam("name"))
)
_DROP_OF_SPACE = prepared(sa.delete(prefixes).where(_c.space_id == sa.bindparam("space")))


class Prefix(NamedTuple):
    """A prefix, and the space whose owner pays for it."""

    name: str
    space: Space
    is_active: bool
    """Whether its owner is not suspended."""


def new_name() -> str:
    """A name that nobody else has: a random UUID (RFC 9562, version 4)."""
    return str(uuid.UUID(bytes=random_bytes(16), version=4))


def insert(tx: Transaction, name: str, space_id: Id) -> None:
    """Keep a new prefix. Raises RowExists."""
    tx.run(_INSERT, {"name": name, "space_id": space_id, "created_us": tx.now_us})


def of_space(tx: Transaction, space_id: Id, after: str, count: int) -> list[str]:
    """Names of a space's prefixes, in order."""
    return [row[0] for row in tx.rows(_OF_SPACE, {"space": space_id, "after": after, "count": count})]


def by_name(tx: Transaction, name: str) -> Prefix | None:
    """A prefix, if there is one of that name."""
    row = tx.one(_BY_NAME, {"name": name})
    return None if row is None else Prefix(name, Space(*row[1:]), row[0] in (None, "active"))


def drop_of_space(tx: Transaction, space_id: Id) -> None:
    """Forget the prefixes of a space that goes."""
    tx.run(_DROP_OF_SPACE, {"space": space_id})
