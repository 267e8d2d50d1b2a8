"""Months as accounts count them: of the calendar, in UTC, written 202611."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000
PERIOD_US = 30 * DAY_US
"""What a plan's cost pays for."""


def month_of(at_us: int) -> int:
    """The month of a time: 202611."""
    day = _EPOCH + timedelta(microseconds=at_us)
    return day.year * 100 + day.month


def next_month_us(at_us: int) -> int:
    """When the month after that of a time begins."""
    day = _EPOCH + timedelta(microseconds=at_us)
    following = datetime(day.year + day.month // 12, day.month % 12 + 1, 1, tzinfo=UTC)
    return (following - _EPOCH) // timedelta(microseconds=1)


def time_text(at_us: int) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return (_EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%SZ")
