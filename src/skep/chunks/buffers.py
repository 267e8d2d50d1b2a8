"""Big buffers that are used again: packs, parity and the splitter's windows.

Each buffer is an anonymous private mapping: the system gives its pages when they are first
written, so that a big buffer with little in it costs little.

What always holds: a buffer is handed out again only if nothing can look into it any more. The
pool asks the buffer itself (a mapping cannot be resized while a view of it exists); one that
is still looked at is left to the garbage collector. So a forgotten view, say of a write that
was cancelled and goes on in a thread, costs memory and never shows foreign bytes.

Reuse is worth some care: filling fresh memory was measured at 1.4 GB/s, used memory at 14.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
import threading

FREE_BYTES_MAX = 72 << 20
"""How many bytes of unused buffers a pool keeps: as many packs as are written at once, padding and all."""


class BufferPool:
    """A bounded stock of unused buffers. Safe for use by several threads."""

    def __init__(self, free_bytes_max: int = FREE_BYTES_MAX) -> None:
        self._free_bytes_max = free_bytes_max
        self._free: dict[int, list[mmap.mmap]] = {}
        self._free_bytes = 0
        self._lock = threading.Lock()

    @property
    def free_bytes(self) -> int:
        """The size of all buffers in stock."""
        return self._free_bytes

    def take(self, size_bytes: int) -> mmap.mmap:
        """A buffer of ``size_bytes``, with any content."""
        with self._lock:
            stock = self._free.get(size_bytes)
            if stock:
                self._free_bytes -= size_bytes
                return stock.pop()
        return _new_buffer(size_bytes)

    def give(self, buffer: mmap.mmap) -> None:
        """Put a buffer in stock, if there is room and nothing looks into it."""
        size_bytes = len(buffer)
        if not is_unseen(buffer):
            return
        with self._lock:
            if self._free_bytes + size_bytes <= self._free_bytes_max:
                self._free.setdefault(size_bytes, []).append(buffer)
                self._free_bytes += size_bytes

    def trim(self) -> None:
        """Give all unused buffers back to the system: for when nothing was written for a while."""
        with self._lock:
            self._free.clear()
            self._free_bytes = 0


def _new_buffer(size_bytes: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size_bytes)
    buffer = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Filling fresh memory is several times faster in pages of 2 MiB. A kernel without them says no.
        with contextlib.suppress(OSError):
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


def thin_buffer(size_bytes: int) -> mmap.mmap:
    """A buffer for one who may fill it slowly and in part: it costs what is written, by the page, and is used once."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size_bytes)
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def release_views(views: list[memoryview]) -> None:
    """Release and forget ``views``; one that is being read at this moment stays as it is."""
    for view in views:
        with contextlib.suppress(BufferError):
            view.release()
    views.clear()


def is_unseen(buffer: mmap.mmap) -> bool:
    """Whether no view of ``buffer`` exists. False where the system cannot tell."""
    try:
        buffer.resize(len(buffer))
    except (BufferError, SystemError, OSError, ValueError):
        return False
    return True


SHARED_POOL = BufferPool()
"""The stock of this process. It holds no state but spare memory."""
