"""The byte counts that this door takes: whole numbers, or their digits as text."""

from __future__ import annotations

from skep.base.errors import InvalidSize
from skep.credit.records import amount_of

_DIGITS_MAX = 19


def byte_count(value: object) -> int:
    """A byte count of a JSON body, more than 0. Raises InvalidSize for anything else: negative, fractional, huge."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= _DIGITS_MAX):
            raise InvalidSize("this is no byte count: give a whole number")
        return amount_of(int(value))
    return amount_of(value)
