"""How large and how often: what all measurements are given."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """``directory``: on the disk that is measured; all sizes in bytes."""

    directory: Path
    rounds: int
    file_bytes: int
    pipeline_bytes: int
    parallel_bytes: int
    """Of each of the uploads that run at once."""
    small_files: int
    growth_nodes: tuple[int, int]
    growth_calls: int
    starts: int

    @contextmanager
    def room(self) -> Iterator[Path]:
        """A new directory, which goes away with all in it."""
        place = Path(tempfile.mkdtemp(prefix="skep-bench-", dir=self.directory))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def plan(directory: Path, *, quick: bool = False, full: bool = False, file_bytes: int | None = None) -> Plan:
    """The sizes for a smoke test, for every day, or as the issue says them."""
    if quick:
        size = file_bytes or 24 * MIB
        return Plan(directory, 1, size, size, size // 4, 300, (300, 1_500), 10, 1)
    size = file_bytes or (4 * GIB if full else GIB)
    nodes = (10_000, 1_000_000 if full else 200_000)
    return Plan(directory, 3, size, GIB, size if full else size // 2, 10_000, nodes, 300, 5)
