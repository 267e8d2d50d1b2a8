"""What the check of the file metadata finds."""

from __future__ import annotations

from dataclasses import dataclass

from skep.base.ids import Id


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold."""

    check: str
    """size | changed | used-bytes | orphan | unreachable | name | version | trash | journal | share | upload."""
    space_id: Id | None
    node_id: Id | None
    message: str
    repairable: bool = False
    """Whether ``repair`` puts it right."""


Page = tuple[list[Finding], Id | None]
"""What one bounded look found, and where the next begins; None: nowhere."""
