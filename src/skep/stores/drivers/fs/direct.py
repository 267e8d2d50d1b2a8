"""Large values past the page cache (O_DIRECT): a value of megabytes is copied by the disk, not by the processor.

A buffered write copies every byte into fresh pages of the cache, which costs the processor more than hashing or
sealing does; a shard is seldom read soon after it was written, so the cache is better left to what is read. The
parts are gathered in an aligned buffer that is used again and again, and is warm.

O_DIRECT wants lengths and addresses in multiples of the disk's block: the last block is filled up with zeros and
the file cut back to its length afterwards. Nothing is durable before the caller's ``sync_data``, as with other writes.
Where the filesystem refuses (tmpfs, some network filesystems), the caller writes as usual.
"""

from __future__ import annotations

import errno
import mmap
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from skep.stores.drivers.fs.calls import Calls
from skep.stores.protocol import Buffer

DIRECT_BYTES_MIN = 1 << 20
"""Smaller values go the usual way: their copy is cheap, and the cache lets the disk join their writes."""
ALIGNMENT_BYTES = 4096
BOUNCE_BYTES = 4 << 20
BOUNCES_MAX = 3
"""Buffers kept and used at once: further writers wait for one."""

_REFUSALS = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY}


class DirectWriter:
    """Writes large values directly. Safe for many threads; owned by one store."""

    def __init__(self) -> None:
        self._bounces: queue.Queue[mmap.mmap | None] = queue.Queue()
        for _ in range(BOUNCES_MAX):
            self._bounces.put(None)  # made when it is first needed
        self._refused = False

    def write(self, calls: Calls, fd: int, parts: Sequence[Buffer]) -> bool:
        """Write all parts to the empty file ``fd``. False when it cannot be done this way; the file is empty then.

        Raises OSError.
        """
        size = sum(len(part) for part in parts)
        if size < DIRECT_BYTES_MIN or self._refused or not self._switch(calls, fd, on=True):
            return False
        with self._bounce() as bounce:
            try:
                _write_blocks(calls, fd, parts, bounce)
            except OSError as error:
                if error.errno not in _REFUSALS:
                    raise
                self._refused = True
                calls.truncate(fd, 0)
                calls.rewind(fd)
                self._switch(calls, fd, on=False)
                return False
        calls.truncate(fd, size)
        return True

    def _switch(self, calls: Calls, fd: int, *, on: bool) -> bool:
        try:
            calls.set_direct(fd, on)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            self._refused = True
        return not self._refused

    @contextmanager
    def _bounce(self) -> Iterator[mmap.mmap]:
        bounce = self._bounces.get() or mmap.mmap(-1, BOUNCE_BYTES)
        try:
            yield bounce
        finally:
            self._bounces.put(bounce)


def _write_blocks(calls: Calls, fd: int, parts: Sequence[Buffer], bounce: mmap.mmap) -> None:
    """Gather the parts into the buffer and write it out whenever it is full, and at the end up to a whole block."""
    with memoryview(bounce) as whole:
        filled = 0
        for part in parts:
            view = memoryview(part).cast("B")
            while len(view):
                count = min(len(view), BOUNCE_BYTES - filled)
                whole[filled : filled + count] = view[:count]
                filled += count
                view = view[count:]
                if filled == BOUNCE_BYTES:
                    _write_out(calls, fd, whole)
                    filled = 0
        if filled:
            end = -(-filled // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
            whole[filled:end] = bytes(end - filled)
            _write_out(calls, fd, whole[:end])


def _write_out(calls: Calls, fd: int, view: memoryview) -> None:
    """Every byte of an aligned view; a short write stops at a block's end, or the next one says what is wrong."""
    while len(view):
        written = calls.write(fd, [view])
        if written <= 0:
            raise OSError(errno.EIO, "a write made no progress")
        view = view[written:]
