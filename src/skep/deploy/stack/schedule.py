"""When a cron job runs: the five fields of crontab(5), in UTC.

    minute 0-59 | hour 0-23 | day of the month 1-31 | month 1-12 or jan-dec | day of the week 0-7 or sun-sat

Sunday is 0 and 7.

A field is ``*``, a number, a range ``a-b``, each with ``/step``, or several of them with commas. When both days are
restricted, either is enough, as in crontab(5). ``@hourly``, ``@daily``, ``@weekly``, ``@monthly`` and ``@yearly`` are
short for the obvious.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from skep.base.errors import BadInput

_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS_AHEAD_MAX = 366 * 8 + 2
"""29 February comes again within eight years, also around a year that is no leap year though four divides it."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The times that a job runs at."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either_day: bool
    """Whether a day of the month or of the week is enough, because both are restricted."""

    def matches(self, time: datetime) -> bool:
        """Whether it runs in this minute, of a time in UTC."""
        return time.minute in self.minutes and time.hour in self.hours and self._on_day(time)

    def _on_day(self, time: datetime) -> bool:
        if time.month not in self.months:
            return False
        by_month, by_week = time.day in self.days, time.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week

    def next_us(self, after_us: int) -> int | None:
        """The first time after ``after_us``, both in microseconds since 1970; None: never (30 February)."""
        start = datetime.fromtimestamp(after_us // 60_000_000 * 60 + 60, UTC)
        day = start.replace(hour=0, minute=0)
        for _ in range(_DAYS_AHEAD_MAX):
            if self._on_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        time = day.replace(hour=hour, minute=minute)
                        if time >= start:
                            return int(time.timestamp()) * 1_000_000
            day += timedelta(days=1)
        return None


def parse_schedule(text: str) -> Schedule:
    """Read five fields. Raises BadInput that says which field is wrong, or that it would never run."""
    fields = _SHORT.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        short = ", ".join(sorted(_SHORT))
        raise BadInput(
            f"{text!r} is no schedule: write five fields (minute, hour, day, month, day of the week), or one of {short}"
        )
    minutes = _field(fields[0], "minute", 0, 59)
    hours = _field(fields[1], "hour", 0, 23)
    days = _field(fields[2], "day of the month", 1, 31)
    months = _field(fields[3], "month", 1, 12, _MONTHS, 1)
    weekdays = frozenset(day % 7 for day in _field(fields[4], "day of the week", 0, 7, _DAYS, 0))
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    schedule = Schedule(minutes=minutes, hours=hours, days=days, months=months, weekdays=weekdays, either_day=either)
    if schedule.next_us(0) is None:
        raise BadInput(f"{text!r} never comes: no such month has such a day")
    return schedule


def _field(
    text: str, name: str, least: int, most: int, names: tuple[str, ...] = (), names_from: int = 0
) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, name, 1, most, (), 0) if slash else 1
        if span == "*":
            first, last = least, most
        else:
            low, dash, high = span.partition("-")
            first = _number(low, name, least, most, names, names_from)
            last = _number(high, name, least, most, names, names_from) if dash else most if slash else first
        if last < first:
            raise BadInput(f"{span!r} is no {name}: a range goes up")
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, name: str, least: int, most: int, names: tuple[str, ...], names_from: int) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + names_from
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and least <= int(text) <= most):
        raise BadInput(f"{text!r} is no {name}: it is a number from {least} to {most}")
    return int(text)
