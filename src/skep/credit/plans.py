"""Plans: what an account may use, and what that costs; and who has which.

A *standing* plan holds until it is changed; where it costs money, 30 days are paid at a time. A *prepaid* one holds for
a time that begins with its first use. In force is the prepaid one that is being used, else the newest that nobody has
begun, else the standing one, else the hive's default.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from skep.base.errors import BadInput, CreditExhausted, InUse, InvalidName, InvalidSize, PlanNotFound
from skep.base.ids import Id, new_id
from skep.credit import accounts, ledger
from skep.credit.months import PERIOD_US
from skep.credit.records import AMOUNT_MAX, Account, Plan, PlanTerms, Subscription, Unit
from skep.db import Transaction, insert_new, prepared
from skep.db import schema_credit as c

PLANS_MAX = 1000
DURATION_MAX_US = 100 * 365 * 86_400_000_000
_p, _s = c.plans.c, c.subscriptions.c
_TERMS = tuple(field.name for field in fields(PlanTerms))
_SELECT = sa.select(_p.id, _p.name, _p.created_us, *(_p[name] for name in _TERMS))
_ALL = prepared(_SELECT.order_by(_p.name_key).limit(PLANS_MAX))
_BY_NAME = prepared(_SELECT.where(_p.name_key == sa.bindparam("for_name")))
_BY_ID = prepared(_SELECT.where(_p.id == sa.bindparam("plan")))
_INSERT = insert_new(c.plans)
_UPDATE = prepared(
    sa.update(c.plans)
    .where(_p.id == sa.bindparam("plan"))
    .values({_p[name]: sa.bindparam(f"new_{name}") for name in _TERMS})
)
_DELETE = prepared(sa.delete(c.plans).where(_p.id == sa.bindparam("plan")))
_COUNT = prepared(sa.select(sa.func.count()).select_from(c.plans))
_SUBSCRIPTION = sa.select(
    _s.id,
    _s.account_id,
    _s.plan_id,
    _s.kind,
    _s.state,
    _s.duration_us,
    _s.created_us,
    _s.starts_us,
    _s.ends_us,
    _s.paid_until_us,
)
_is_live = sa.or_(*(_s.state == state for state in ("standing", "unpaid", "pristine", "in-use")))
_LIVE = prepared(_SUBSCRIPTION.where(_s.account_id == sa.bindparam("account"), _is_live).order_by(_s.id))
_OF_PLAN = prepared(
    sa.select(_s.account_id).where(_s.plan_id == sa.bindparam("plan"), _is_live).limit(sa.bindparam("page"))
)
_DUE = prepared(
    _SUBSCRIPTION.where(
        sa.or_(
            sa.and_(_s.state == "in-use", _s.ends_us < sa.bindparam("now")),
            sa.and_(sa.or_(_s.state == "standing", _s.state == "unpaid"), _s.paid_until_us <= sa.bindparam("now")),
        ),
        _s.id > sa.bindparam("after"),
    )
    .order_by(_s.id)
    .limit(sa.bindparam("page"))
)
_SUBSCRIBE = insert_new(c.subscriptions)
_STATE = prepared(
    sa.update(c.subscriptions)
    .where(_s.id == sa.bindparam("subscription"))
    .values(
        state=sa.bindparam("new_state"),
        starts_us=sa.bindparam("new_starts"),
        ends_us=sa.bindparam("new_ends"),
        paid_until_us=sa.bindparam("new_paid"),
    )
)


# --- the plans themselves -----------------------------------------------------------------------


def list_plans(tx: Transaction) -> list[Plan]:
    """All plans by name."""
    return [_plan(row) for row in tx.rows(_ALL)]


def the_plan(tx: Transaction, name: str) -> Plan:
    """A plan by name. Raises PlanNotFound."""
    row = tx.one(_BY_NAME, {"for_name": name.casefold()})
    if row is None:
        raise PlanNotFound(f"there is no plan {name[:64]!r}: list them to see their names")
    return _plan(row)


def plan_by_id(tx: Transaction, plan_id: Id) -> Plan:
    """A plan by id. Raises PlanNotFound."""
    row = tx.one(_BY_ID, {"plan": plan_id})
    if row is None:
        raise PlanNotFound("there is no such plan")
    return _plan(row)


def put_plan(tx: Transaction, name: str, terms: PlanTerms) -> Plan:
    """Make a plan, or give the one of this name other terms, which hold at once. Raises InvalidName, InvalidSize."""
    _check(name, terms)
    values = {field: int(value) if isinstance(value, bool) else value for field, value in _values(terms).items()}
    row = tx.one(_BY_NAME, {"for_name": name.casefold()})
    if row is not None:
        tx.run(_UPDATE, {"plan": bytes(row[0]), **{f"new_{field}": value for field, value in values.items()}})
        return plan_by_id(tx, bytes(row[0]))
    if int(tx.value(_COUNT) or 0) >= PLANS_MAX:
        raise BadInput(f"there are {PLANS_MAX} plans already, which is the most")
    plan_id = new_id()
    tx.run(_INSERT, {"id": plan_id, "name": name, "name_key": name.casefold(), "created_us": tx.now_us, **values})
    return plan_by_id(tx, plan_id)


def remove_plan(tx: Transaction, name: str) -> None:
    """Take a plan away. Raises PlanNotFound, InUse while somebody has it."""
    plan = the_plan(tx, name)
    if accounts_of(tx, plan.id, 1):
        raise InUse(f"somebody has the plan {name!r}: give them another first")
    tx.run(_DELETE, {"plan": plan.id})


def accounts_of(tx: Transaction, plan_id: Id, limit: int) -> list[Id]:
    """The accounts that have a plan."""
    return [bytes(row[0]) for row in tx.rows(_OF_PLAN, {"plan": plan_id, "page": limit})]


# --- who has which ------------------------------------------------------------------------------


def subscriptions(tx: Transaction, account_id: Id) -> list[Subscription]:
    """The plans of an account that hold or may still hold, the oldest first."""
    return [_subscription(row) for row in tx.rows(_LIVE, {"account": account_id})]


def in_force(tx: Transaction, account_id: Id | None, default: str = "") -> Plan | None:
    """The plan whose terms hold for an account now; None: no plan, no limits by one."""
    live = [] if account_id is None else subscriptions(tx, account_id)
    used = [one for one in live if one.state == "in-use" and not _is_over(one, tx.now_us)]
    fresh = [one for one in reversed(live) if one.state == "pristine"]
    standing = [one for one in live if one.state == "standing"]
    for one in (*used, *fresh, *standing):
        return plan_by_id(tx, one.plan_id)
    row = tx.one(_BY_NAME, {"for_name": default.casefold()}) if default else None
    return None if row is None else _plan(row)


def subscribe(tx: Transaction, account: Account, plan: Plan) -> Subscription:
    """Give an account a standing plan, and pay its first 30 days. Raises CreditExhausted.

    What is left of those that were paid for the plan before is given back.
    """
    for one in subscriptions(tx, account.id):
        if one.kind == "standing":
            _give_back(tx, one)
            _set(tx, one, "ended", ends_us=tx.now_us)
    made = Subscription(new_id(), account.id, plan.id, "standing", "standing", None, tx.now_us, tx.now_us, None, None)
    if plan.terms.cost or plan.terms.credit_bytes:
        _pay(tx, made, plan, tx.now_us)
        made = made._replace(paid_until_us=tx.now_us + PERIOD_US)
    tx.run(_SUBSCRIBE, made._asdict())
    let_owe(tx, account.id)
    return made


def unsubscribe(tx: Transaction, account_id: Id) -> None:
    """End the standing plan of an account; what is left of the paid time is given back."""
    for one in subscriptions(tx, account_id):
        if one.kind == "standing":
            _give_back(tx, one)
            _set(tx, one, "ended", ends_us=tx.now_us)
    let_owe(tx, account_id)


def end_all(tx: Transaction, account_id: Id) -> None:
    """End every plan of an account that is closed; what is left of the paid time is given back."""
    for one in subscriptions(tx, account_id):
        if one.kind == "standing":
            _give_back(tx, one)
        _set(tx, one, "ended" if one.kind == "standing" else "expired", ends_us=tx.now_us)


def prepay(tx: Transaction, account: Account, plan: Plan, duration_us: int) -> Subscription:
    """Give an account a plan for a time that begins with its first use. Raises BadInput."""
    if not 0 < duration_us <= DURATION_MAX_US:
        raise BadInput("a prepaid plan lasts longer than nothing, and 100 years at most")
    made = Subscription(new_id(), account.id, plan.id, "prepaid", "pristine", duration_us, tx.now_us, None, None, None)
    tx.run(_SUBSCRIBE, made._asdict())
    let_owe(tx, account.id)
    return made


def begin(tx: Transaction, account_id: Id) -> Subscription | None:
    """The account is being used: begin its newest prepaid plan, unless one runs."""
    live = subscriptions(tx, account_id)
    if any(one.state == "in-use" and not _is_over(one, tx.now_us) for one in live):
        return None
    fresh = [one for one in live if one.state == "pristine"]
    if not fresh:
        return None
    one = fresh[-1]
    assert one.duration_us is not None
    _set(tx, one, "in-use", starts_us=tx.now_us, ends_us=tx.now_us + one.duration_us)
    return one


def renew(tx: Transaction, after: Id, limit: int) -> list[Subscription]:
    """What is due of so many subscriptions after an id: prepaid time that is over ends, standing plans are paid.

    A standing plan whose next 30 days cannot be paid is *unpaid* and not in force until they can.
    """
    rows = tx.rows(_DUE, {"now": tx.now_us, "after": after, "page": limit})
    due = [_subscription(row) for row in rows]
    for one in due:
        if one.kind == "prepaid":
            _set(tx, one, "expired", starts_us=one.starts_us, ends_us=one.ends_us)
        else:
            _renew_standing(tx, one)
        let_owe(tx, one.account_id)
    return due


def _renew_standing(tx: Transaction, one: Subscription) -> None:
    assert one.paid_until_us is not None
    late = tx.now_us - one.paid_until_us
    begins_us = one.paid_until_us if one.state == "standing" and late < PERIOD_US else tx.now_us
    try:
        _pay(tx, one, plan_by_id(tx, one.plan_id), begins_us)
    except CreditExhausted:
        if one.state != "unpaid":
            _set(tx, one, "unpaid", starts_us=one.starts_us, paid_until_us=one.paid_until_us)
        return
    _set(tx, one, "standing", starts_us=one.starts_us, paid_until_us=begins_us + PERIOD_US)


def let_owe(tx: Transaction, account_id: Id) -> None:
    """Let the account owe what its plan allows, and no more."""
    plan = in_force(tx, account_id)
    terms = PlanTerms() if plan is None else plan.terms
    limits: tuple[tuple[Unit, int], ...] = (("bytes", terms.overdraft_bytes), ("money", terms.overdraft_money))
    for unit, overdraft in limits:
        if overdraft or ledger.balance(tx, account_id, unit).floor:
            ledger.set_floor(tx, account_id, unit, -overdraft)


def _pay(tx: Transaction, one: Subscription, plan: Plan, begins_us: int) -> None:
    """Pay 30 days from a time on, and give the credit that belongs to them."""
    ours = accounts.system(tx, "plans")
    if plan.terms.cost:
        key = _key(one, begins_us)
        note = plan.name[:100]
        ledger.move(tx, ledger.Movement("plan", "money", plan.terms.cost, one.account_id, ours.id, key, note))
    if plan.terms.credit_bytes:
        key = f"plan-credit:{one.id.hex()}:{begins_us}"
        given = ledger.Movement("plan-credit", "bytes", plan.terms.credit_bytes, ours.id, one.account_id, key)
        ledger.move(tx, given)


def _give_back(tx: Transaction, one: Subscription) -> None:
    if one.paid_until_us is None or one.state != "standing":
        return
    begins_us = one.paid_until_us - PERIOD_US
    paid = ledger.by_key(tx, _key(one, begins_us))
    left_us = max(0, min(PERIOD_US, one.paid_until_us - tx.now_us))
    back = 0 if paid is None else paid.amount * left_us // PERIOD_US
    if paid is not None and back:
        ledger.refund(tx, paid.id, back, f"plan-rest:{one.id.hex()}:{begins_us}", "the rest of a plan")


def _key(one: Subscription, begins_us: int) -> str:
    return f"plan:{one.id.hex()}:{begins_us}"


def _is_over(one: Subscription, now_us: int) -> bool:
    return one.ends_us is not None and now_us > one.ends_us


def _set(
    tx: Transaction,
    one: Subscription,
    state: str,
    *,
    starts_us: int | None = None,
    ends_us: int | None = None,
    paid_until_us: int | None = None,
) -> None:
    params = {"new_starts": starts_us or one.starts_us, "new_ends": ends_us, "new_paid": paid_until_us}
    tx.run(_STATE, {"subscription": one.id, "new_state": state, **params})


def _check(name: str, terms: PlanTerms) -> None:
    if not 0 < len(name) <= 100 or name != name.strip() or not name.isprintable():
        raise InvalidName("the name of a plan has 1 to 100 characters that can be printed")
    for field, value in _values(terms).items():
        if value is not None and not isinstance(value, bool) and not 0 <= value <= AMOUNT_MAX:
            raise InvalidSize(f"{field} is {value}: it is 0 at least and 2^62 at most", field=field)


def _values(terms: PlanTerms) -> dict[str, Any]:
    return {field: getattr(terms, field) for field in _TERMS}


def _plan(row: tuple[Any, ...]) -> Plan:
    plan_id, name, created_us, *values = row
    terms = dict(zip(_TERMS, values, strict=True))
    terms["is_open"] = bool(terms["is_open"])
    return Plan(bytes(plan_id), name, PlanTerms(**terms), created_us)


def _subscription(row: tuple[Any, ...]) -> Subscription:
    sub_id, account_id, plan_id, *rest = row
    return Subscription(bytes(sub_id), bytes(account_id), bytes(plan_id), *rest)
