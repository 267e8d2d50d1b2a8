"""Rows of invites: plain functions over a transaction.

An invite is spent by one conditional update, so two who race for its last use cannot both get it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from skep.auth.opaque_tokens import secret_hash
from skep.auth.records import InviteInfo
from skep.base.errors import Forbidden, NotFound
from skep.base.ids import Id, new_id
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import invites

_SELECT = sa.select(
    invites.c.id,
    invites.c.created_by,
    invites.c.group_id,
    invites.c.is_admin,
    invites.c.uses_left,
    invites.c.created_us,
    invites.c.expires_us,
)
_BY_TOKEN = prepared(
    _SELECT.where(
        invites.c.token_hash == sa.bindparam("for_hash"),
        invites.c.uses_left > 0,
        invites.c.expires_us > sa.bindparam("now"),
    )
)
_ALL = prepared(
    _SELECT.where(invites.c.uses_left > 0, invites.c.expires_us > sa.bindparam("now"))
    .order_by(invites.c.id)
    .limit(sa.bindparam("page"))
)
_INSERT = insert_new(invites)
_SPEND = prepared(
    sa.update(invites)
    .where(invites.c.id == sa.bindparam("invite"), invites.c.uses_left > 0)
    .values(uses_left=invites.c.uses_left - 1)
)
_DELETE = prepared(sa.delete(invites).where(invites.c.id == sa.bindparam("invite")))
_DELETE_OF_GROUP = prepared(sa.delete(invites).where(invites.c.group_id == sa.bindparam("for_group")))
_DELETE_OF_USER = prepared(sa.delete(invites).where(invites.c.created_by == sa.bindparam("user")))
_PURGE = prepared(
    sa.delete(invites).where(sa.or_(invites.c.uses_left <= 0, invites.c.expires_us <= sa.bindparam("now")))
)


def _info(found: tuple[Any, ...]) -> InviteInfo:
    invite_id, created_by, group_id, is_admin, uses_left, created_us, expires_us = found
    group = None if group_id is None else bytes(group_id)
    return InviteInfo(bytes(invite_id), bytes(created_by), group, bool(is_admin), uses_left, created_us, expires_us)


def insert_invite(
    tx: Transaction, token: str, *, created_by: Id, group_id: Id | None, is_admin: bool, uses: int, expires_us: int
) -> InviteInfo:
    """Make an invite of a token."""
    info = InviteInfo(new_id(), created_by, group_id, is_admin, uses, tx.now_us, expires_us)
    row = {
        "id": info.id,
        "token_hash": secret_hash(token),
        "created_by": created_by,
        "group_id": group_id,
        "is_admin": int(is_admin),
        "uses_left": uses,
        "created_us": tx.now_us,
        "expires_us": expires_us,
    }
    tx.run(_INSERT, row)
    return info


def usable_invite(tx: Transaction, token: str) -> InviteInfo:
    """The invite of a token, if it still can be used. Raises Forbidden, the same for every reason."""
    found = tx.one(_BY_TOKEN, {"for_hash": secret_hash(token), "now": tx.now_us})
    if found is None:
        raise _unusable()
    return _info(found)


def spend_invite(tx: Transaction, token: str) -> InviteInfo:
    """Take one use of an invite. Raises Forbidden when none is left."""
    info = usable_invite(tx, token)
    if tx.run(_SPEND, {"invite": info.id}) != 1:
        raise _unusable()
    return info


def list_invite_rows(tx: Transaction, limit: int) -> list[InviteInfo]:
    """Invites that can still be used, oldest first."""
    return [_info(found) for found in tx.rows(_ALL, {"now": tx.now_us, "page": limit})]


def remove_invite(tx: Transaction, invite_id: Id) -> None:
    """Delete an invite. Raises NotFound."""
    if tx.run(_DELETE, {"invite": invite_id}) != 1:
        raise NotFound("no such invite: it may have been used up or revoked")


def drop_invites_to_group(tx: Transaction, group_id: Id) -> None:
    """Delete the invites into a group."""
    tx.run(_DELETE_OF_GROUP, {"for_group": group_id})


def drop_invites_by(tx: Transaction, user_id: Id) -> None:
    """Delete the invites that a user gave out."""
    tx.run(_DELETE_OF_USER, {"user": user_id})


def purge_invites(tx: Transaction) -> int:
    """Delete what nobody can use any more; how many."""
    return tx.run(_PURGE, {"now": tx.now_us})


def _unusable() -> Forbidden:
    return Forbidden("the invite is unknown, used up or expired: ask for a new one", reason="invite")
