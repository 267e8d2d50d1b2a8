"""Rows of groups and memberships: plain functions over a transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from skep.auth.names import key_of
from skep.auth.records import GroupDetail, GroupInfo, MemberInfo, Role
from skep.base.errors import AlreadyExists, BadInput, GroupNotFound
from skep.base.ids import Id, new_id
from skep.db import Transaction, insert_new, prepared, upsert
from skep.db.schema import groups, memberships, users

_SELECT = sa.select(groups.c.id, groups.c.name, groups.c.created_us)
_BY_ID = prepared(_SELECT.where(groups.c.id == sa.bindparam("for_group")))
_BY_NAME = prepared(_SELECT.where(groups.c.name_key == sa.bindparam("for_name")))
_PAGE = prepared(
    _SELECT.where(groups.c.name_key > sa.bindparam("after")).order_by(groups.c.name_key).limit(sa.bindparam("page"))
)
_PAGE_OF_USER = prepared(
    _SELECT.join(memberships, memberships.c.group_id == groups.c.id)
    .where(memberships.c.user_id == sa.bindparam("user"), groups.c.name_key > sa.bindparam("after"))
    .order_by(groups.c.name_key)
    .limit(sa.bindparam("page"))
)
_INSERT = insert_new(groups, or_ignore=True)
_RENAME = prepared(
    sa.update(groups)
    .where(groups.c.id == sa.bindparam("for_group"))
    .values(name=sa.bindparam("new_name"), name_key=sa.bindparam("new_key"))
)
_DELETE = prepared(sa.delete(groups).where(groups.c.id == sa.bindparam("for_group")))
_MEMBERS = prepared(
    sa.select(memberships.c.user_id, users.c.name, memberships.c.role)
    .join(users, users.c.id == memberships.c.user_id)
    .where(memberships.c.group_id == sa.bindparam("for_group"))
    .order_by(users.c.name_key)
)
_ROLE = prepared(
    sa.select(memberships.c.role).where(
        memberships.c.group_id == sa.bindparam("for_group"), memberships.c.user_id == sa.bindparam("user")
    )
)
_GROUPS_OF = prepared(sa.select(memberships.c.group_id).where(memberships.c.user_id == sa.bindparam("user")))
_SET_MEMBER = upsert(memberships, ["group_id", "user_id"], ["role"])
_DROP_MEMBER = prepared(
    sa.delete(memberships).where(
        memberships.c.group_id == sa.bindparam("for_group"), memberships.c.user_id == sa.bindparam("user")
    )
)
_DROP_MEMBERS = prepared(sa.delete(memberships).where(memberships.c.group_id == sa.bindparam("for_group")))
_DROP_USER = prepared(sa.delete(memberships).where(memberships.c.user_id == sa.bindparam("user")))


def _info(found: tuple[Any, ...]) -> GroupInfo:
    group_id, name, created_us = found
    return GroupInfo(bytes(group_id), name, created_us)


def the_group(tx: Transaction, group: Id | str) -> GroupInfo:
    """The group of an id or a name. Raises GroupNotFound."""
    if isinstance(group, str):
        found = tx.one(_BY_NAME, {"for_name": key_of(group)})
    else:
        found = tx.one(_BY_ID, {"for_group": group})
    if found is None:
        raise no_such_group()
    return _info(found)


def no_such_group() -> GroupNotFound:
    """The one answer for groups that are not there or not to be seen."""
    return GroupNotFound("no such group: list the groups to see their names")


def list_group_rows(tx: Transaction, *, of_user: Id | None, after: str, limit: int) -> list[GroupInfo]:
    """Groups by name, after a name: all, or those of one user."""
    if of_user is None:
        found = tx.rows(_PAGE, {"after": key_of(after), "page": limit})
    else:
        found = tx.rows(_PAGE_OF_USER, {"user": of_user, "after": key_of(after), "page": limit})
    return [_info(row) for row in found]


def group_detail(tx: Transaction, group: GroupInfo) -> GroupDetail:
    """A group with its members."""
    found = tx.rows(_MEMBERS, {"for_group": group.id})
    return GroupDetail(group, tuple(MemberInfo(bytes(user_id), name, role) for user_id, name, role in found))


def groups_of(tx: Transaction, user_id: Id) -> frozenset[Id]:
    """The ids of a user's groups."""
    return frozenset(bytes(row[0]) for row in tx.rows(_GROUPS_OF, {"user": user_id}))


def role_in(tx: Transaction, group_id: Id, user_id: Id) -> Role | None:
    """A user's role in a group; none: not a member."""
    role: Role | None = tx.value(_ROLE, {"for_group": group_id, "user": user_id})
    return role


def insert_group(tx: Transaction, name: str) -> GroupInfo:
    """Make a group. Raises AlreadyExists."""
    group = GroupInfo(new_id(), name, tx.now_us)
    row = {"id": group.id, "name": name, "name_key": key_of(name), "created_us": tx.now_us}
    if tx.run(_INSERT, row) != 1:
        raise _taken(name)
    return group


def set_group_name(tx: Transaction, group_id: Id, name: str) -> None:
    """Give a group another name. Raises AlreadyExists."""
    taken = tx.one(_BY_NAME, {"for_name": key_of(name)})
    if taken is not None and bytes(taken[0]) != group_id:
        raise _taken(name)
    tx.run(_RENAME, {"for_group": group_id, "new_name": name, "new_key": key_of(name)})


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"a group of the name {name!r} is there: choose another", field="name")


def set_member(tx: Transaction, group_id: Id, user_id: Id, role: str) -> None:
    """Put a user into a group, or change the role there. Raises BadInput for an unknown role."""
    if role not in ("member", "manager"):
        raise BadInput(f"{role[:64]!r} is not a role: use 'member' or 'manager'")
    tx.run(_SET_MEMBER, {"group_id": group_id, "user_id": user_id, "role": role})


def drop_member(tx: Transaction, group_id: Id, user_id: Id) -> None:
    """Take a user out of a group, if in it."""
    tx.run(_DROP_MEMBER, {"for_group": group_id, "user": user_id})


def drop_memberships(tx: Transaction, user_id: Id) -> None:
    """Take a user out of every group."""
    tx.run(_DROP_USER, {"user": user_id})


def remove_group(tx: Transaction, group_id: Id) -> None:
    """Delete a group and its memberships."""
    tx.run(_DROP_MEMBERS, {"for_group": group_id})
    tx.run(_DELETE, {"for_group": group_id})
