"""A job's output as it is kept: lines with their time and stream, in files that are turned over."""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO

from .processes import now_us

FILE_MAX_BYTES = 8 << 20
FILES_KEPT = 3
LINE_MAX_BYTES = 16 << 10


class Log:
    """A job's output as lines with their times, in files that are turned over."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file: BinaryIO = open(path, "ab", buffering=0)
        self.rest = {"o": b"", "e": b""}

    def take(self, stream: str, piece: bytes) -> None:
        """Write the whole lines of what came, and keep the rest."""
        *lines, rest = (self.rest[stream] + piece).split(b"\n")
        while len(rest) > LINE_MAX_BYTES:
            lines.append(rest[:LINE_MAX_BYTES])
            rest = rest[LINE_MAX_BYTES:]
        self.rest[stream] = rest
        self._write(stream, lines)

    def flush(self) -> None:
        """Write lines that did not end."""
        for stream, rest in self.rest.items():
            if rest:
                self._write(stream, [rest])
                self.rest[stream] = b""

    def _write(self, stream: str, lines: list[bytes]) -> None:
        head = f"{now_us()} {stream} ".encode()
        cut = [line[at : at + LINE_MAX_BYTES] for line in lines for at in range(0, max(1, len(line)), LINE_MAX_BYTES)]
        with contextlib.suppress(OSError):  # a full disk loses lines, not jobs
            self.file.write(b"".join(head + line + b"\n" for line in cut))
            if self.file.tell() > FILE_MAX_BYTES:
                self.turn_over()

    def turn_over(self) -> None:
        """Begin a new file; the oldest goes."""
        for number in range(FILES_KEPT - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.replace(self.path, f"{self.path}.1")
        self.file.close()
        self.file = open(self.path, "ab", buffering=0)
