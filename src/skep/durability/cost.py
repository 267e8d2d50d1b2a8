"""What stores cost: pure functions of their terms and of what was kept and moved in a month.

A gigabyte-month is a gigabyte kept for as long as the month at hand is. The forecast takes it that the rest of
the month goes on as it is: what is kept now stays, and traffic flows as it has so far.
"""

from __future__ import annotations

import calendar
import datetime
from dataclasses import dataclass
from decimal import Decimal

from skep.durability.terms import GB, Terms

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Used:
    """What was kept in and moved to and from a store since the month began."""

    byte_seconds: int = 0
    up_bytes: int = 0
    down_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC, and how much of it is over."""

    name: str
    """``2026-11``."""
    length_s: int
    elapsed_s: int

    @property
    def left_s(self) -> int:
        """Seconds until it ends."""
        return self.length_s - self.elapsed_s


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one store in one month; None where a price that is needed is unknown."""

    so_far: Decimal | None
    forecast: Decimal | None


def month_at(now_us: int) -> Month:
    """The month that a moment lies in."""
    at = datetime.datetime.fromtimestamp(now_us / 1e6, datetime.UTC)
    days = calendar.monthrange(at.year, at.month)[1]
    elapsed_s = (at.day - 1) * DAY_S + at.hour * 3600 + at.minute * 60 + at.second
    return Month(f"{at.year:04}-{at.month:02}", days * DAY_S, elapsed_s)


def day_at(now_us: int) -> int:
    """Days since 1970, in UTC."""
    return now_us // (DAY_S * 1_000_000)


def first_day(now_us: int) -> int:
    """The first day of the month, counted as ``day_at`` does."""
    at = datetime.datetime.fromtimestamp(now_us / 1e6, datetime.UTC)
    return day_at(now_us) - (at.day - 1)


def cost_of(terms: Terms, used: Used, now_bytes: int, month: Month) -> Cost:
    """The month so far and its forecast. Unknown prices count as nothing if at least one is known."""
    prices = (terms.price_stored, terms.price_up, terms.price_down)
    if all(price is None for price in prices):
        return Cost(None, None)
    stored, up, down = (price or Decimal(0) for price in prices)
    kept = Decimal(used.byte_seconds) / month.length_s / GB * stored
    moved = (used.up_bytes * up + used.down_bytes * down) / GB
    to_keep = Decimal(now_bytes) * month.left_s / month.length_s / GB * stored
    to_move = moved * month.left_s / max(1, month.elapsed_s)
    return Cost(kept + moved, kept + moved + to_keep + to_move)
