"""What credit costs: rows with times between which they hold, never changed, only ended."""

from __future__ import annotations

import sqlalchemy as sa

from skep.base.errors import BadInput, NotFound
from skep.base.ids import Id, new_id
from skep.credit.records import Price, amount_of
from skep.db import Transaction, insert_new, prepared
from skep.db import schema_credit as c

PRICES_MAX = 1000
_p = c.prices.c
_SELECT = sa.select(_p.id, _p.bytes, _p.cost, _p.from_us, _p.until_us)
_ALL = prepared(_SELECT.order_by(_p.bytes, _p.from_us, _p.id).limit(PRICES_MAX))
_VALID = prepared(
    _SELECT.where(_p.from_us <= sa.bindparam("now"), sa.or_(_p.until_us.is_(None), _p.until_us > sa.bindparam("now")))
    .order_by(_p.bytes, _p.id)
    .limit(PRICES_MAX)
)
_ONE = prepared(_SELECT.where(_p.id == sa.bindparam("price")))
_COUNT = prepared(sa.select(sa.func.count()).select_from(c.prices))
_INSERT = insert_new(c.prices)
_END = prepared(sa.update(c.prices).where(_p.id == sa.bindparam("price")).values(until_us=sa.bindparam("now")))


def valid_prices(tx: Transaction) -> list[Price]:
    """The prices of this moment, the smallest amount first."""
    return [_price(row) for row in tx.rows(_VALID, {"now": tx.now_us})]


def all_prices(tx: Transaction) -> list[Price]:
    """Those of before and after, too."""
    return [_price(row) for row in tx.rows(_ALL)]


def add_price(tx: Transaction, size_bytes: int, cost: int, from_us: int | None, until_us: int | None) -> Price:
    """Sell so many bytes for so much from a time on. Raises InvalidSize, BadInput."""
    start_us = tx.now_us if from_us is None else from_us
    if until_us is not None and until_us <= start_us:
        raise BadInput("this price would end before it begins")
    if int(tx.value(_COUNT) or 0) >= PRICES_MAX:
        raise BadInput(f"there are {PRICES_MAX} prices already, which is the most")
    made = Price(new_id(), amount_of(size_bytes), amount_of(cost), start_us, until_us)
    tx.run(_INSERT, {**made._asdict(), "created_us": tx.now_us})
    return made


def end_price(tx: Transaction, price_id: Id) -> Price:
    """Sell at this price no longer. Raises NotFound."""
    the_price(tx, price_id)
    tx.run(_END, {"price": price_id, "now": tx.now_us})
    return the_price(tx, price_id)


def the_price(tx: Transaction, price_id: Id) -> Price:
    """A price by id. Raises NotFound."""
    row = tx.one(_ONE, {"price": price_id})
    if row is None:
        raise NotFound("no such price: list them to see their ids")
    return _price(row)


def price_to_pay(tx: Transaction, price_id: Id) -> Price:
    """A price that holds at this moment. Raises NotFound, BadInput (it does not hold now)."""
    price = the_price(tx, price_id)
    if price.from_us > tx.now_us or (price.until_us is not None and price.until_us <= tx.now_us):
        raise BadInput("this price does not hold now: list the prices anew")
    return price


def _price(row: tuple[object, ...]) -> Price:
    price_id, size_bytes, cost, from_us, until_us = row
    return Price(bytes(price_id), size_bytes, cost, from_us, until_us)  # type: ignore[arg-type, call-overload]
