"""A directory of small files that never takes more than its limit, whatever happens to it. All calls block.

    disk = CacheDisk(Path("data/cache"), limit_bytes=1 << 30); disk.load()
    disk.write("ab…f0.3.17", block)        # False when there was no room for it
    disk.read("ab…f0.3.17")                # None when it is not there (any more)

What always holds, also across restarts and crashes:
- the files together take at most ``limit_bytes`` of disk: room is made before a file is written, files are counted by
  the pages that they take, and what is found at the start is cut down to the limit before anything is written;
- a name appears only with a file that was written to its end by this process; nothing is synced, so after a loss of
  power a file may be short or wrong: whoever reads must verify, and drop what is not right;
- no failure of the disk is raised: what cannot be read is not there, what cannot be written is not kept.

Names are those that ``block_name`` makes. Whatever else lies in the directory is left alone, except what begins with
``temp-``, which is what a crash left of a file that was being written.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from skep.base.clock import Clock
from skep.base.logs import get_logger
from skep.durability.cache.order import SegmentedOrder

PAGE_BYTES: Final = 4096
"""Files take whole pages of a disk."""
REST_S: Final = 60.0
"""How long nothing is written after the disk has refused."""
FILES_MAX: Final = 4_000_000
"""More files than this are not remembered: small ones are not kept then."""
_TEMP = "temp-"
_NAME = re.compile(r"[0-9a-f]{64}\.[0-9]{1,2}\.[0-9]{1,9}")
_log = get_logger("skep.cache")


def block_name(pack_id: bytes, number: int, block: int) -> str:
    """The name of a block of a shard."""
    return f"{pack_id.hex()}.{number}.{block}"


def footprint_bytes(size_bytes: int) -> int:
    """What a file of so many bytes takes of the disk."""
    return max(1, -(-size_bytes // PAGE_BYTES)) * PAGE_BYTES


class CacheDisk:
    """The files of a cache. Safe for several threads; one process at a time: the data directory's lock."""

    def __init__(self, directory: Path, limit_bytes: int, clock: Clock, *, reserve_bytes: int = 0) -> None:
        """``reserve_bytes``: what is left free on the disk for others."""
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._order = SegmentedOrder(limit_bytes)
        self._writing: dict[str, int] = {}
        """What files take that are being written: they count, and cannot be given up before they are there."""
        self._loaded = False
        self._rest_until_s = float("-inf")
        self._numbers = 0
        self.evicted_blocks = 0
        self.refused_writes = 0
        """Blocks that the disk did not take."""

    @property
    def used_bytes(self) -> int:
        """What the files take."""
        return self._order.used_bytes + sum(self._writing.values())

    @property
    def limit_bytes(self) -> int:
        """What they may take."""
        return self._limit_bytes

    def __len__(self) -> int:
        return len(self._order)

    def has(self, name: str) -> bool:
        """Whether a block was there when somebody last looked. Quick: no call of the disk."""
        return name in self._order

    def load(self) -> None:
        """Find what is there, the longest unused first, and cut it down to the limit. Nothing is kept before this."""
        found = sorted(self._found())
        with self._lock:
            for _, name, size_bytes in found:
                self._order.add(name, footprint_bytes(size_bytes))
            self._loaded = self._make_room(0)

    def _found(self) -> Iterator[tuple[int, str, int]]:
        """Time of use, name and size of each block; removes what a crash left half written."""
        for folder in _entries(self._directory):
            if not (len(folder.name) == 2 and _is_directory(folder)):
                continue
            for entry in _entries(folder):
                try:
                    if entry.name.startswith(_TEMP):
                        os.unlink(entry)
                    elif _NAME.fullmatch(entry.name):
                        facts = entry.stat(follow_symlinks=False)
                        yield facts.st_mtime_ns, entry.name, facts.st_size
                except OSError:
                    continue

    def read(self, name: str) -> bytes | None:
        """A block, whole as it was found; None when it is not there."""
        with self._lock:
            if name not in self._order:
                return None
            self._order.touch(name)
        try:
            return self._path(name).read_bytes()
        except OSError:
            self.drop(name)
            return None

    def write(self, name: str, value: bytes | memoryview) -> bool:
        """Keep a block, if there is room for it and the disk takes it. Whether it did."""
        need_bytes = footprint_bytes(len(value))
        with self._lock:
            if not self._loaded or self._clock.monotonic_s() < self._rest_until_s:
                return False
            if name in self._order or name in self._writing:
                return False
            if len(self._order) >= FILES_MAX or not self._make_room(need_bytes):
                return False
            self._writing[name] = need_bytes
            self._numbers += 1
            number = self._numbers
        try:
            self._write(name, value, number)
        except OSError as error:
            self._refused(name, error)
            return False
        with self._lock:
            self._order.add(name, self._writing.pop(name))
        return True

    def _write(self, name: str, value: bytes | memoryview, number: int) -> None:
        path = self._path(name)
        temp = path.with_name(f"{_TEMP}{number}")
        if self._reserve_bytes:
            room = os.statvfs(self._directory if self._directory.exists() else self._directory.parent)
            if room.f_bavail * room.f_frsize < self._reserve_bytes + len(value):
                raise OSError(f"the disk has less than {self._reserve_bytes} bytes left")
        try:
            handle = self._create(temp)
            try:
                written = os.write(handle, value)
            finally:
                os.close(handle)
            if written != len(value):
                raise OSError("the disk took only a part")
            temp.rename(path)
        except OSError:
            temp.unlink(missing_ok=True)
            raise

    def _create(self, temp: Path) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(temp, flags, 0o600)
        except FileNotFoundError:
            temp.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(temp, flags, 0o600)

    def _refused(self, name: str, error: OSError) -> None:
        """The disk is full or broken: leave it alone for a while."""
        with self._lock:
            del self._writing[name]
            self.refused_writes += 1
            self._rest_until_s = self._clock.monotonic_s() + REST_S
        _log.warning("the read cache cannot be written", error=str(error), rest_s=REST_S)

    def drop(self, name: str) -> None:
        """Remove a block: it is gone, or not what it should be."""
        with self._lock:
            self._unlink(name)

    def drop_all(self, names: Iterable[str]) -> None:
        """Remove several blocks."""
        for name in names:
            self.drop(name)

    def _make_room(self, need_bytes: int) -> bool:
        """Give up blocks until so many bytes fit. Whether they do. The lock is held."""
        if need_bytes > self._limit_bytes:
            return False
        while self.used_bytes + need_bytes > self._limit_bytes:
            name = self._order.first()
            if name is None or not self._unlink(name):
                return False
            self.evicted_blocks += 1
        return True

    def _unlink(self, name: str) -> bool:
        """Remove a file and forget it; one that cannot be removed still counts. The lock is held."""
        try:
            self._path(name).unlink(missing_ok=True)
        except NotADirectoryError:
            pass  # gone with its directory
        except OSError as error:
            self._rest_until_s = self._clock.monotonic_s() + REST_S
            _log.warning("a file of the read cache cannot be removed", name=name, error=str(error))
            return False
        self._order.remove(name)
        return True

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name


def _entries(directory: Path | os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except OSError:
        return


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
