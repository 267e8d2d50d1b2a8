"""Promo codes: each gives credit, money or a prepaid plan once to an account, so often and so long as it says."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from skep.base.errors import AlreadyExists, BadInput, InvalidSize, NotFound, PromoRefused
from skep.base.ids import Id
from skep.credit import accounts, ledger, plans
from skep.credit.records import AMOUNT_MAX, Account, Promo, Unit
from skep.db import Transaction, insert_new, prepared
from skep.db import schema_credit as c

CODE_LENGTH_MAX = 100
PROMOS_MAX = 100_000
_p, _u = c.promos.c, c.promo_uses.c
_FIELDS = ("code", "bytes", "money", "plan_id", "plan_us", "uses_max", "uses", "from_us", "until_us")
_SELECT = sa.select(*(_p[name] for name in _FIELDS))
_PAGE = prepared(_SELECT.where(_p.code > sa.bindparam("after")).order_by(_p.code).limit(sa.bindparam("page")))
_ONE = prepared(_SELECT.where(_p.code == sa.bindparam("for_code")))
_INSERT = insert_new(c.promos, or_ignore=True)
_DELETE = prepared(sa.delete(c.promos).where(_p.code == sa.bindparam("for_code")))
_END = prepared(sa.update(c.promos).where(_p.code == sa.bindparam("for_code")).values(until_us=sa.bindparam("now")))
_COUNT = prepared(sa.select(sa.func.count()).select_from(c.promos))
_USE = prepared(
    sa.update(c.promos)
    .where(
        _p.code == sa.bindparam("for_code"),
        _p.from_us <= sa.bindparam("now"),
        sa.or_(_p.until_us.is_(None), _p.until_us > sa.bindparam("now")),
        sa.or_(_p.uses_max.is_(None), _p.uses < _p.uses_max),
    )
    .values(uses=_p.uses + 1)
)
_USED_BY = insert_new(c.promo_uses, or_ignore=True)


def list_promos(tx: Transaction, after: str, limit: int) -> list[Promo]:
    """Codes in their order, after one."""
    return [_promo(row) for row in tx.rows(_PAGE, {"after": after, "page": limit})]


def add_promo(tx: Transaction, promo: Promo, plan: str | None) -> tuple[Promo, bool]:
    """Make a code; one that is there stays as it is. The code as it is, and whether it is new.

    Raises BadInput, InvalidSize, PlanNotFound.
    """
    _check(promo)
    if plan is not None:
        promo = promo._replace(plan_id=plans.the_plan(tx, plan).id)
        if promo.plan_us is None or not 0 < promo.plan_us <= plans.DURATION_MAX_US:
            raise BadInput("say for how long the code gives the plan")
    if not promo.bytes and not promo.money and promo.plan_id is None:
        raise BadInput("this code gives nothing: say how many bytes, how much money, or which plan")
    if int(tx.value(_COUNT) or 0) >= PROMOS_MAX:
        raise AlreadyExists(f"there are {PROMOS_MAX} codes already, which is the most")
    is_new = tx.run(_INSERT, {**promo._asdict(), "uses": 0, "created_us": tx.now_us}) == 1
    return the_promo(tx, promo.code), is_new


def the_promo(tx: Transaction, code: str) -> Promo:
    """A code. Raises NotFound."""
    row = tx.one(_ONE, {"for_code": code})
    if row is None:
        raise NotFound(f"there is no code {code[:64]!r}")
    return _promo(row)


def end_promo(tx: Transaction, code: str) -> None:
    """Let nobody redeem a code any more; one that nobody has redeemed goes. Raises NotFound."""
    if the_promo(tx, code).uses:
        tx.run(_END, {"for_code": code, "now": tx.now_us})
    else:
        tx.run(_DELETE, {"for_code": code})


def redeem(tx: Transaction, account: Account, code: str) -> Promo:
    """Give an account what a code gives, once. Raises PromoRefused, which does not say why."""
    if not code or len(code) > CODE_LENGTH_MAX or "\0" in code:
        raise refused()
    if not tx.run(_USE, {"for_code": code, "now": tx.now_us}):
        raise refused()
    if tx.run(_USED_BY, {"code": code, "account_id": account.id, "at_us": tx.now_us}) != 1:
        raise refused()
    promo = the_promo(tx, code)
    given: tuple[tuple[Unit, int], ...] = (("bytes", promo.bytes), ("money", promo.money))
    for unit, amount in given:
        if amount:
            ours = accounts.system(tx, "promo")
            key = f"promo:{unit}:{account.id.hex()}:{code}"
            ledger.move(tx, ledger.Movement("promo", unit, amount, ours.id, account.id, key, code))
    if promo.plan_id is not None and promo.plan_us is not None:
        plans.prepay(tx, account, plans.plan_by_id(tx, promo.plan_id), promo.plan_us)
    return promo


def refused() -> PromoRefused:
    """The one answer to every code that gives nothing."""
    return PromoRefused("this code is unknown, over, used up, or was redeemed before")


def has_plan(tx: Transaction, plan_id: Id) -> bool:
    """Whether a code that may still be redeemed gives a plan."""
    return tx.one(_OF_PLAN, {"plan": plan_id}) is not None


_OF_PLAN = prepared(sa.select(_p.code).where(_p.plan_id == sa.bindparam("plan")).limit(1))


def _check(promo: Promo) -> None:
    if not 0 < len(promo.code) <= CODE_LENGTH_MAX or not promo.code.isprintable() or promo.code != promo.code.strip():
        raise BadInput(f"a code has 1 to {CODE_LENGTH_MAX} characters that can be printed")
    for name in ("bytes", "money"):
        amount = getattr(promo, name)
        if not 0 <= amount <= AMOUNT_MAX:
            raise InvalidSize(f"a code gives 0 to 2^62 {name}, not {amount}")
    if promo.uses_max is not None and promo.uses_max < 1:
        raise BadInput("a code can be redeemed once at least")
    if promo.until_us is not None and promo.until_us <= promo.from_us:
        raise BadInput("this code would end before it begins")


def _promo(row: tuple[Any, ...]) -> Promo:
    code, size_bytes, money, plan_id, *rest = row
    return Promo(code, size_bytes, money, None if plan_id is None else bytes(plan_id), *rest)
