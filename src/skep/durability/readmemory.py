"""What long reads together may hold, shared by however many there are.

One reader may have several chunks under way and gives large parts; of many, each has a chunk and gives small parts.
A reader's client may take its time. So beyond the budget a reader keeps only a stretch of the chunk that it is giving,
and opens the chunk again for the next: that costs time and no memory. Half of the budget is left to those whose
clients are quick.

What always holds: ``held_bytes`` is the size of all that is open, or being opened, for reads; past the budget no reader
keeps more than STRETCH_BYTES while its client takes a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from skep.base.malloc import keep_freed

PART_BYTES_MAX = 1 << 20
PART_BYTES_MIN = 32 << 10
STRETCH_BYTES = 512 << 10
AHEAD_CHUNKS_MAX = 3
CROWD_READERS = 32
"""Readers at once from which freed chunks go back to the system; until there are half as many."""
CHUNKS_BYTES = 8 << 20
"""What chunks and their parts are smaller than."""
SMALL_BYTES = 512 << 10
SLOW_S = 0.05
"""A client that lets a part wait for longer is slow."""


class ReadMemory:
    """The budget. One event loop only."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held_bytes = 0
        self.readers = 0
        self._is_crowded = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a reader for the length of the block."""
        self.readers += 1
        if self.readers >= CROWD_READERS and not self._is_crowded:
            self._is_crowded = True
            keep_freed(blocks_bytes_max=SMALL_BYTES, bytes_max=CHUNKS_BYTES)
        try:
            yield
        finally:
            self.readers -= 1
            if self._is_crowded and self.readers <= CROWD_READERS // 2:
                self._is_crowded = False
                keep_freed(blocks_bytes_max=CHUNKS_BYTES, bytes_max=2 * CHUNKS_BYTES)

    @property
    def share_bytes(self) -> int:
        """What one reader may have under way."""
        return self.bytes_max // max(1, self.readers)

    @property
    def part_bytes(self) -> int:
        """How much a reader gives at once; what it has given lies in buffers until the client takes it."""
        return PART_BYTES_MIN if self._is_crowded else max(PART_BYTES_MIN, min(PART_BYTES_MAX, self.share_bytes // 8))

    def may_fetch(self, chunks: int, own_bytes: int) -> bool:
        """Whether a reader that has so many chunks of so many bytes may have a further one; one always."""
        return not chunks or (chunks < AHEAD_CHUNKS_MAX and own_bytes < min(self.share_bytes, self._free_bytes))

    @property
    def _free_bytes(self) -> int:
        return self.bytes_max - self.held_bytes

    def is_short(self, *, is_slow: bool) -> bool:
        """Whether a reader must not keep a whole chunk while its client takes a part of it."""
        return self.held_bytes > (self.bytes_max // 2 if is_slow else self.bytes_max)
