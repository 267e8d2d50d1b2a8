"""The root directory of a store, found and opened: what the calls of a store work on."""

from __future__ import annotations

import fcntl
import os
import re
import weakref
from pathlib import Path

from skep.base.errors import StoreUnavailable
from skep.base.ids import new_id
from skep.stores.drivers.fs.calls import Calls
from skep.stores.drivers.fs.config import FsConfig
from skep.stores.drivers.fs.direct import DirectWriter
from skep.stores.drivers.fs.directories import Directories
from skep.stores.drivers.fs.opened import OpenedSet
from skep.stores.identity import StoreIdentity
from skep.stores.marker import MARKER_NAME, MARKER_SIZE_MAX_BYTES, decode_marker

OBJECTS_NAME = "objects"
TEMP_NAME = "temp"
_TEMP_FORM = re.compile(r"put-[0-9a-f]{32}")


class Place:
    """Open descriptors of one attached root. They close with ``close`` or when the last call has let go of it."""

    def __init__(self, config: FsConfig, calls: Calls, root_fd: int, objects_fd: int, temp_fd: int) -> None:
        self.calls = calls
        self.path = config.root
        self.root_fd, self.objects_fd, self.temp_fd = root_fd, objects_fd, temp_fd
        self.direct = DirectWriter()
        self.files = OpenedSet(config.open_files, calls.close)
        self.directories = Directories(calls, objects_fd, config.open_directories)
        self._close = weakref.finalize(self, _close_all, calls, (root_fd, objects_fd, temp_fd))
        self.names_unnamed = _sweep_and_probe(calls, temp_fd)

    def is_where_it_was(self) -> bool:
        """Whether the path still leads to the directory that was opened (it is not unmounted, replaced or removed)."""
        try:
            now, opened = os.stat(self.path), os.fstat(self.root_fd)
            os.stat(self.path / OBJECTS_NAME)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino)

    def identity(self) -> StoreIdentity | None:
        """The marker's content. Raises CorruptRecord, OSError."""
        return read_identity(self.calls, self.root_fd)

    def let_go(self) -> None:
        """Close what nobody uses now."""
        self.files.drop_all()
        self.directories.forget()

    def close(self) -> None:
        """Close everything now: no call uses the place any more."""
        self.let_go()
        self._close()


def attach(config: FsConfig, calls: Calls, *, create: bool) -> Place | None:
    """Open a store's directories; with ``create`` make them, otherwise None says that nothing was ever put here.

    Raises StoreUnavailable when the root is missing (and not to be made), OSError.
    """
    opened: list[int] = []
    try:
        opened.append(_open_root(config.root, calls, create))
        for name in (OBJECTS_NAME, TEMP_NAME):
            try:
                opened.append(_open_part(name, opened[0], calls, create))
            except FileNotFoundError:
                _close_all(calls, opened)
                return None
    except BaseException:
        _close_all(calls, opened)
        raise
    return Place(config, calls, *opened)


def read_identity(calls: Calls, root_fd: int) -> StoreIdentity | None:
    """The marker's content, None without a marker. Raises CorruptRecord, OSError."""
    try:
        fd = calls.open_file(MARKER_NAME, root_fd)
    except FileNotFoundError:
        return None
    try:
        return decode_marker(calls.read(fd, MARKER_SIZE_MAX_BYTES, 0))
    finally:
        calls.close(fd)


def new_temp_name() -> str:
    """A name in ``temp`` that the sweep knows and nobody else has."""
    return f"put-{new_id().hex()}"


def _open_root(root: Path, calls: Calls, create: bool) -> int:
    if create:
        _make_root(root, calls)
    try:
        return calls.open_directory(str(root))
    except (FileNotFoundError, NotADirectoryError):
        raise StoreUnavailable(f"there is no directory {root}: mount its disk, or make it") from None


def _make_root(root: Path, calls: Calls) -> None:
    """Make the root and its parents where missing, each name synced in its parent."""
    if root.is_dir():
        return
    _make_root(root.parent, calls)
    parent_fd = calls.open_directory(str(root.parent))
    try:
        _make_synced(root.name, parent_fd, calls)
    finally:
        calls.close(parent_fd)


def _make_synced(name: str, parent_fd: int, calls: Calls) -> None:
    try:
        calls.make_directory(name, parent_fd)
    except FileExistsError:
        pass
    calls.sync_directory(parent_fd)


def _open_part(name: str, root_fd: int, calls: Calls, create: bool) -> int:
    if create:
        _make_synced(name, root_fd, calls)
    return calls.open_directory(name, root_fd)


def _sweep_and_probe(calls: Calls, temp_fd: int) -> bool:
    """Remove what killed puts left, unless another process has this store open; say whether unnamed files work here.

    Who has a store open holds a shared lock on its ``temp``; only who gets it alone may sweep.
    """
    try:
        fcntl.flock(temp_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in os.listdir(temp_fd):
            if _TEMP_FORM.fullmatch(name):
                os.unlink(name, dir_fd=temp_fd)
    except OSError:
        pass  # someone else is alive here, or it is read-only: what is left over does no harm
    try:
        fcntl.flock(temp_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        pass  # a filesystem without locks
    return _unnamed_files_work(calls, temp_fd)


def _unnamed_files_work(calls: Calls, temp_fd: int) -> bool:
    name = new_temp_name()
    try:
        fd = calls.open_unnamed(temp_fd)
    except OSError:
        return False
    try:
        calls.name_unnamed(fd, name, temp_fd)
        calls.unlink(name, temp_fd)
    except OSError:
        return False
    finally:
        calls.close(fd)
    return True


def _close_all(calls: Calls, fds: tuple[int, ...] | list[int]) -> None:
    for fd in fds:
        calls.close(fd)
