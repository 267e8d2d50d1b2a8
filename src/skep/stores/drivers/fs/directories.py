"""Directories of the object tree, open and known to be durable.

A file's name survives a power loss only if its directory was synced, and that directory's own name only if its parent
was. A directory that is already there may be one whose maker died before syncing, so the first use of each in this
process syncs its parent; later uses know.
"""

from __future__ import annotations

from skep.stores.drivers.fs.calls import Calls
from skep.stores.drivers.fs.opened import Opened, OpenedSet

_DURABLE_MAX = 100_000


class Directories:
    """The directories below ``objects``; descriptors are borrowed and released."""

    def __init__(self, calls: Calls, objects_fd: int, limit: int) -> None:
        self._calls = calls
        self._objects_fd = objects_fd
        self._set = OpenedSet(limit, calls.close)
        self._durable: set[str] = set()
        """Names that a sync of their parent has covered; at most ``_DURABLE_MAX``."""

    def borrow(self, segments: tuple[str, ...], *, create: bool) -> Opened:
        """Open a directory, with its parents; with ``create`` missing ones are made and all are durable.

        Raises OSError: FileNotFoundError when it is missing and not to be made.
        """
        name = "/".join(segments)
        if not create or name in self._durable:
            opened = self._set.take(name)
            if opened is not None:
                return opened
        drops = self._set.drops
        if len(segments) == 1:
            return self._set.add(name, self._open(name, segments[0], self._objects_fd, create), drops)
        parent = self.borrow(segments[:-1], create=create)
        try:
            return self._set.add(name, self._open(name, segments[-1], parent.fd, create), drops)
        finally:
            self._set.release(parent)

    def _open(self, name: str, last: str, parent_fd: int, create: bool) -> int:
        if not create:
            return self._calls.open_directory(last, parent_fd)
        try:
            fd = self._calls.open_directory(last, parent_fd)
        except FileNotFoundError:
            self._durable.discard(name)
            fd = self._make(last, parent_fd)
        if name not in self._durable:
            try:
                self._calls.sync_directory(parent_fd)
            except BaseException:
                self._calls.close(fd)
                raise
            if len(self._durable) >= _DURABLE_MAX:
                self._durable.clear()
            self._durable.add(name)
        return fd

    def _make(self, last: str, parent_fd: int) -> int:
        try:
            self._calls.make_directory(last, parent_fd)
        except FileExistsError:
            pass
        return self._calls.open_directory(last, parent_fd)

    def release(self, opened: Opened) -> None:
        """The borrower uses it no more."""
        self._set.release(opened)

    def forget(self) -> None:
        """Someone removed a directory under us: open all anew, and make what is missing."""
        self._durable.clear()
        self._set.drop_all()
