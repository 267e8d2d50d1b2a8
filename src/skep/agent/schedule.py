"""The hours in which an agent takes new data: ``22:00-06:00``, ``mo-fr 18:00-08:00, sa-su 00:00-24:00``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from skep.base.errors import InvalidSetting

DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
DAY_MINUTES = 24 * 60
_PART = re.compile(r"(?:([a-z]{2})(?:-([a-z]{2}))?\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Span:
    """Some hours of some days. A span whose end is not after its start goes on past midnight."""

    days: frozenset[int]
    """0 is Monday: the days on which it begins."""
    start_minute: int
    end_minute: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a day is in it."""
        if self.start_minute < self.end_minute:
            return weekday in self.days and self.start_minute <= minute < self.end_minute
        begun_today = weekday in self.days and minute >= self.start_minute
        begun_yesterday = (weekday - 1) % 7 in self.days and minute < self.end_minute
        return begun_today or begun_yesterday


@dataclass(frozen=True, slots=True)
class Schedule:
    """All spans; none means always."""

    text: str = ""
    spans: tuple[Span, ...] = ()

    def open_at(self, weekday: int, minute: int) -> bool:
        """Whether data is taken at this minute (local time; 0 is Monday)."""
        return not self.spans or any(span.holds(weekday, minute) for span in self.spans)


def parse_schedule(text: str) -> Schedule:
    """Read a schedule; empty text is always. Raises InvalidSetting."""
    if not text.strip():
        return Schedule()
    return Schedule(text.strip(), tuple(_span(part.strip().lower(), text) for part in text.split(",")))


def _span(part: str, text: str) -> Span:
    found = _PART.fullmatch(part)
    if found is None:
        raise _wrong(text)
    first, last, *clock = found.groups()
    hour, minute, end_hour, end_minute = (int(number) for number in clock)
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    days = _days(first, last)
    if days is None or minute > 59 or end_minute > 59 or start >= DAY_MINUTES or end > DAY_MINUTES or start == end:
        raise _wrong(text)
    return Span(days, start, end)


def _days(first: str | None, last: str | None) -> frozenset[int] | None:
    if first is None:
        return frozenset(range(7))
    if first not in DAYS or (last is not None and last not in DAYS):
        return None
    start = DAYS.index(first)
    count = (DAYS.index(last) - start) % 7 + 1 if last is not None else 1
    return frozenset((start + step) % 7 for step in range(count))


def _wrong(text: str) -> InvalidSetting:
    return InvalidSetting(f"{text[:80]!r} is no schedule: write 22:00-06:00, or mo-fr 18:00-08:00, sa-su 00:00-24:00")
