"""What an errno means: the one table from the operating system's errors to ours."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from skep.base.errors import SkepError, StoreFull, StoreReadOnly, StoreUnavailable

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def store_error(error: OSError, root: str, doing: str, *, writing: bool) -> SkepError:
    """Our error for one of the system's; ``doing`` completes "while ..."."""
    reason = error.strerror or str(error)
    if writing and error.errno in _FULL:
        return StoreFull(f"the disk of {root} is full ({reason}) while {doing}: free some room or add a store")
    if writing and error.errno in _READ_ONLY:
        return StoreReadOnly(f"{root} takes no writes ({reason}) while {doing}: check its mount and its owner")
    return StoreUnavailable(f"{root} failed ({reason}) while {doing}: check that its disk is there and healthy")


@contextmanager
def translated(root: str, doing: str, *, writing: bool) -> Iterator[None]:
    """Raise our errors in place of OSError."""
    try:
        yield
    except OSError as error:
        raise store_error(error, root, doing, writing=writing) from error
