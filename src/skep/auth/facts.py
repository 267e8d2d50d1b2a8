"""Rows of what is known of users beside their profile: plain functions over a transaction."""

from __future__ import annotations

import sqlalchemy as sa

from skep.base.ids import Id
from skep.db import Transaction, prepared, upsert
from skep.db.schema_signin import mail_tokens, user_facts

_VERIFIED = prepared(sa.select(user_facts.c.verified_email).where(user_facts.c.user_id == sa.bindparam("user")))
_SET_VERIFIED = upsert(user_facts, ["user_id"], ["verified_email"])
_SET_DELETE = upsert(user_facts, ["user_id"], ["delete_us"])
_DELETE_AT = prepared(sa.select(user_facts.c.delete_us).where(user_facts.c.user_id == sa.bindparam("user")))
_DUE = prepared(
    sa.select(user_facts.c.user_id)
    .where(user_facts.c.delete_us <= sa.bindparam("now"))
    .order_by(user_facts.c.delete_us)
    .limit(sa.bindparam("page"))
)
_VOID_LINKS = prepared(sa.delete(mail_tokens).where(mail_tokens.c.user_id == sa.bindparam("user")))
_DROP = prepared(sa.delete(user_facts).where(user_facts.c.user_id == sa.bindparam("user")))


def set_verified_email(tx: Transaction, user_id: Id, address: str) -> None:
    """Letters have reached this address of a user."""
    tx.run(_SET_VERIFIED, {"user_id": user_id, "verified_email": address})


def is_verified(tx: Transaction, user_id: Id, address: str) -> bool:
    """Whether letters have reached the address that a user has now."""
    return bool(address) and tx.value(_VERIFIED, {"user": user_id}) == address


def set_deletion(tx: Transaction, user_id: Id, delete_us: int | None) -> None:
    """When the account is to go; None: it stays."""
    tx.run(_SET_DELETE, {"user_id": user_id, "delete_us": delete_us})


def deletion_of(tx: Transaction, user_id: Id) -> int | None:
    """When the account is to go (µs), if it is."""
    found: int | None = tx.value(_DELETE_AT, {"user": user_id})
    return found


def due_deletions(tx: Transaction, limit: int) -> list[Id]:
    """Users whose time has come, the longest due first."""
    return [bytes(found[0]) for found in tx.rows(_DUE, {"now": tx.now_us, "page": limit})]


def drop_facts(tx: Transaction, user_id: Id) -> None:
    """Forget what is known of a user, and void the links that they were sent."""
    tx.run(_DROP, {"user": user_id})
    tx.run(_VOID_LINKS, {"user": user_id})
