"""Opening a file only if no disk has to be asked for the way to it: openat2(2) with RESOLVE_CACHED, Linux 5.12.

Python has no call for it, hence ctypes. Where the system has none, nothing is ever opened this way.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import cast

_SYS_OPENAT2 = 437  # the same on every architecture
_RESOLVE_BENEATH, _RESOLVE_CACHED = 0x08, 0x20
_HOW = struct.pack("<QQQ", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _RESOLVE_BENEATH | _RESOLVE_CACHED)


def open_cached(name: str, directory: int) -> int:
    """A descriptor of a file below an open directory for reading; -1: it is not known, or has to be looked up first."""
    return -1 if _openat2 is None else _openat2(_SYS_OPENAT2, directory, name.encode(), _HOW, len(_HOW))


def _find() -> Callable[..., int] | None:
    """The call, if the kernel knows it and nothing around this process forbids it: the root is always known."""
    if sys.platform != "linux" or sys.byteorder != "little":
        return None
    # PyDLL keeps the interpreter's lock: the call does not sleep, and giving the lock up costs more than it takes.
    call = ctypes.PyDLL(None).syscall
    call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    call.restype = ctypes.c_long
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = int(call(_SYS_OPENAT2, root, b".", _HOW, len(_HOW)))
    finally:
        os.close(root)
    if fd < 0:
        return None
    os.close(fd)
    return cast("Callable[..., int]", call)


_openat2 = _find()
