"""Directories of the object tree, open and known to be durable.

A file's name survives a power loss only if its directory was synced, and that directory's own name only if its parent
was. A directory that is already there may be one whose maker died before syncing, so the first use of each in this
process syncs its parent; later uses find it here.
"""

from __future__ import annotations

from skep.stores.drivers.fs.calls import Calls
from skep.stores.drivers.fs.opened import Opened, OpenedSet


class Directories:
    """The directories below ``objects``; descriptors are borrowed and released."""

    def __init__(self, calls: Calls, objects_fd: int, limit: int) -> None:
        self._calls = calls
        self._objects_fd = objects_fd
        self._set = OpenedSet(limit, calls.close)

    def borrow(self, segments: tuple[str, ...], *, create: bool) -> Opened:
        """Open a directory, with its parents; with ``create`` missing ones are made.

        Raises OSError: FileNotFoundError when it is missing and not to be made.
        """
        name = "/".join(segments)
        opened = self._set.take(name)
        if opened is not None:
            return opened
        drops = self._set.drops
        if len(segments) == 1:
            return self._set.add(name, self._open(segments[0], self._objects_fd, create), drops)
        parent = self.borrow(segments[:-1], create=create)
        try:
            return self._set.add(name, self._open(segments[-1], parent.fd, create), drops)
        finally:
            self._set.release(parent)

    def _open(self, name: str, parent_fd: int, create: bool) -> int:
        if create:
            try:
                self._calls.make_directory(name, parent_fd)
            except FileExistsError:
                pass
        fd = self._calls.open_directory(name, parent_fd)
        try:
            if create:
                self._calls.sync_directory(parent_fd)
        except BaseException:
            self._calls.close(fd)
            raise
        return fd

    def release(self, opened: Opened) -> None:
        self._set.release(opened)

    def forget(self) -> None:
        """Someone removed a directory under us: open all anew, and make what is missing."""
        self._set.drop_all()
