"""Times as S3 writes them: ISO 8601 with milliseconds in XML, and the basic form of signatures."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AMZ = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z\Z", re.ASCII)
AMZ_LENGTH = len("20130524T000000Z")
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999


def iso_date(time_us: int) -> str:
    """``2009-10-12T17:50:30.000Z`` of microseconds since 1970."""
    moment = _EPOCH + timedelta(microseconds=min(max(time_us, _FIRST_US), _LAST_US))
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_amz_date(text: str) -> int | None:
    """Microseconds of ``20130524T000000Z``; None when it is no such date."""
    return _parse_amz_date(text) if len(text) == AMZ_LENGTH else None


@lru_cache(4096)
def _parse_amz_date(text: str) -> int | None:
    match = _AMZ.match(text)
    if match is None:
        return None
    try:
        moment = datetime(*map(int, match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1)


def parse_iso_date(text: str) -> int | None:
    """Microseconds of an ISO 8601 time with its zone, as in POST policies; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
