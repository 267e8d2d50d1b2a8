"""The system calls of this driver, in one place, so that tests can fail or record each of them.

Descriptors are close-on-exec (Python opens them so). ``directory`` arguments are open descriptors of directories.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence

from skep.stores.drivers.fs.cached_open import open_cached
from skep.stores.protocol import Buffer

IOV_MAX = 1024
_PROC_FD = "/proc/self/fd"


class Calls:
    """Thin over ``os``: each method is one system call."""

    def open_directory(self, name: str, parent: int | None = None) -> int:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=parent)

    def make_directory(self, name: str, parent: int) -> None:
        os.mkdir(name, 0o700, dir_fd=parent)

    def open_file(self, name: str, directory: int) -> int:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)

    def open_ready(self, name: str, directory: int) -> int | None:
        """``open_file`` if that needs no look at the disk, else None; never waits for one."""
        fd = open_cached(name, directory)
        return None if fd < 0 else fd

    def open_unnamed(self, directory: int) -> int:
        """A file that has no name yet and vanishes unless it gets one."""
        return os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o600, dir_fd=directory)

    def create_file(self, name: str, directory: int) -> int:
        return os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=directory)

    def write(self, fd: int, parts: Sequence[Buffer]) -> int:
        return os.writev(fd, parts)

    def set_direct(self, fd: int, on: bool) -> None:
        """Let writes pass the page cache by, or not."""
        direct = getattr(os, "O_DIRECT", None)
        if direct is None:
            raise OSError(errno.EOPNOTSUPP, "there is no O_DIRECT here")
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | direct if on else flags & ~direct)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def rewind(self, fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, length, offset)

    def read_ready(self, fd: int, length: int, offset: int) -> bytearray | None:
        """All ``length`` bytes if they are in memory already, else None; never waits for the disk."""
        buffer = bytearray(length)
        try:
            got = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError:  # not in memory, or a filesystem that cannot tell
            return None
        return buffer if got == length else None

    def fill_ready(self, fd: int, views: Sequence[memoryview], offset: int) -> int:
        """How many bytes were read into the views; only those that are in memory already, never waits for the disk."""
        try:
            return os.preadv(fd, views, offset, os.RWF_NOWAIT)
        except OSError:
            return 0

    def sync_data(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, fd: int) -> None:
        os.fsync(fd)

    def name_unnamed(self, fd: int, name: str, directory: int) -> None:
        # With dir_fd Python calls linkat(AT_SYMLINK_FOLLOW), which open(2) gives for naming an O_TMPFILE.
        os.link(f"{_PROC_FD}/{fd}", name, dst_dir_fd=directory)

    def rename(self, name: str, directory: int, new_name: str, new_directory: int) -> None:
        os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=new_directory)

    def unlink(self, name: str, directory: int) -> None:
        os.unlink(name, dir_fd=directory)

    def close(self, fd: int) -> None:
        """What close reports comes too late to matter: values were synced before, and the descriptor is gone."""
        try:
            os.close(fd)
        except OSError:
            pass


def write_all(calls: Calls, fd: int, parts: Sequence[Buffer]) -> None:
    """Write every byte of ``parts`` at the file's position, however short the single writes are."""
    rest = [view for part in parts if (view := memoryview(part).cast("B")).nbytes]
    while rest:
        written = calls.write(fd, rest[:IOV_MAX])
        if written <= 0:
            raise OSError(5, "a write made no progress")
        rest = _after(rest, written)


def _after(views: list[memoryview], written: int) -> list[memoryview]:
    for index, view in enumerate(views):
        if written < view.nbytes:
            return [view[written:], *views[index + 1 :]]
        written -= view.nbytes
    return []
