"""What a measurement gives: figures with their targets, and the table that people read."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HEADS = ("what", "measured", "target", "verdict", "how it came about")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. ``at_least`` or ``at_most`` is the issue's target for it, if it has one."""

    name: str
    value: float
    unit: str = ""
    detail: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    def cells(self, *, judged: bool) -> tuple[str, ...]:
        """The figure as a row of the table; ``judged``: with a verdict."""
        target = ""
        if self.at_least is not None:
            target = f">= {shown(self.at_least, self.unit)}"
        elif self.at_most is not None:
            target = f"<= {shown(self.at_most, self.unit)}"
        return (self.name, shown(self.value, self.unit), target, self._verdict() if judged else "", self.detail)

    def _verdict(self) -> str:
        if self.met is None:
            return ""
        if self.met:
            return "PASS"
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        if not limit or not self.value:
            return "short"
        missed = limit / self.value if self.at_least is not None else self.value / limit
        return f"short {missed:.2f}x"


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure that this machine cannot give, and why."""

    name: str
    why: str

    def cells(self, *, judged: bool) -> tuple[str, ...]:
        """The row of the table."""
        return (self.name, "-", "", "not measured" if judged else "", self.why)


Row = Figure | Missing


def shown(value: float, unit: str) -> str:
    """Three significant digits, and the unit."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}{unit if unit in ('', 'x') else ' ' + unit}"


def table(rows: Iterable[Row], *, judged: bool = True) -> list[str]:
    """The rows as a table in Markdown, which is also one on a terminal."""
    cells = [HEADS, *(row.cells(judged=judged) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADS))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def median(values: Sequence[float]) -> float:
    """The median: one slow run on a shared machine does not count."""
    return statistics.median(values)


def alternated(rounds: int, runs: Sequence[Callable[[int], None]]) -> None:
    """Do every run once per round, each round beginning with another one, so that none has the better place."""
    for number in range(rounds):
        first = number % max(1, len(runs))
        for run in (*runs[first:], *runs[:first]):
            run(number)
