"""Rows of access keys, with which programs sign their requests: plain functions over a transaction.

Whoever checks a signature must know the secret itself, so it is sealed under the hive's own key, bound to its name.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from skep.auth.records import AccessKeyInfo, Principal
from skep.auth.scopes import scopes_from_text, scopes_text
from skep.base.chance import random_bytes
from skep.base.errors import LimitReached, NotFound
from skep.base.ids import Id, new_id
from skep.crypto.sealing import open_record, seal_record
from skep.db import Transaction, insert_new, prepared
from skep.db.schema import access_keys

ACCESS_KEYS_MAX: Final = 200
TOUCH_EVERY_US: Final = 3_600_000_000
NAME_BYTES: Final = 10
SECRET_BYTES: Final = 30

_c = access_keys.c
_SELECT = sa.select(
    _c.id, _c.access_key, _c.name, _c.space_id, _c.scopes, _c.bucket, _c.prefix, _c.created_us, _c.last_used_us,
    _c.expires_us, _c.user_id, _c.sealed_secret,
)  # fmt: skip
_BY_NAME = prepared(_SELECT.where(_c.access_key == sa.bindparam("key")))
_OF_USER = prepared(_SELECT.where(_c.user_id == sa.bindparam("user")).order_by(_c.id).limit(sa.bindparam("page")))
_COUNT = prepared(sa.select(sa.func.count()).select_from(access_keys).where(_c.user_id == sa.bindparam("user")))
_INSERT = insert_new(access_keys)
_TOUCH = prepared(
    sa.update(access_keys).where(_c.id == sa.bindparam("key_id")).values(last_used_us=sa.bindparam("now"))
)
_DELETE = prepared(
    sa.delete(access_keys).where(_c.user_id == sa.bindparam("user"), _c.access_key == sa.bindparam("key"))
)
_DELETE_OF_USER = prepared(sa.delete(access_keys).where(_c.user_id == sa.bindparam("user")))
_PURGE = prepared(sa.delete(access_keys).where(_c.expires_us <= sa.bindparam("now")))


@dataclass(frozen=True, slots=True)
class AccessGrant:
    """What an access key lets its bearer do: as whom, in which space, bucket and prefix."""

    principal: Principal
    info: AccessKeyInfo
    secret: str = field(repr=False)

    @property
    def user_id(self) -> Id:
        """Whose key it is."""
        return self.principal.user_id


@dataclass(frozen=True, slots=True)
class AccessKeyRow:
    """An access key, whose it is, and its secret, sealed."""

    info: AccessKeyInfo
    user_id: Id
    sealed_secret: bytes = field(repr=False)

    def secret(self, secrets_key: bytes) -> str:
        """The secret in the clear. Raises CorruptRecord."""
        return open_record(secrets_key, self.sealed_secret, _bound_to(self.info.access_key)).decode()

    def is_good(self, now_us: int) -> bool:
        """Whether it has not expired."""
        return self.info.expires_us is None or self.info.expires_us > now_us

    def wants_touch(self, now_us: int) -> bool:
        """Whether its last use is so long ago that this one is worth a write."""
        return self.info.last_used_us is None or abs(now_us - self.info.last_used_us) >= TOUCH_EVERY_US


def new_access_key() -> tuple[str, str]:
    """A name of 20 capital letters and digits, and a secret of 40 characters, as clients expect them."""
    name = "SKEP" + base64.b32encode(random_bytes(NAME_BYTES)).decode()
    return name, base64.urlsafe_b64encode(random_bytes(SECRET_BYTES)).decode()


def find_access_key(tx: Transaction, access_key: str) -> AccessKeyRow | None:
    """The access key of that name."""
    found = tx.one(_BY_NAME, {"key": access_key})
    return _row(found) if found else None


def insert_access_key(
    tx: Transaction, secrets_key: bytes, user_id: Id, info: AccessKeyInfo, secret: str
) -> AccessKeyInfo:
    """Keep a new access key; its info with its id and time. Raises LimitReached when the user has too many."""
    if (tx.value(_COUNT, {"user": user_id}) or 0) >= ACCESS_KEYS_MAX:
        raise LimitReached(f"there are {ACCESS_KEYS_MAX} access keys already: remove some first")
    row = {
        "id": new_id(),
        "access_key": info.access_key,
        "user_id": user_id,
        "name": info.name,
        "space_id": info.space_id,
        "sealed_secret": seal_record(secrets_key, secret.encode(), _bound_to(info.access_key)),
        "scopes": scopes_text(info.scopes),
        "bucket": info.bucket,
        "prefix": info.prefix,
        "created_us": tx.now_us,
        "last_used_us": None,
        "expires_us": info.expires_us,
    }
    tx.run(_INSERT, row)
    found = find_access_key(tx, info.access_key)
    assert found is not None
    return found.info


def list_access_key_rows(tx: Transaction, user_id: Id) -> list[AccessKeyInfo]:
    """A user's access keys, oldest first."""
    return [_row(found).info for found in tx.rows(_OF_USER, {"user": user_id, "page": ACCESS_KEYS_MAX})]


def touch_access_key(tx: Transaction, key_id: Id) -> None:
    """Note that it was used."""
    tx.run(_TOUCH, {"key_id": key_id, "now": tx.now_us})


def remove_access_key(tx: Transaction, user_id: Id, access_key: str) -> None:
    """Delete one of a user's. Raises NotFound."""
    if not tx.run(_DELETE, {"user": user_id, "key": access_key}):
        raise NotFound("no such access key: list yours")


def drop_access_keys(tx: Transaction, user_id: Id) -> None:
    """Delete all of a user's."""
    tx.run(_DELETE_OF_USER, {"user": user_id})


def purge_access_keys(tx: Transaction) -> int:
    """Delete those that have expired; how many."""
    return tx.run(_PURGE, {"now": tx.now_us})


def _bound_to(access_key: str) -> bytes:
    return b"skep access key " + access_key.encode()


def _row(found: tuple[Any, ...]) -> AccessKeyRow:
    _, access_key, name, space_id, scopes, bucket, prefix, created_us, last_used_us, expires_us, user_id, sealed = found
    info = AccessKeyInfo(
        id=bytes(found[0]),
        access_key=access_key,
        name=name,
        space_id=None if space_id is None else bytes(space_id),
        scopes=scopes_from_text(scopes),
        bucket=bucket,
        prefix=prefix,
        created_us=created_us,
        last_used_us=last_used_us,
        expires_us=expires_us,
    )
    return AccessKeyRow(info, bytes(user_id), bytes(sealed))
