"""Byte counts as people write them: ``4.5GB``, ``512 MiB``, ``1000``. Multiples are of 1024.

>>> parse_size("4.5GB")
4831838208
>>> format_size(4831838208)
'4.5 GB'
"""

from __future__ import annotations

import re
from decimal import Decimal

from skep.base.errors import InvalidSize

_FORM = re.compile(r"(\d{1,20})(?:\.(\d{1,9}))?\s*(?:([kmgtpe])(?:i?b)?|b)?", re.ASCII | re.IGNORECASE)
_UNITS = "kmgtpe"
_SIZE_MAX_BYTES = (1 << 63) - 1


def parse_size(text: str) -> int:
    """Read a byte count: digits, an optional fraction, an optional unit (B, KB, MB, GB, TB, PB, EB).

    ``K``, ``KB`` and ``KiB`` all mean 1024 bytes; case and one run of spaces before the unit do not matter.

    Raises InvalidSize for anything else, for a fraction of a byte and for more than 2^63 - 1 bytes.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise InvalidSize(f"{text[:64]!r} is not a size: write bytes, or a number with KB, MB, GB or TB, such as 4.5GB")
    whole, fraction, unit = match.groups()
    scale = 1 << (10 * (_UNITS.index(unit.lower()) + 1)) if unit else 1
    exact = Decimal(f"{whole}.{fraction or 0}") * scale
    if unit is None and fraction is not None:
        raise InvalidSize(f"{text[:64]!r} is not a size: a byte cannot be split, add a unit such as MB")
    if exact > _SIZE_MAX_BYTES:
        raise InvalidSize(f"{text[:64]!r} is too large a size: the most is 8 EB less one byte")
    return int(exact)


def format_size(size_bytes: int) -> str:
    """The shortest form that keeps three digits: ``0 B``, ``999 B``, ``1.5 KB``, ``20 MB``, ``4.5 GB``."""
    if size_bytes < 0:
        return "-" + format_size(-size_bytes)
    if size_bytes < 1024:
        return f"{size_bytes} B"
    value, unit = float(size_bytes), ""
    for unit in _UNITS:  # noqa: B007 - the unit reached is used below
        value /= 1024
        if value < 999.5:
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    number = f"{value:.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if digits else number} {unit.upper()}B"
