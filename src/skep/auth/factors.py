"""Rows of second factors and recovery codes: plain functions over a transaction.

What always holds:
- a factor counts once it is confirmed: its owner has shown that they can use it;
- ``counter`` of a factor only grows: a code or signature that was seen is never taken again, because the update that
  takes it asks for a smaller counter in the same statement;
- a recovery code is spent by one conditional update, so two who race for it cannot both get in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from skep.auth.opaque_tokens import readable_secret
from skep.auth.totp import DIGITS, matching_step
from skep.base.errors import LimitReached, NotFound
from skep.base.ids import Id, new_id
from skep.crypto.hashing import keyed_digest
from skep.crypto.sealing import open_record, seal_record
from skep.db import Transaction, insert_new, prepared
from skep.db.schema_signin import factors, recovery_codes

FactorKind: TypeAlias = Literal["totp", "passkey"]
FACTORS_MAX: Final = 20
RECOVERY_CODES: Final = 10
_RECOVERY_LENGTH: Final = 10
_TOTP_SHAPE = re.compile(rf"[0-9]{{{DIGITS}}}")
_SEPARATORS = re.compile(r"[\s-]+")

_SELECT = sa.select(
    factors.c.id,
    factors.c.user_id,
    factors.c.kind,
    factors.c.name,
    factors.c.sealed,
    factors.c.counter,
    factors.c.created_us,
    factors.c.confirmed_us,
    factors.c.last_used_us,
)
_OF_USER = prepared(_SELECT.where(factors.c.user_id == sa.bindparam("user")).order_by(factors.c.id))
_BY_CREDENTIAL = prepared(_SELECT.where(factors.c.credential_hash == sa.bindparam("credential")))
_INSERT = insert_new(factors)
_CONFIRM = prepared(
    sa.update(factors)
    .where(factors.c.id == sa.bindparam("factor"), factors.c.confirmed_us.is_(None))
    .values(confirmed_us=sa.bindparam("now"), last_used_us=sa.bindparam("now"), counter=sa.bindparam("seen"))
)
_USE = prepared(
    sa.update(factors)
    .where(factors.c.id == sa.bindparam("factor"), factors.c.counter < sa.bindparam("seen"))
    .values(counter=sa.bindparam("seen"), last_used_us=sa.bindparam("now"))
)
_TOUCH = prepared(
    sa.update(factors).where(factors.c.id == sa.bindparam("factor")).values(last_used_us=sa.bindparam("now"))
)
_DELETE = prepared(
    sa.delete(factors).where(factors.c.id == sa.bindparam("factor"), factors.c.user_id == sa.bindparam("user"))
)
_DELETE_UNPROVEN = prepared(
    sa.delete(factors).where(
        factors.c.user_id == sa.bindparam("user"),
        factors.c.kind == sa.bindparam("what"),
        factors.c.confirmed_us.is_(None),
    )
)
_DELETE_OF_USER = prepared(sa.delete(factors).where(factors.c.user_id == sa.bindparam("user")))
_INSERT_CODE = insert_new(recovery_codes)
_SPEND_CODE = prepared(
    sa.update(recovery_codes)
    .where(
        recovery_codes.c.user_id == sa.bindparam("user"),
        recovery_codes.c.code_hash == sa.bindparam("code"),
        recovery_codes.c.used_us.is_(None),
    )
    .values(used_us=sa.bindparam("now"))
)
_CODES_LEFT = prepared(
    sa.select(sa.func.count())
    .select_from(recovery_codes)
    .where(recovery_codes.c.user_id == sa.bindparam("user"), recovery_codes.c.used_us.is_(None))
)
_DELETE_CODES = prepared(sa.delete(recovery_codes).where(recovery_codes.c.user_id == sa.bindparam("user")))


@dataclass(frozen=True, slots=True)
class FactorInfo:
    """A second factor without its secret."""

    id: Id
    kind: FactorKind
    name: str
    created_us: int
    last_used_us: int | None


@dataclass(frozen=True, slots=True)
class FactorRow:
    """A factor, whose it is, and what proves it, sealed."""

    info: FactorInfo
    user_id: Id
    counter: int
    confirmed: bool
    sealed: bytes = field(repr=False)

    def opened(self, key: bytes) -> bytes:
        """The TOTP secret, or a passkey's record. Raises CorruptRecord."""
        return open_record(key, self.sealed, _bound_to(self.info.id))


def _row(found: tuple[Any, ...]) -> FactorRow:
    factor_id, user_id, kind, name, sealed, counter, created_us, confirmed_us, last_used_us = found
    info = FactorInfo(bytes(factor_id), kind, name, created_us, last_used_us)
    return FactorRow(info, bytes(user_id), counter, confirmed_us is not None, bytes(sealed))


def _bound_to(factor_id: Id) -> bytes:
    return b"skep second factor " + factor_id


