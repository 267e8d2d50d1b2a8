"""How the C library keeps memory that was freed (mallopt(3), glibc). Elsewhere nothing happens.

By itself glibc learns from the first large block that is freed to keep such blocks for the next: quick for one transfer
after another. With many at once, at different paces, free and used blocks come to lie between each other, and twice
of what is in use stays with the process.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed(*, blocks_bytes_max: int, bytes_max: int) -> bool:
    """Have freed blocks of up to ``blocks_bytes_max`` kept for the next, up to ``bytes_max`` at the end of the heap.

    Larger blocks go back to the system at once. Returns whether the C library could be told.
    """
    library = _library()
    if library is None:
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, blocks_bytes_max) and library.mallopt(_TRIM_THRESHOLD, bytes_max))


@lru_cache(1)
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return library if hasattr(library, "mallopt") else None
