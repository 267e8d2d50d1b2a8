"""Rows of users: plain functions over a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from skep.auth.names import key_of
from skep.auth.records import UserInfo
from skep.base.errors import AlreadyExists, InUse, UserNotFound
from skep.base.ids import Id, new_id
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import users

ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"

_COLUMNS = (
    users.c.id,
    users.c.name,
    users.c.email,
    users.c.full_name,
    users.c.is_admin,
    users.c.state,
    users.c.created_us,
    users.c.password_hash,
    users.c.token_epoch,
)
_SELECT = sa.select(*_COLUMNS)
_BY_ID = prepared(_SELECT.where(users.c.id == sa.bindparam("user")))
_BY_LOGIN = prepared(
    _SELECT.where(sa.or_(users.c.name_key == sa.bindparam("login"), users.c.email_key == sa.bindparam("login_email")))
)
_PAGE = prepared(
    _SELECT.where(users.c.name_key > sa.bindparam("after")).order_by(users.c.name_key).limit(sa.bindparam("page"))
)
_INSERT = insert_new(users, or_ignore=True)
_TAKEN_NAME = prepared(sa.select(users.c.id).where(users.c.name_key == sa.bindparam("login")))
_OTHER_ADMINS = prepared(
    sa.select(sa.func.count())
    .select_from(users)
    .where(users.c.is_admin == 1, users.c.state == ACTIVE, users.c.id != sa.bindparam("user"))
)
_SET_PROFILE = prepared(
    sa.update(users)
    .where(users.c.id == sa.bindparam("user"))
    .values(
        name=sa.bindparam("new_name"),
        name_key=sa.bindparam("new_name_key"),
        email=sa.bindparam("new_email"),
        email_key=sa.bindparam("new_email_key"),
        full_name=sa.bindparam("new_full_name"),
        is_admin=sa.bindparam("new_is_admin"),
    )
)
_SET_STATE = prepared(
    sa.update(users).where(users.c.id == sa.bindparam("user")).values(state=sa.bindparam("new_state"))
)
_SET_PASSWORD = prepared(
    sa.update(users).where(users.c.id == sa.bindparam("user")).values(password_hash=sa.bindparam("new_hash"))
)
_REHASH = prepared(
    sa.update(users)
    .where(users.c.id == sa.bindparam("user"), users.c.password_hash == sa.bindparam("old_hash"))
    .values(password_hash=sa.bindparam("new_hash"))
)
_RAISE_EPOCH = prepared(
    sa.update(users).where(users.c.id == sa.bindparam("user")).values(token_epoch=users.c.token_epoch + 1)
)
_DELETE = prepared(sa.delete(users).where(users.c.id == sa.bindparam("user")))


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user with what only auth may see."""

    info: UserInfo
    password_hash: str | None
    token_epoch: int

    @property
    def is_active(self) -> bool:
        return self.info.state == ACTIVE


@dataclass(frozen=True, slots=True)
class NewUser:
    """What is needed to make a user; texts are already normalised, ``email`` may be empty."""

    name: str
    email: str
    full_name: str
    password_hash: str | None
    is_admin: bool


def _row(found: tuple[Any, ...]) -> UserRow:
    user_id, name, email, full_name, is_admin, state, created_us, password_hash, epoch = found
    info = UserInfo(bytes(user_id), name, email or "", full_name, bool(is_admin), state, created_us)
    return UserRow(info, password_hash, epoch)


def find_user(tx: Transaction, user_id: Id) -> UserRow | None:
    """The user of an id, if there is one."""
    found = tx.one(_BY_ID, {"user": user_id})
    return _row(found) if found else None


def find_login(tx: Transaction, login: str) -> UserRow | None:
    """The user of a name or an e-mail address, if there is one."""
    key = key_of(login)
    found = tx.one(_BY_LOGIN, {"login": key, "login_email": key})
    return _row(found) if found else None


def the_user(tx: Transaction, user: Id | str) -> UserRow:
    """The user of an id, a name or an e-mail address. Raises UserNotFound."""
    row = find_login(tx, user) if isinstance(user, str) else find_user(tx, user)
    if row is None:
        raise UserNotFound("no such user: list the users to see their names")
    return row


