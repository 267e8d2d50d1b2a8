"""From the meter's journals to the ledger: each record once, in batches of one transaction each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from skep.base.ids import Id
from skep.credit import accounts, ledger
from skep.credit.journal import Used
from skep.db import Transaction, insert_new, prepared
from skep.db import schema_credit as c

_j, _u, _a = c.meter_journals.c, c.usage.c, c.accounts.c
_POSITION = prepared(sa.select(_j.position).where(_j.id == sa.bindparam("journal")))
_OPEN = insert_new(c.meter_journals)
_ADVANCE = prepared(
    sa.update(c.meter_journals)
    .where(_j.id == sa.bindparam("journal"), _j.position == sa.bindparam("since"))
    .values(position=sa.bindparam("until"), changed_us=sa.bindparam("now"))
)
_FORGET = prepared(sa.delete(c.meter_journals).where(_j.id == sa.bindparam("journal")))
_ADD = prepared(
    sa.update(c.usage)
    .where(_u.account_id == sa.bindparam("account"), _u.month == sa.bindparam("for_month"))
    .values(
        in_bytes=_u.in_bytes + sa.bindparam("add_in"),
        out_bytes=_u.out_bytes + sa.bindparam("add_out"),
        requests=_u.requests + sa.bindparam("add_requests"),
    )
)
_INSERT = insert_new(c.usage)
_OF_MONTH = prepared(
    sa.select(_u.in_bytes, _u.out_bytes, _u.requests, _u.byte_hours).where(
        _u.account_id == sa.bindparam("account"), _u.month == sa.bindparam("for_month")
    )
)
_OF_ACCOUNT = prepared(
    sa.select(_u.month, _u.in_bytes, _u.out_bytes, _u.requests, _u.byte_hours)
    .where(_u.account_id == sa.bindparam("account"))
    .order_by(_u.month.desc())
    .limit(sa.bindparam("page"))
)
_HELD = prepared(
    sa.select(_a.id, _a.parent_id).where(_a.kind == "held", _a.owner.like(sa.bindparam("prefix"))).order_by(_a.id)
)


class Sum(NamedTuple):
    """What an account used in a month."""

    in_bytes: int = 0
    out_bytes: int = 0
    requests: int = 0
    cost: int = 0


class MonthUsage(NamedTuple):
    """What is in the books of an account for a month."""

    month: int
    in_bytes: int
    out_bytes: int
    requests: int
    byte_hours: int


Sums = Mapping[tuple[Id, int], Sum]


def summed(used: Iterable[Used]) -> dict[tuple[Id, int], Sum]:
    """Records by account and month."""
    sums: dict[tuple[Id, int], Sum] = {}
    for one in used:
        key = one.account_id, one.month
        there = sums.get(key, Sum())
        sums[key] = Sum(
            there.in_bytes + (0 if one.is_out else one.size_bytes),
            there.out_bytes + (one.size_bytes if one.is_out else 0),
            there.requests + 1,
            there.cost + one.cost,
        )
    return sums


def position(tx: Transaction, journal_id: Id) -> int:
    """How many bytes of a journal were posted."""
    return int(tx.value(_POSITION, {"journal": journal_id}) or 0)


def post(tx: Transaction, journal_id: Id, since: int, until: int, sums: Sums) -> bool:
    """Post what a journal has between two positions; False: that was done before. All of it or nothing."""
    if not since and tx.one(_POSITION, {"journal": journal_id}) is None:
        tx.run(_OPEN, {"id": journal_id, "position": 0, "changed_us": tx.now_us})
    params = {"journal": journal_id, "since": since, "until": until, "now": tx.now_us}
    if not tx.run(_ADVANCE, params):
        return False
    ours = accounts.system(tx, "usage") if any(one.cost for one in sums.values()) else None
    for (account_id, month), one in sums.items():
        _add(tx, account_id, month, one)
        if one.cost and ours is not None:
            purse = accounts.opened(tx, "held", purse_owner(journal_id, account_id), account_id)
            key = f"usage:{journal_id.hex()}:{until}:{account_id.hex()}:{month}"
            ledger.move(tx, ledger.Movement("usage", "bytes", one.cost, purse.id, ours.id, key, f"{month}"))
    return True


def forget(tx: Transaction, journal_id: Id) -> None:
    """A journal is posted and gone: give back what was set aside for it, and drop its row."""
    for purse_id, parent_id in tx.rows(_HELD, {"prefix": f"{journal_id.hex()}:%"}):
        give_back(tx, bytes(purse_id), bytes(parent_id))
    tx.run(_FORGET, {"journal": journal_id})


def give_back(tx: Transaction, purse_id: Id, account_id: Id) -> int:
    """Return what a purse has left to its account; how much that was."""
    left = ledger.free(tx, purse_id, "bytes")
    if left:
        ledger.move(tx, ledger.Movement("hold-rest", "bytes", left, purse_id, account_id))
    return left


def purse_owner(journal_id: Id, account_id: Id) -> str:
    """What names the purse of an account in one life of a process."""
    return f"{journal_id.hex()}:{account_id.hex()}"


def month_usage(tx: Transaction, account_id: Id, month: int) -> MonthUsage:
    """What was posted of a month."""
    row = tx.one(_OF_MONTH, {"account": account_id, "for_month": month})
    return MonthUsage(month, *(row or (0, 0, 0, 0)))


def usage_of(tx: Transaction, account_id: Id, limit: int) -> list[MonthUsage]:
    """The months of an account, the newest first."""
    return [MonthUsage(*row) for row in tx.rows(_OF_ACCOUNT, {"account": account_id, "page": limit})]


def _add(tx: Transaction, account_id: Id, month: int, one: Sum) -> None:
    params = {
        "account": account_id, "for_month": month, "add_in": one.in_bytes, "add_out": one.out_bytes,
        "add_requests": one.requests,
    }  # fmt: skip
    if not tx.run(_ADD, params):
        row = {"in_bytes": one.in_bytes, "out_bytes": one.out_bytes, "requests": one.requests}
        tx.run(_INSERT, {"account_id": account_id, "month": month, **row, "byte_hours": 0, "rest_byte_s": 0})
