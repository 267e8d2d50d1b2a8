"""What commands print: a value as JSON or as text for people; never escape codes out of file names."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from skep.base.sizes import format_size


@dataclass(frozen=True, slots=True)
class Output:
    """Where and how a command prints; handed to every command."""

    as_json: bool = False
    quiet: bool = False

    def value(self, value: Any, human: Callable[[], str] | str = "") -> None:
        """Print a result at once: the value itself with --json, else the text for people (if any)."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")), flush=True)
            return
        text = human if isinstance(human, str) else human()
        if text:
            print(text, flush=True)  # `skep serve` goes on for long, and who started it reads a pipe

    def note(self, text: str) -> None:
        """Tell people something in passing, on standard error."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def step(self, text: str) -> None:
        """One line of progress of a command that works in steps; not part of a JSON result."""
        if not self.quiet and not self.as_json:
            print(text, flush=True)


def shown(text: str) -> str:
    """A name as it is safe to show: control and format characters as escapes, so that none moves the cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def human_size(size_bytes: int | None) -> str:
    """``1.5 MB``; ``-`` for what is not known."""
    return "-" if size_bytes is None else format_size(size_bytes)


def human_time(time_us: int | None) -> str:
    """Local time to the minute; ``-`` for what is not known."""
    if time_us is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_us / 1e6))


def human_duration(seconds: float | None) -> str:
    """``85 ms``, ``4.2 s``, ``3 min``, ``5 h``, ``12 d``; ``-`` for what is not known."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    for limit, divisor, unit in ((7170, 60, "min"), (172_000, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> str:
    """Aligned columns under their heads; those named in ``right`` end at one line. No rows: an empty text."""
    body = [list(row) for row in rows]
    if not body:
        return ""
    lines = [[head.upper() for head in heads], *body] if any(heads) else body
    widths = [max(width(line[i]) for line in lines) for i in range(len(heads))]
    rightward = [head in set(right) for head in heads]
    return "\n".join(_line(line, widths, rightward) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], rightward: Sequence[bool]) -> str:
    padded = []
    for cell, column, right in zip(cells, widths, rightward, strict=True):
        space = " " * (column - width(cell))
        padded.append(space + cell if right else cell + space)
    return "  ".join(padded).rstrip()
