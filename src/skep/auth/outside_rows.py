"""Rows of accounts elsewhere and of users' numbers: plain functions over a transaction."""

from __future__ import annotations

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Transaction, insert_new, prepared
from skep.db.schema_blocks import outside_users, user_numbers

_o, _n = outside_users.c, user_numbers.c
_BY_EXTERNAL = prepared(sa.select(_o.user_id).where(_o.external_id == sa.bindparam("external")))
_EXTERNAL_OF = prepared(sa.select(_o.external_id).where(_o.user_id == sa.bindparam("user")))
_INSERT = insert_new(outside_users)
_DROP = prepared(sa.delete(outside_users).where(_o.user_id == sa.bindparam("user")))
_NUMBER_OF = prepared(sa.select(_n.number).where(_n.user_id == sa.bindparam("user")))
_BY_NUMBER = prepared(sa.select(_n.user_id).where(_n.number == sa.bindparam("number")))
_LAST_NUMBER = prepared(sa.select(sa.func.max(_n.number)))
_INSERT_NUMBER = insert_new(user_numbers)


def user_of(tx: Transaction, external_id: str) -> Id | None:
    """The user of an account elsewhere."""
    known = tx.value(_BY_EXTERNAL, {"external": external_id})
    return None if known is None else bytes(known)


def external_of(tx: Transaction, user_id: Id) -> str | None:
    """What the accounting server calls a user."""
    known: str | None = tx.value(_EXTERNAL_OF, {"user": user_id})
    return known


def link_outside(tx: Transaction, external_id: str, user_id: Id) -> None:
    """Keep whose account that is. Raises RowExists."""
    tx.run(_INSERT, {"external_id": external_id, "user_id": user_id, "created_us": tx.now_us})


def drop_outside(tx: Transaction, user_id: Id) -> None:
    """Forget what an accounting server called a user who goes. The number is never given again."""
    tx.run(_DROP, {"user": user_id})


def number_of(tx: Transaction, user_id: Id) -> int | None:
    """The number of a user, if it was given one."""
    known = tx.value(_NUMBER_OF, {"user": user_id})
    return None if known is None else int(known)


def give_number(tx: Transaction, user_id: Id) -> int:
    """Give a user the next number. Raises RowExists: somebody took it at the same time."""
    number = int(tx.value(_LAST_NUMBER, {}) or 0) + 1
    tx.run(_INSERT_NUMBER, {"user_id": user_id, "number": number})
    return number


def numbered(tx: Transaction, number: int) -> Id | None:
    """The user who was given a number."""
    known = tx.value(_BY_NUMBER, {"number": number})
    return None if known is None else bytes(known)