def list_user_rows(tx: Transaction, *, after: str, limit: int) -> list[UserInfo]:
    """Users by name, after a name."""
    return [_row(found).info for found in tx.rows(_PAGE, {"after": key_of(after), "page": limit})]


def insert_user(tx: Transaction, new: NewUser) -> UserInfo:
    """Make a user. Raises AlreadyExists when the name or the address is another's."""
    _check_free(tx, None, new.name, new.email)
    user_id = new_id()
    row = {
        "id": user_id,
        "name": new.name,
        "name_key": key_of(new.name),
        "email": new.email or None,
        "email_key": key_of(new.email) if new.email else None,
        "full_name": new.full_name,
        "password_hash": new.password_hash,
        "is_admin": int(new.is_admin),
        "state": ACTIVE,
        "token_epoch": 0,
        "created_us": tx.now_us,
    }
    if tx.run(_INSERT, row) != 1:  # another transaction took it between the check and now
        raise AlreadyExists(f"a user of the name {new.name!r} or of that e-mail address is there: choose another")
    return UserInfo(user_id, new.name, new.email, new.full_name, new.is_admin, "active", tx.now_us)


def set_profile(tx: Transaction, user_id: Id, *, name: str, email: str, full_name: str, is_admin: bool) -> None:
    """Write a user's profile. Raises AlreadyExists; InUse when the last administrator would be gone."""
    _check_free(tx, user_id, name, email)
    if not is_admin:
        check_not_last_admin(tx, user_id)
    tx.run(
        _SET_PROFILE,
        {
            "user": user_id,
            "new_name": name,
            "new_name_key": key_of(name),
            "new_email": email or None,
            "new_email_key": key_of(email) if email else None,
            "new_full_name": full_name,
            "new_is_admin": int(is_admin),
        },
    )


def set_state(tx: Transaction, user_id: Id, state: str) -> None:
    """Write a user's state. Raises InUse when the last active administrator would be suspended."""
    if state != ACTIVE:
        check_not_last_admin(tx, user_id)
    tx.run(_SET_STATE, {"user": user_id, "new_state": state})


def set_password_hash(tx: Transaction, user_id: Id, password_hash: str | None) -> None:
    """Write a user's password hash; none: no login by password."""
    tx.run(_SET_PASSWORD, {"user": user_id, "new_hash": password_hash})


def replace_hash(tx: Transaction, user_id: Id, old_hash: str, new_hash: str) -> None:
    """Write a stronger hash of the same password, unless the password was changed meanwhile."""
    tx.run(_REHASH, {"user": user_id, "old_hash": old_hash, "new_hash": new_hash})


def raise_epoch(tx: Transaction, user_id: Id) -> None:
    """Void every access token that the user has been given so far."""
    tx.run(_RAISE_EPOCH, {"user": user_id})


def remove_user(tx: Transaction, user_id: Id) -> None:
    """Delete the row. Raises InUse for the last active administrator."""
    check_not_last_admin(tx, user_id)
    tx.run(_DELETE, {"user": user_id})


def check_not_last_admin(tx: Transaction, user_id: Id) -> None:
    """Raise InUse if the user is the one active administrator that the hive has."""
    row = find_user(tx, user_id)
    if row is None or not row.info.is_admin or not row.is_active:
        return
    if tx.value(_OTHER_ADMINS, {"user": user_id}) == 0:
        raise InUse(f"{row.info.name!r} is the last administrator: make another one first")


def _check_free(tx: Transaction, own_id: Id | None, name: str, email: str) -> None:
    by_name = tx.value(_TAKEN_NAME, {"login": key_of(name)})
    if by_name is not None and by_name != own_id:
        raise AlreadyExists(f"a user of the name {name!r} is there: choose another", field="name")
    if email:
        holder = find_login(tx, email)
        if holder is not None and holder.info.id != own_id:
            raise AlreadyExists(f"a user of the e-mail address {email!r} is there: log in as that one", field="email")
