"""Prices of credit, buying it, and promo codes."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.errors import NotFound
from skep.base.ids import parse_id
from skep.credit import Promo
from skep.frontends.api.call import Call
from skep.frontends.api.credit_records import (
    Amount,
    Key,
    Limit,
    Moved,
    PriceRecord,
    PromoRecord,
    moved,
    price_record,
    promo_record,
)
from skep.frontends.api.operation import Operation

TAG = "credit"
CENTURY_S = 100 * 365 * 86_400


class Prices(msgspec.Struct, frozen=True):
    """The smallest amount first; money in the smallest coin of ``currency``."""

    currency: str
    prices: list[PriceRecord]


class NewPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``from_us``: now unless given; ``until_us``: for good."""

    bytes: Amount
    cost: Amount
    from_us: int | None = None
    until_us: int | None = None


class Buy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``price``: its id; ``key``: the same key buys once."""

    price: str
    count: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    account: str = ""
    key: Key = ""


class Redeem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``account``: a group that one manages, or empty: one's own."""

    code: str
    account: str = ""


class NewPromo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a code gives, how often and how long."""

    code: str
    bytes: Limit = 0
    money: Limit = 0
    plan: str | None = None
    plan_s: Annotated[int, Meta(ge=1, le=CENTURY_S)] | None = None
    uses_max: Annotated[int, Meta(ge=1, le=2**62)] | None = None
    from_us: int | None = None
    until_us: int | None = None


class PromosQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of codes."""

    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class Promos(msgspec.Struct, frozen=True):
    """``next``: there may be more after this code."""

    promos: list[PromoRecord]
    next: str | None


async def list_all_prices(call: Call) -> Prices:
    """List what credit cost before, costs now and will cost."""
    credit = call.services.credit
    return Prices(credit.rules.currency, [price_record(price) for price in await credit.all_prices(call.principal)])


async def list_prices(call: Call) -> Prices:
    """List what credit costs now, to anybody."""
    credit = call.services.credit
    return Prices(credit.rules.currency, [price_record(price) for price in await credit.prices()])


async def add_price(call: Call, body: NewPrice) -> PriceRecord:
    """Sell so many bytes for so much."""
    made = await call.services.credit.add_price(
        call.principal, body.bytes, body.cost, from_us=body.from_us, until_us=body.until_us
    )
    return price_record(made)


async def end_price(call: Call) -> PriceRecord:
    """Sell at a price no longer; it stays in the list of all."""
    return price_record(await call.services.credit.end_price(call.principal, call.id("price", NotFound)))


async def buy(call: Call, body: Buy) -> Moved:
    """Turn money of an account into bytes at a price; 402 where it does not suffice."""
    done = await call.services.credit.buy(
        call.principal, parse_id(body.price), body.count, who=body.account, key=body.key
    )
    return moved(done)


async def redeem(call: Call, body: Redeem) -> PromoRecord:
    """Redeem a promo code, once for each account; 403 for a code that gives nothing."""
    promo = await call.services.credit.redeem(call.principal, body.code, who=body.account, address=call.client)
    return promo_record(promo._replace(uses=0, uses_max=None), None)


async def list_promos(call: Call, query: PromosQuery) -> Promos:
    """List the promo codes."""
    found = await call.services.credit.list_promos(call.principal, after=query.after, limit=query.limit)
    plans = {plan.id: plan.name for plan in await call.services.credit.list_plans(call.principal)}
    records = [promo_record(promo, plans.get(promo.plan_id or b"")) for promo in found]
    return Promos(records, found[-1].code if len(found) == query.limit else None)


async def add_promo(call: Call, body: NewPromo) -> PromoRecord:
    """Make a promo code. One that is there stays as it is, and is told as it is."""
    credit = call.services.credit
    wanted = Promo(
        code=body.code,
        bytes=body.bytes,
        money=body.money,
        plan_id=None,
        plan_us=None if body.plan_s is None else body.plan_s * 1_000_000,
        uses_max=body.uses_max,
        uses=0,
        from_us=credit.now_us() if body.from_us is None else body.from_us,
        until_us=body.until_us,
    )
    made, _ = await credit.add_promo(call.principal, wanted, body.plan)
    plans = {plan.id: plan.name for plan in await credit.list_plans(call.principal)}
    return promo_record(made, plans.get(made.plan_id or b""))


async def end_promo(call: Call) -> None:
    """Let nobody redeem a code any more."""
    await call.services.credit.end_promo(call.principal, call.path["code"])


_AT = "/api/credit"
OPERATIONS = (
    Operation("GET", f"{_AT}/prices", list_prices, None, TAG),
    Operation("GET", f"{_AT}/prices/all", list_all_prices, "admin", TAG, admin=True),
    Operation("POST", f"{_AT}/prices", add_price, "admin", TAG, admin=True, status=201),
    Operation("DELETE", f"{_AT}/prices/{{price}}", end_price, "admin", TAG, admin=True),
    Operation("POST", f"{_AT}/purchases", buy, "account", TAG),
    Operation("POST", f"{_AT}/redeem", redeem, "account", TAG, status=201),
    Operation("GET", f"{_AT}/promos", list_promos, "admin", TAG, admin=True),
    Operation("POST", f"{_AT}/promos", add_promo, "admin", TAG, admin=True, status=201),
    Operation("DELETE", f"{_AT}/promos/{{code}}", end_promo, "admin", TAG, admin=True, status=204),
)
