"""Ids as the text that JSON has them in."""

from __future__ import annotations

from functools import lru_cache

from skep.base.ids import Id


def text_of(value: Id) -> str:
    """The canonical text of an id, made fast: listings have tens of thousands."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


shared_text = lru_cache(1024)(text_of)
"""For ids that many rows of one answer share."""


def text_or_none(value: Id | None) -> str | None:
    """The same, passing None on."""
    return None if value is None else shared_text(value)
