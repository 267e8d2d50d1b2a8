"""What an operation costs in bytes of credit: policy, which the operator chooses.

``none`` charges nothing. ``classic`` is what MetaDisk charged: four times the bytes of an upload, twice those of a
download, and those of a download that needed no store outside this machine once. ``custom`` takes the percents of the
settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Percent of the bytes that pass; 100 is one byte of credit for each. Parts of a byte of credit are rounded up."""

    in_percent: int = 0
    out_percent: int = 0
    near_percent: int = 0
    """Of what goes out and was at hand on this machine."""

    def __bool__(self) -> bool:
        return bool(self.in_percent or self.out_percent or self.near_percent)

    def of(self, direction: Direction, size_bytes: int, *, is_near: bool = False) -> int:
        """The bytes of credit that so many bytes cost."""
        percent = self.in_percent if direction == "in" else self.near_percent if is_near else self.out_percent
        return -(-size_bytes * percent // 100)


FREE = Costs()
CLASSIC = Costs(in_percent=400, out_percent=200, near_percent=100)
