"""Spans of time as people write them: ``30s``, ``1.5 h``, ``1h30m``, ``14 days``."""

from __future__ import annotations

import re

from skep.base.errors import InvalidSetting

_UNIT_S = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
    "w": 604800.0,
    "week": 604800.0,
    "weeks": 604800.0,
}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")
_SHOWN = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def parse_duration(text: str) -> float:
    """Seconds that ``text`` says: a plain number is seconds, else numbers with units, largest first or not.

    Raises InvalidSetting when it is no duration.
    """
    try:
        plain = float(text)
    except ValueError:
        return _parse_parts(text)
    if plain < 0 or plain != plain or plain == float("inf"):
        raise _not_a_duration(text)
    return plain


def _parse_parts(text: str) -> float:
    total_s, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2].lower() not in _UNIT_S:
            raise _not_a_duration(text)
        total_s += float(part[1]) * _UNIT_S[part[2].lower()]
        at = part.end()
    if not text.strip():
        raise _not_a_duration(text)
    return total_s


def _not_a_duration(text: str) -> InvalidSetting:
    return InvalidSetting(f"{text!r} is not a duration: write it like 30s, 15min, 24h, 1h30m or 14d")


def duration_text(seconds: float) -> str:
    """A duration in the shortest exact form that ``parse_duration`` reads back: ``1d12h``, ``250ms``."""
    milliseconds = round(seconds * 1000)
    whole, rest = divmod(milliseconds, 1000)
    parts = []
    for unit, size_s in _SHOWN:
        count, whole = divmod(whole, size_s)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        parts.append(f"{rest}ms")
    return "".join(parts) or "0s"
