"""What the check of the file metadata finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skep.base.ids import Id
from skep.db import Transaction


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold."""

    check: str
    """What was looked at.

    size | changed | used-bytes | orphan | unreachable | name | version | trash | journal | share | upload | lock |
    property | facts | bucket | tag.
    """
    space_id: Id | None
    node_id: Id | None
    message: str
    repairable: bool = False
    """Whether ``repair`` puts it right by counting sizes anew."""
    mend: Callable[[Transaction], None] | None = None
    """What else ``repair`` does to put it right."""


Page = tuple[list[Finding], Id | None]
"""What one bounded look found, and where the next begins; None: nowhere."""
