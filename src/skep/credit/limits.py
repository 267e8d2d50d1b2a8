"""Limits of accounts: those of the plan, and those that an administrator sets beside it, which go first."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from skep.base.errors import InvalidSize
from skep.base.ids import Id
from skep.credit import plans
from skep.credit.records import AMOUNT_MAX
from skep.db import Transaction, prepared, upsert
from skep.db import schema_credit as c

LEVELS = (95, 80)
_l, _p, _w = c.limits.c, c.plans.c, c.warnings.c
_OWN = prepared(
    sa.select(_l.traffic_bytes, _l.objects_max, _l.rate_bytes_s).where(_l.account_id == sa.bindparam("account"))
)
_SET = upsert(c.limits, ["account_id"], ["traffic_bytes", "objects_max", "rate_bytes_s"])
_DROP = prepared(sa.delete(c.limits).where(_l.account_id == sa.bindparam("account")))
_ANY_LIMIT = prepared(sa.select(_l.account_id).limit(1))
_ANY_PLAN = prepared(
    sa.select(_p.id).where(sa.or_(_p.traffic_bytes.is_not(None), _p.rate_bytes_s.is_not(None))).limit(1)
)
_WARNED = prepared(sa.select(_w.level, _w.month).where(_w.subject == sa.bindparam("for_subject")))
_WARN = upsert(c.warnings, ["subject"], ["level", "month"])


class InForce(NamedTuple):
    """What limits an account now; None: nothing. ``may_begin``: a prepaid plan waits for its first use."""

    traffic_bytes: int | None = None
    objects_max: int | None = None
    rate_bytes_s: int | None = None
    may_begin: bool = False
    in_bytes: int | None = None
    """What may come in, in a month: of accounts of the hive's own alone."""


class Limits(NamedTuple):
    """What an administrator set for one account beside its plan; None: as the plan says."""

    traffic_bytes: int | None = None
    objects_max: int | None = None
    rate_bytes_s: int | None = None


def own_limits(tx: Transaction, account_id: Id) -> Limits:
    """What was set beside the plan."""
    row = tx.one(_OWN, {"account": account_id})
    return Limits() if row is None else Limits(*row)


def set_limits(tx: Transaction, account_id: Id, limits: Limits) -> None:
    """Set them; all None: as the plan says. Raises InvalidSize."""
    for name, value in limits._asdict().items():
        if value is not None and not 0 <= value <= AMOUNT_MAX:
            raise InvalidSize(f"{name} is {value}: it is 0 at least and 2^62 at most")
    if limits == Limits():
        tx.run(_DROP, {"account": account_id})
    else:
        tx.run(_SET, {"account_id": account_id, **limits._asdict()})


def in_force(tx: Transaction, account_id: Id, default_plan: str) -> InForce:
    """What limits an account now."""
    plan = plans.in_force(tx, account_id, default_plan)
    own = own_limits(tx, account_id)
    terms = None if plan is None else plan.terms
    live = plans.subscriptions(tx, account_id)
    waits = any(one.state == "pristine" for one in live) and not any(one.state == "in-use" for one in live)
    return InForce(
        _either(own.traffic_bytes, None if terms is None else terms.traffic_bytes),
        _either(own.objects_max, None if terms is None else terms.objects_max),
        _either(own.rate_bytes_s, None if terms is None else terms.rate_bytes_s),
        waits,
    )


def _either(own: int | None, of_plan: int | None) -> int | None:
    return of_plan if own is None else own


def begun(tx: Transaction, account_id: Id, default_plan: str) -> InForce:
    """``in_force`` of an account that is being used: its prepaid time begins."""
    plans.begin(tx, account_id)
    return in_force(tx, account_id, default_plan)._replace(may_begin=False)


def any_limit(tx: Transaction) -> bool:
    """Whether anything limits anybody's traffic or rate."""
    return tx.one(_ANY_LIMIT) is not None or tx.one(_ANY_PLAN) is not None


def level(used: int, limit: int) -> int:
    """The highest of ``LEVELS`` that is reached, in percent; 0: none."""
    return next((percent for percent in LEVELS if used * 100 >= limit * percent), 0)


def lowered(tx: Transaction, subject: str, percent: int) -> None:
    """Note that somebody is at a lower level now: the next crossing is news again."""
    tx.run(_WARN, {"subject": subject, "level": percent, "month": 0})


def noted(tx: Transaction, subject: str) -> tuple[int, int]:
    """The level that was noted of somebody, in percent, and the month that it was in; zeros: none."""
    row = tx.one(_WARNED, {"for_subject": subject})
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def warned(tx: Transaction, subject: str, percent: int, month: int) -> bool:
    """Note that somebody reached a level in a month; whether that is news."""
    row = tx.one(_WARNED, {"for_subject": subject})
    if row is not None and row[1] == month and row[0] >= percent:
        return False
    tx.run(_WARN, {"subject": subject, "level": percent, "month": month})
    return True
