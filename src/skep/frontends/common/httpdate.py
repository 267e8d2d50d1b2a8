"""HTTP dates (RFC 9110 section 5.6.7), to and from microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND_US = 1_000_000
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799


def http_date(time_us: int) -> str:
    """The IMF-fixdate of a time in microseconds, rounded down to the second, within the years 1 to 9999."""
    second = min(max(time_us // _SECOND_US, _FIRST_S), _LAST_S)
    return _minute(second // 60) + _SECONDS[second % 60]


@lru_cache(8192)
def _minute(minutes: int) -> str:
    """``Tue, 01 Jan 2030 23:59:``: the slow part of a date, which entries of a listing share."""
    return formatdate(minutes * 60, usegmt=True)[:23]


_SECONDS = tuple(f"{second:02d} GMT" for second in range(60))


def parse_http_date(text: str) -> int | None:
    """Microseconds of an HTTP date in any of its three forms; None when the text is no date.

    A recipient must ignore a condition whose date does not parse, hence no exception.
    """
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def whole_second_us(time_us: int) -> int:
    """The time as a client sees it in a header: without its fraction of a second."""
    return time_us - time_us % _SECOND_US
