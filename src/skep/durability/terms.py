"""What an owner says of a store: its price, where it lies, how fast it may be used, whether it is cached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from skep.base.ids import Id

PRICE_MAX = 1_000_000
Rate = Annotated[int, Meta(ge=1024, le=1 << 50)]
GB = 10**9
"""Prices are per decimal gigabyte, as providers' are."""


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """None is unknown, or no limit. Money is in whatever currency the owner counts in: the same for all stores."""

    price_stored: Decimal | None = None
    """For a gigabyte kept for a month."""
    price_up: Decimal | None = None
    """For a gigabyte sent to the store."""
    price_down: Decimal | None = None
    """For a gigabyte read from it."""
    jurisdiction: Annotated[str, Meta(max_length=64)] = ""
    """Whose law it lies under: policies allow and forbid by it."""
    household: Annotated[str, Meta(max_length=64)] = ""
    """Which home or office it stands in: the lint of the layout takes stores of one as lost together."""
    cache: bool | None = None
    """Whether what is read from it is kept in the read cache; None: if the store is not on the hive's machine."""
    up_bytes_per_s: Rate | None = None
    down_bytes_per_s: Rate | None = None

    def __post_init__(self) -> None:
        for price in (self.price_stored, self.price_up, self.price_down):
            if price is not None and not (price.is_finite() and 0 <= price <= PRICE_MAX):
                raise ValueError(f"a price is a number from 0 to {PRICE_MAX}, not {price}")


def factor(prices: Mapping[Id, Decimal | None], store_id: Id, lean: float) -> float:
    """What placement multiplies a store's weight with for its price: 1 for the cheapest, and for an unknown price.

    ``lean`` 1: half of it for twice the price; 0: prices do not matter. What costs nothing counts as a hundredth of
    the least price that is asked.
    """
    asked = [price for price in prices.values() if price]
    price = prices[store_id]
    if price is None or not asked:
        return 1.0
    free = min(asked) / 100
    known = [one or free for one in prices.values() if one is not None]
    return math.pow(min(known) / (price or free), lean)