def insert_factor(
    tx: Transaction,
    key: bytes,
    user_id: Id,
    *,
    kind: FactorKind,
    name: str,
    secret: bytes,
    counter: int = -1,
    credential_hash: bytes | None = None,
    confirmed: bool = False,
) -> FactorRow:
    """Keep a factor; one of the kind that was never confirmed gives way. Raises LimitReached, RowExists."""
    tx.run(_DELETE_UNPROVEN, {"user": user_id, "what": kind})
    if len(factors_of(tx, user_id)) >= FACTORS_MAX:
        raise LimitReached(f"there are {FACTORS_MAX} second factors already: remove some first")
    factor_id = new_id()
    sealed = seal_record(key, secret, _bound_to(factor_id))
    row = {
        "id": factor_id,
        "user_id": user_id,
        "kind": kind,
        "name": name,
        "credential_hash": credential_hash,
        "sealed": sealed,
        "counter": counter,
        "created_us": tx.now_us,
        "confirmed_us": tx.now_us if confirmed else None,
        "last_used_us": None,
    }
    tx.run(_INSERT, row)
    return FactorRow(FactorInfo(factor_id, kind, name, tx.now_us, None), user_id, counter, confirmed, sealed)


def factors_of(tx: Transaction, user_id: Id, *, confirmed: bool = False) -> list[FactorRow]:
    """A user's factors, oldest first; with ``confirmed`` those that count."""
    rows = [_row(found) for found in tx.rows(_OF_USER, {"user": user_id})]
    return [row for row in rows if row.confirmed or not confirmed]


def factor_by_credential(tx: Transaction, credential_hash: bytes) -> FactorRow | None:
    """The passkey of a credential id's hash."""
    found = tx.one(_BY_CREDENTIAL, {"credential": credential_hash})
    return _row(found) if found else None


def confirm_factor(tx: Transaction, row: FactorRow, *, seen: int) -> bool:
    """Let a factor count from now on; False if it does already."""
    return tx.run(_CONFIRM, {"factor": row.info.id, "now": tx.now_us, "seen": seen}) == 1


def use_factor(tx: Transaction, row: FactorRow, *, seen: int) -> bool:
    """Note a use with a counter that was never seen; False: it was, or a later one."""
    return tx.run(_USE, {"factor": row.info.id, "now": tx.now_us, "seen": seen}) == 1


def touch_factor(tx: Transaction, row: FactorRow) -> None:
    """Note a use of a factor that counts nothing."""
    tx.run(_TOUCH, {"factor": row.info.id, "now": tx.now_us})


def remove_factor(tx: Transaction, user_id: Id, factor_id: Id) -> None:
    """Delete one; with the last that counts go the recovery codes. Raises NotFound."""
    if tx.run(_DELETE, {"factor": factor_id, "user": user_id}) != 1:
        raise NotFound("no such second factor: list yours")
    if not factors_of(tx, user_id, confirmed=True):
        tx.run(_DELETE_CODES, {"user": user_id})


def drop_factors(tx: Transaction, user_id: Id) -> None:
    """Delete all factors and recovery codes of a user."""
    tx.run(_DELETE_OF_USER, {"user": user_id})
    tx.run(_DELETE_CODES, {"user": user_id})


def new_recovery_codes(tx: Transaction, key: bytes, user_id: Id) -> list[str]:
    """Ten new codes in place of those that were; each gets its owner in once."""
    codes = [readable_secret(_RECOVERY_LENGTH) for _ in range(RECOVERY_CODES)]
    tx.run(_DELETE_CODES, {"user": user_id})
    tx.many(
        _INSERT_CODE,
        [{"user_id": user_id, "code_hash": _code_hash(key, user_id, code), "used_us": None} for code in codes],
    )
    return codes


def codes_left(tx: Transaction, user_id: Id) -> int:
    """How many recovery codes a user has not used."""
    return int(tx.value(_CODES_LEFT, {"user": user_id}) or 0)


def spend_code(
    tx: Transaction, keys: FactorKeys, user_id: Id, code: str, rows: Sequence[FactorRow]
) -> FactorKind | Literal["recovery"] | None:
    """Take a code of an app or a recovery code; what it was, or None: it is wrong, or was used before."""
    plain = _SEPARATORS.sub("", code[:64]).lower()
    if not _TOTP_SHAPE.fullmatch(plain):
        spent = tx.run(
            _SPEND_CODE, {"user": user_id, "code": _code_hash(keys.recovery, user_id, plain), "now": tx.now_us}
        )
        return "recovery" if spent == 1 else None
    for row in rows:
        if row.info.kind != "totp":
            continue
        step = matching_step(row.opened(keys.secrets), plain, now_us=tx.now_us, used_step=row.counter)
        if step is not None and use_factor(tx, row, seen=step):
            return "totp"
    return None


@dataclass(frozen=True, slots=True)
class FactorKeys:
    """What opens factors' secrets, and what recovery codes are hashed with: they are too short for a plain hash."""

    secrets: bytes = field(repr=False)
    recovery: bytes = field(repr=False)


def _code_hash(key: bytes, user_id: Id, code: str) -> bytes:
    return keyed_digest(key, user_id, _SEPARATORS.sub("", code).lower().encode("utf-8", "surrogatepass"))
