"""API keys of programs that deposit and withdraw: a shop, another front end. Only their hashes are kept."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import sqlalchemy as sa

from skep.base.chance import random_bytes
from skep.base.errors import AlreadyExists, BadCredentials, BadInput, Forbidden, NotFound
from skep.base.ids import new_id
from skep.credit.records import ApiKey
from skep.crypto.hashing import digest
from skep.db import Transaction, insert_new, prepared
from skep.db import schema_credit as c

KEYS_MAX = 1000
SECRET_LENGTH_MIN, SECRET_LENGTH_MAX = 8, 200
MAY = ("deposit", "withdraw", "both")
_k = c.keys.c
_SELECT = sa.select(_k.id, _k.name, _k.may, _k.created_us, _k.last_used_us)
_ALL = prepared(_SELECT.order_by(_k.name).limit(KEYS_MAX))
_BY_HASH = prepared(_SELECT.add_columns(_k.key_hash).where(_k.key_hash == sa.bindparam("for_hash")))
_BY_NAME = prepared(_SELECT.add_columns(_k.key_hash).where(_k.name == sa.bindparam("for_name")))
_INSERT = insert_new(c.keys)
_TOUCH = prepared(sa.update(c.keys).where(_k.id == sa.bindparam("key")).values(last_used_us=sa.bindparam("now")))
_DELETE = prepared(sa.delete(c.keys).where(_k.name == sa.bindparam("for_name")))


def list_keys(tx: Transaction) -> list[ApiKey]:
    """All keys by name."""
    return [_key(row) for row in tx.rows(_ALL)]


def add_key(tx: Transaction, name: str, may: str, secret: str | None) -> tuple[ApiKey, str]:
    """A new key and its secret, which may be given. The same name with the same secret is no second key.

    Raises BadInput, AlreadyExists (the name, or the secret, is another's).
    """
    if may not in MAY:
        raise BadInput(f"{may[:40]!r} is nothing that a key may: use deposit, withdraw or both")
    if not 0 < len(name) <= 100:
        raise BadInput("the name of a key has 1 to 100 characters")
    if secret is not None and not SECRET_LENGTH_MIN <= len(secret) <= SECRET_LENGTH_MAX:
        raise BadInput(f"a key has {SECRET_LENGTH_MIN} to {SECRET_LENGTH_MAX} characters")
    chosen = secret or "skc_" + base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
    there = tx.one(_BY_NAME, {"for_name": name})
    if there is not None:
        if secret is not None and hmac.compare_digest(bytes(there[5]), _hash(secret)) and there[2] == may:
            return _key(there[:5]), chosen
        raise AlreadyExists(f"a key of the name {name!r} is there: choose another, or remove it first")
    if tx.one(_BY_HASH, {"for_hash": _hash(chosen)}) is not None:
        raise AlreadyExists("this key is there under another name")
    made = ApiKey(new_id(), name, may, tx.now_us, None)
    tx.run(_INSERT, {**made._asdict(), "key_hash": _hash(chosen)})
    return made, chosen


def remove_key(tx: Transaction, name: str) -> None:
    """Make a key useless. Raises NotFound."""
    if not tx.run(_DELETE, {"for_name": name}):
        raise NotFound(f"there is no key {name[:64]!r}: list them to see their names")


def require_key(tx: Transaction, secret: str, wants: str) -> ApiKey:
    """The key of a secret that may ``deposit`` or ``withdraw``. Raises BadCredentials, Forbidden."""
    row = tx.one(_BY_HASH, {"for_hash": _hash(secret)})
    if row is None or not hmac.compare_digest(bytes(row[5]), _hash(secret)):
        raise BadCredentials("this is no key of this hive")
    key = _key(row[:5])
    if key.may not in (wants, "both"):
        raise Forbidden(f"the key {key.name!r} may not {wants}")
    tx.run(_TOUCH, {"key": key.id, "now": tx.now_us})
    return key


def _hash(secret: str) -> bytes:
    return digest(b"credit key ", secret[: SECRET_LENGTH_MAX + 1].encode("utf-8", "surrogatepass"))


def _key(row: tuple[Any, ...]) -> ApiKey:
    key_id, name, may, created_us, last_used_us = row
    return ApiKey(bytes(key_id), name, may, created_us, last_used_us)
