"""The JSON of credit: amounts are whole numbers, of bytes or of the currency's smallest coin."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from skep.credit import Done, Entry, Plan, Price, Promo, Subscription
from skep.frontends.common.id_text import text_of, text_or_none

Unit = Literal["bytes", "money"]
Amount = Annotated[int, Meta(ge=1, le=2**62)]
Limit = Annotated[int, Meta(ge=0, le=2**62)]
Key = Annotated[str, Meta(max_length=100)]
Note = Annotated[str, Meta(max_length=200)]


class Balance(msgspec.Struct, frozen=True):
    """``held``: what is set aside of ``amount`` for what is going on; ``floor``: how low it may fall."""

    amount: int
    held: int
    floor: int


class CreditAccount(msgspec.Struct, frozen=True):
    """An account: ``bytes`` of credit, ``money`` in the smallest coin of ``currency``, and the plan in force."""

    kind: str
    id: str | None
    bytes: Balance
    money: Balance
    currency: str
    plan: str | None


class Line(msgspec.Struct, frozen=True):
    """One line of a statement: ``amount`` is less than 0 where it went out; ``balance``: after it."""

    number: int
    at_us: int
    kind: str
    amount: int
    balance: int
    transfer: str
    note: str


class Statement(msgspec.Struct, frozen=True):
    """Newest first; ``next``: go on with it as ``before``."""

    unit: Unit
    lines: list[Line]
    next: int | None


class Moved(msgspec.Struct, frozen=True):
    """A transfer; ``repeated``: this key came before, and nothing was moved now."""

    id: str
    kind: str
    unit: str
    amount: int
    at_us: int
    note: str
    refund_of: str | None
    repeated: bool


class PriceRecord(msgspec.Struct, frozen=True):
    """So many bytes of credit for so much money, from a time until another (null: for good)."""

    id: str
    bytes: int
    cost: int
    from_us: int
    until_us: int | None


class PlanRecord(msgspec.Struct, frozen=True):
    """What a plan gives; null: no limit of its own. ``cost`` and ``credit_bytes`` are of 30 days."""

    id: str
    name: str
    space_bytes: int | None
    traffic_bytes: int | None
    objects_max: int | None
    rate_bytes_s: int | None
    overdraft_bytes: int
    overdraft_money: int
    cost: int
    credit_bytes: int
    is_open: bool


class SubscriptionRecord(msgspec.Struct, frozen=True):
    """An account's plan. ``state``: standing, unpaid, pristine (prepaid and not begun), in-use."""

    id: str
    plan: str
    kind: str
    state: str
    duration_s: int | None
    starts_us: int | None
    ends_us: int | None
    paid_until_us: int | None


class PromoRecord(msgspec.Struct, frozen=True):
    """A code and what it gives."""

    code: str
    bytes: int
    money: int
    plan: str | None
    plan_s: int | None
    uses_max: int | None
    uses: int
    from_us: int
    until_us: int | None


def moved(done: Done) -> Moved:
    """The JSON of a transfer."""
    one = done.transfer
    return Moved(
        id=text_of(one.id),
        kind=one.kind,
        unit=one.unit,
        amount=one.amount,
        at_us=one.at_us,
        note=one.note,
        refund_of=text_or_none(one.refund_of),
        repeated=done.repeated,
    )


def line_of(entry: Entry) -> Line:
    """The JSON of a line of a statement."""
    return Line(
        number=entry.number,
        at_us=entry.at_us,
        kind=entry.kind,
        amount=entry.amount,
        balance=entry.balance,
        transfer=text_of(entry.transfer_id),
        note=entry.note,
    )


def price_record(price: Price) -> PriceRecord:
    """The JSON of a price."""
    return PriceRecord(text_of(price.id), price.bytes, price.cost, price.from_us, price.until_us)


def plan_record(plan: Plan) -> PlanRecord:
    """The JSON of a plan."""
    terms = plan.terms
    return PlanRecord(
        id=text_of(plan.id),
        name=plan.name,
        space_bytes=terms.space_bytes,
        traffic_bytes=terms.traffic_bytes,
        objects_max=terms.objects_max,
        rate_bytes_s=terms.rate_bytes_s,
        overdraft_bytes=terms.overdraft_bytes,
        overdraft_money=terms.overdraft_money,
        cost=terms.cost,
        credit_bytes=terms.credit_bytes,
        is_open=terms.is_open,
    )


def subscription_record(one: Subscription, plan: str) -> SubscriptionRecord:
    """The JSON of an account's plan."""
    return SubscriptionRecord(
        id=text_of(one.id),
        plan=plan,
        kind=one.kind,
        state=one.state,
        duration_s=None if one.duration_us is None else one.duration_us // 1_000_000,
        starts_us=one.starts_us,
        ends_us=one.ends_us,
        paid_until_us=one.paid_until_us,
    )


def promo_record(promo: Promo, plan: str | None) -> PromoRecord:
    """The JSON of a promo code."""
    return PromoRecord(
        code=promo.code,
        bytes=promo.bytes,
        money=promo.money,
        plan=plan,
        plan_s=None if promo.plan_us is None else promo.plan_us // 1_000_000,
        uses_max=promo.uses_max,
        uses=promo.uses,
        from_us=promo.from_us,
        until_us=promo.until_us,
    )
