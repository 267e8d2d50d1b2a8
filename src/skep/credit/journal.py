"""The meter's journal: what was used, written down where the bytes flow, until it is in the ledger.

One file for each life of the process, described in docs/formats/meter-journal.md: a head that says at which position it
begins, and records of 45 bytes. A record is one ``write``: what a killed process wrote is there. How far a journal was
posted is a row of the database that is changed by the very transaction that posts, so that each record counts once,
whatever happens in between. A record that is cut or damaged ends its file: nothing came after it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from skep.base.ids import Id, new_id

_BODY = struct.Struct("<16sIBqqI")
_CHECK = struct.Struct("<I")
_HEAD = struct.Struct("<8sQ")
_MAGIC = b"SKEPMTR\x01"
RECORD_BYTES = _BODY.size + _CHECK.size
SUFFIX = ".meter"
RESTART_BYTES = 16 << 20
"""A file that is this long and posted is begun anew."""


class Used(NamedTuple):
    """One transfer: whose, in which month (202611), whether out, how many bytes, and their cost."""

    account_id: Id
    month: int
    is_out: bool
    size_bytes: int
    cost: int


class Journal:
    """The journal of this life of the process. Appending is one write to the page cache, from the event loop."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.id = new_id()
        self.path = directory / f"{self.id.hex()}{SUFFIX}"
        self.position = self._start = 0
        self._fd = -1
        self._begin()

    def _begin(self) -> None:
        """A new file that begins where the journal is, in one step in place of the old one."""
        new = self.path.with_suffix(".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, _HEAD.pack(_MAGIC, self.position))
        new.replace(self.path)
        self.close()
        self._fd, self._start = fd, self.position

    def restart_if_long(self, posted: int) -> None:
        """Begin the file anew when it is long and all of it was posted."""
        if posted == self.position and self.position - self._start >= RESTART_BYTES:
            self._begin()

    def append(self, used: Used) -> None:
        """Write a record down. Raises OSError (a full disk), and then nothing of it counts."""
        record = encode(used, self.position // RECORD_BYTES)
        written = os.write(self._fd, record)
        if written != len(record):
            os.ftruncate(self._fd, _HEAD.size + self.position - self._start)
            raise OSError(f"the meter's journal {self.path} takes no more: its disk is full")
        self.position += written

    def sync(self) -> None:
        """Bring what was written to the disk; from a thread."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Write no more; the file stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def encode(used: Used, number: int) -> bytes:
    """The bytes of a record."""
    body = _BODY.pack(used.account_id, used.month, used.is_out, used.size_bytes, used.cost, number & 0xFFFFFFFF)
    return body + _CHECK.pack(zlib.crc32(body))


def records(path: Path, position: int, limit: int) -> tuple[list[Used], int]:
    """So many records of a file from a position on, and the position after the last; fewer: there are no more."""
    found: list[Used] = []
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        magic, start = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0)
        if magic != _MAGIC:  # killed before it had one
            return [], position
        position = max(position, start)
        file.seek(_HEAD.size + position - start)
        raw = file.read(limit * RECORD_BYTES)
    for at in range(0, len(raw) - RECORD_BYTES + 1, RECORD_BYTES):
        body = raw[at : at + _BODY.size]
        account_id, month, is_out, size_bytes, cost, number = _BODY.unpack(body)
        expected = ((position + at) // RECORD_BYTES) & 0xFFFFFFFF
        if _CHECK.unpack_from(raw, at + _BODY.size)[0] != zlib.crc32(body) or number != expected:
            break
        found.append(Used(account_id, month, bool(is_out), size_bytes, cost))
    return found, position + len(found) * RECORD_BYTES


def of_earlier_lives(directory: Path, own: Id) -> Iterator[tuple[Id, Path]]:
    """The journals that other lives of the process left, the oldest first."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            journal_id = bytes.fromhex(path.name.removesuffix(SUFFIX))
        except ValueError:
            continue
        if journal_id != own and len(journal_id) == 16:
            yield journal_id, path
