"""Keys of programs that deposit and withdraw credit."""

from __future__ import annotations

from typing import Literal

import msgspec

from skep.credit import ApiKey
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "credit"


class CreditKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """``may``: deposit, withdraw or both; ``key``: of a new one, told once."""

    name: str
    may: str
    created_us: int
    last_used_us: int | None = None
    key: str | None = None


class NewCreditKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``key``: one that is known already, else a new one is made."""

    name: str
    may: Literal["deposit", "withdraw", "both"] = "both"
    key: str | None = None


class CreditKeys(msgspec.Struct, frozen=True):
    """By name."""

    keys: list[CreditKey]


async def list_credit_keys(call: Call) -> CreditKeys:
    """List the keys of programs, without their secrets."""
    return CreditKeys([_record(key) for key in await call.services.credit.list_keys(call.principal)])


async def add_credit_key(call: Call, body: NewCreditKey) -> CreditKey:
    """Make a key for a program; it is in this answer only. The same name with the same key is no second one."""
    made, secret = await call.services.credit.add_key(call.principal, body.name, body.may, body.key)
    return _record(made, secret)


async def remove_credit_key(call: Call) -> None:
    """Make a key useless at once."""
    await call.services.credit.remove_key(call.principal, call.path["name"])


def _record(key: ApiKey, secret: str | None = None) -> CreditKey:
    return CreditKey(key.name, key.may, key.created_us, key.last_used_us, secret)


_AT = "/api/credit/keys"
OPERATIONS = (
    Operation("GET", _AT, list_credit_keys, "admin", TAG, admin=True),
    Operation("POST", _AT, add_credit_key, "admin", TAG, admin=True, status=201),
    Operation("DELETE", f"{_AT}/{{name}}", remove_credit_key, "admin", TAG, admin=True, status=204),
)
