"""Accounts of the ledger: finding them, making them, and who is meant by ``user:ann``."""

from __future__ import annotations

import re
from typing import Any, cast

import sqlalchemy as sa

from skep.auth.groups import the_group
from skep.auth.users import the_user
from skep.base.errors import BadInput, InUse, UserNotFound
from skep.base.ids import Id, new_id
from skep.credit.records import Account, AccountKind
from skep.crypto.hashing import digest
from skep.db import Transaction, insert_new, prepared
from skep.db import schema_credit as c

_a = c.accounts.c
_SELECT = sa.select(_a.id, _a.kind, _a.owner, _a.parent_id, _a.closed_us)
_OF_OWNER = prepared(_SELECT.where(_a.kind == sa.bindparam("for_kind"), _a.owner == sa.bindparam("for_owner")))
_BY_ID = prepared(_SELECT.where(_a.id == sa.bindparam("account")))
_OF_PARENT = prepared(_SELECT.where(_a.parent_id == sa.bindparam("account")))
_INSERT = insert_new(c.accounts)
_CLOSE = prepared(sa.update(c.accounts).where(_a.id == sa.bindparam("account")).values(closed_us=sa.bindparam("now")))
_TOKEN = re.compile(r"[0-9A-Za-z]{16}")


def account(tx: Transaction, kind: AccountKind, owner: str) -> Account | None:
    """The account of an owner, if there is one yet."""
    found = tx.one(_OF_OWNER, {"for_kind": kind, "for_owner": owner})
    return None if found is None else _account(found)


def by_id(tx: Transaction, account_id: Id) -> Account | None:
    """The account of an id."""
    found = tx.one(_BY_ID, {"account": account_id})
    return None if found is None else _account(found)


def held_by(tx: Transaction, account_id: Id) -> list[Account]:
    """The accounts where credit of this one is set aside."""
    return [_account(found) for found in tx.rows(_OF_PARENT, {"account": account_id})]


def opened(tx: Transaction, kind: AccountKind, owner: str, parent_id: Id | None = None) -> Account:
    """The account of an owner, made if it is not there. Raises InUse for one that is closed."""
    there = account(tx, kind, owner)
    if there is None:
        there = Account(new_id(), kind, owner, parent_id, None)
        row = {"id": there.id, "kind": kind, "owner": owner, "parent_id": parent_id, "created_us": tx.now_us}
        tx.run(_INSERT, row)
    if there.closed_us is not None:
        raise InUse("this account is closed: it takes and gives nothing any more")
    return there


def system(tx: Transaction, name: str) -> Account:
    """One of the hive's own accounts, which may owe: ``outside``, ``usage``, ``sales``, ``promo``, ``plans``."""
    return opened(tx, "system", name)


def close(tx: Transaction, account_id: Id) -> None:
    """Let an account take and give nothing any more."""
    tx.run(_CLOSE, {"account": account_id, "now": tx.now_us})


def owner_of(tx: Transaction, text: str) -> tuple[AccountKind, str]:
    """Who is meant by ``user:NAME``, ``group:NAME`` or ``token:TOKEN``; names may be ids.

    Raises UserNotFound, GroupNotFound, BadInput.
    """
    kind, _, name = text.partition(":")
    if kind == "user" and name:
        return "user", the_user(tx, _named(name)).info.id.hex()
    if kind == "group" and name:
        return "group", the_group(tx, _named(name)).id.hex()
    if kind == "token":
        return "token", token_owner(name)
    raise BadInput(f"{text[:64]!r} is no account: write user:NAME, group:NAME or token:TOKEN", account=text[:64])


def token_owner(token: str) -> str:
    """What is kept of an anonymous token. Raises BadInput for what cannot be one."""
    if _TOKEN.fullmatch(token) is None:
        raise BadInput("this is no token: it has 16 letters and digits")
    return digest(b"credit token ", token.encode()).hex()


def require_owner(tx: Transaction, kind: AccountKind, owner: str) -> None:
    """Raise UserNotFound or GroupNotFound when the user or group is not there any more."""
    if kind == "user":
        the_user(tx, bytes.fromhex(owner))
    elif kind == "group":
        the_group(tx, bytes.fromhex(owner))
    elif kind != "token":
        raise UserNotFound("no such account")


def _named(name: str) -> Id | str:
    from skep.base.ids import parse_id

    try:
        return parse_id(name)
    except BadInput:
        return name


def _account(found: tuple[Any, ...]) -> Account:
    account_id, kind, owner, parent_id, closed_us = found
    return Account(
        bytes(account_id), cast(AccountKind, kind), owner, None if parent_id is None else bytes(parent_id), closed_us
    )
