"""Rows of app passwords: plain functions over a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from skep.auth.opaque_tokens import app_password_hash
from skep.auth.records import AppPasswordInfo
from skep.auth.scopes import scopes_from_text, scopes_text
from skep.base.errors import LimitReached, NotFound
from skep.base.ids import Id, new_id
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import app_passwords

APP_PASSWORDS_MAX: Final = 200
TOUCH_EVERY_US: Final = 3_600_000_000

_SELECT = sa.select(
    app_passwords.c.id,
    app_passwords.c.name,
    app_passwords.c.scopes,
    app_passwords.c.created_us,
    app_passwords.c.last_used_us,
    app_passwords.c.expires_us,
    app_passwords.c.user_id,
)
_BY_SECRET = prepared(_SELECT.where(app_passwords.c.secret_hash == sa.bindparam("for_hash")))
_OF_USER = prepared(
    _SELECT.where(app_passwords.c.user_id == sa.bindparam("user"))
    .order_by(app_passwords.c.id)
    .limit(sa.bindparam("page"))
)
_COUNT = prepared(
    sa.select(sa.func.count()).select_from(app_passwords).where(app_passwords.c.user_id == sa.bindparam("user"))
)
_INSERT = insert_new(app_passwords)
_TOUCH = prepared(
    sa.update(app_passwords).where(app_passwords.c.id == sa.bindparam("app")).values(last_used_us=sa.bindparam("now"))
)
_DELETE = prepared(
    sa.delete(app_passwords).where(
        app_passwords.c.id == sa.bindparam("app"), app_passwords.c.user_id == sa.bindparam("user")
    )
)
_DELETE_OF_USER = prepared(sa.delete(app_passwords).where(app_passwords.c.user_id == sa.bindparam("user")))
_PURGE = prepared(sa.delete(app_passwords).where(app_passwords.c.expires_us <= sa.bindparam("now")))


@dataclass(frozen=True, slots=True)
class AppPasswordRow:
    """An app password and whose it is."""

    info: AppPasswordInfo
    user_id: Id

    def is_good(self, now_us: int) -> bool:
        """Whether it has not expired."""
        return self.info.expires_us is None or self.info.expires_us > now_us

    def wants_touch(self, now_us: int) -> bool:
        """Whether its last use is so long ago that this one is worth a write."""
        return self.info.last_used_us is None or abs(now_us - self.info.last_used_us) >= TOUCH_EVERY_US


def _row(found: tuple[Any, ...]) -> AppPasswordRow:
    app_id, name, scopes, created_us, last_used_us, expires_us, user_id = found
    info = AppPasswordInfo(bytes(app_id), name, scopes_from_text(scopes), created_us, last_used_us, expires_us)
    return AppPasswordRow(info, bytes(user_id))


def find_app_password(tx: Transaction, typed: str) -> AppPasswordRow | None:
    """The app password of a secret as typed, if there is one."""
    found = tx.one(_BY_SECRET, {"for_hash": app_password_hash(typed)})
    return _row(found) if found else None


def insert_app_password(
    tx: Transaction, user_id: Id, secret: str, *, name: str, scopes: frozenset[str], expires_us: int | None
) -> AppPasswordInfo:
    """Keep a new app password. Raises LimitReached when the user has too many."""
    if (tx.value(_COUNT, {"user": user_id}) or 0) >= APP_PASSWORDS_MAX:
        raise LimitReached(f"there are {APP_PASSWORDS_MAX} app passwords already: revoke some first")
    info = AppPasswordInfo(new_id(), name, scopes, tx.now_us, None, expires_us)
    row = {
        "id": info.id,
        "user_id": user_id,
        "name": name,
        "secret_hash": app_password_hash(secret),
        "scopes": scopes_text(scopes),
        "created_us": tx.now_us,
        "last_used_us": None,
        "expires_us": expires_us,
    }
    tx.run(_INSERT, row)
    return info


def list_app_password_rows(tx: Transaction, user_id: Id) -> list[AppPasswordInfo]:
    """A user's app passwords, oldest first."""
    return [_row(found).info for found in tx.rows(_OF_USER, {"user": user_id, "page": APP_PASSWORDS_MAX})]


def touch_app_password(tx: Transaction, app_id: Id) -> None:
    """Write that it was used now."""
    tx.run(_TOUCH, {"app": app_id, "now": tx.now_us})


def remove_app_password(tx: Transaction, user_id: Id, app_id: Id) -> None:
    """Delete one. Raises NotFound when the user has none of that id."""
    if tx.run(_DELETE, {"app": app_id, "user": user_id}) != 1:
        raise NotFound("no such app password: it may have been revoked")


def drop_app_passwords(tx: Transaction, user_id: Id) -> None:
    """Delete all of a user."""
    tx.run(_DELETE_OF_USER, {"user": user_id})


def purge_app_passwords(tx: Transaction) -> int:
    """Delete expired ones; how many."""
    return tx.run(_PURGE, {"now": tx.now_us})
