"""Content-defined cutting of a stream into chunks of 256 KiB to 4 MiB, 1 MiB on average.

The cut depends on nothing but the bytes and the domain's seed: not on how they were pushed, not
on the library that found it (``gear`` is the twin in plain Python). Equal runs of bytes
resynchronise after a cut in common, so that an edit changes the chunks around it only.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any

from skep.chunks.buffers import SHARED_POOL, BufferPool, is_unseen, release_views
from skep.chunks.gear import CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, plain_cuts
from skep.crypto.hashing import Buffer

try:
    from pyfastcdc.cy import FastCDC as _FastCDC
except ImportError:  # No compiled library for this machine: the twin makes the same cuts, slowly.
    _FastCDC = None

WINDOW_BYTES = 2 * CHUNK_BYTES_MAX
"""A stream's window. What is left of a full one is less than a chunk's maximum, and is looked at once more."""
_CARRY_BYTES_MAX = 1 << 20


def splitter_backend() -> str:
    """Which code makes the cuts here: ``pyfastcdc`` or ``python``."""
    return "python" if _FastCDC is None else "pyfastcdc"


def _ends(cut_seed: int) -> Callable[[Buffer], Iterator[int]]:
    if _FastCDC is None:
        return lambda data: plain_cuts(data, cut_seed)
    library: Any = _FastCDC(
        CHUNK_BYTES_AVERAGE,
        min_size=CHUNK_BYTES_MIN,
        max_size=CHUNK_BYTES_MAX,
        normalized_chunking=1,
        seed=cut_seed,
    )
    return lambda data: (chunk.offset + chunk.length for chunk in library.cut_buf(data))


def cuts(data: Buffer, cut_seed: int, final: bool = True) -> list[int]:
    """Where the chunks of ``data`` end: rising offsets.

    With ``final`` the last one is ``len(data)`` (no offsets for no data); otherwise more bytes may
    follow, and an end that they could move is left out.
    """
    size = len(data)
    if size <= CHUNK_BYTES_MIN:
        return [size] if final and size else []
    return _settled(_ends(cut_seed), data, final)


def _settled(ends: Callable[[Buffer], Iterator[int]], data: Buffer, final: bool) -> list[int]:
    size = len(data)
    found = list(ends(data))
    if final:
        return found
    start_of_last = found[-2] if len(found) > 1 else 0
    if found[-1] == size and size - start_of_last < CHUNK_BYTES_MAX:
        found.pop()
    return found


def split_whole(data: Buffer, cut_seed: int) -> list[memoryview]:
    """The chunks of a body that is whole in memory, as views of it. None for an empty body."""
    view = memoryview(data)
    start = 0
    chunks = []
    for end in cuts(view, cut_seed):
        chunks.append(view[start:end])
        start = end
    return chunks


class Splitter:
    """Cuts one stream, pushed in pieces of any size.

    Bytes are copied once, into a window of 8 MiB that is looked through when it is full. The
    chunks handed out are views of that window, and are released by the next ``push``, ``finish`` or
    ``close``: using one later raises ValueError. Who needs one for longer takes a view of it
    (``chunk[:]``), and the window is then not used again.
    One thread at a time may use a splitter; the search releases the GIL.

    What always holds: the stream so far is the chunks handed out, then the window from ``_start`` to
    ``_end``, then ``_carry``. A window that was cut is not written to while a view of it exists.
    """

    def __init__(self, cut_seed: int, *, pool: BufferPool = SHARED_POOL) -> None:
        self._cut_seed = cut_seed
        self._pool = pool
        self._ends: Callable[[Buffer], Iterator[int]] | None = None
        self._carry: bytes = b""  # a body of one piece needs no window; a piece may outlast a full one
        self._window: mmap.mmap | None = None
        self._start = 0
        self._end = 0
        self._given: list[memoryview] = []

    def push(self, data: Buffer) -> list[memoryview]:
        """Take the next bytes of the stream; give the chunks that are certain by now."""
        if self._window is None and not self._carry and type(data) is bytes and len(data) < WINDOW_BYTES:
            self._carry = data
            return []
        release_views(self._given)
        self._take_carry()
        self._given = self._copy_in(memoryview(data))
        return list(self._given)

    def finish(self) -> list[memoryview]:
        """The rest of the chunks. Nothing may be pushed afterwards."""
        release_views(self._given)
        if self._window is None:
            carry, self._carry = self._carry, b""
            self._given = split_whole(carry, self._cut_seed)
        else:
            self._take_carry()
            self._given = self._cut(final=True)
        return list(self._given)

    def close(self) -> None:
        """Let the chunks and the window go. Safe to call twice, or never (the collector finds them)."""
        release_views(self._given)
        self._carry = b""
        if self._window is not None:
            self._pool.give(self._window)
            self._window = None

    def _take_carry(self) -> None:
        carry, self._carry = self._carry, b""
        chunks = self._copy_in(memoryview(carry))
        assert not chunks, "a window always has room for what was carried over"

    def _copy_in(self, data: memoryview) -> list[memoryview]:
        chunks: list[memoryview] = []
        while len(data):
            if chunks and len(data) <= _CARRY_BYTES_MAX:
                self._carry = bytes(data)  # the window is in the caller's hands until the next push
                break
            window = self._window_with_room()
            length = min(len(data), WINDOW_BYTES - self._end)
            window[self._end : self._end + length] = data[:length]
            self._end += length
            data = data[length:]
            if self._end == WINDOW_BYTES:
                chunks += self._cut(final=False)
        return chunks

    def _window_with_room(self) -> mmap.mmap:
        """The window, its pending bytes moved to the front if it was cut."""
        window = self._window
        if window is None:
            window = self._window = self._pool.take(WINDOW_BYTES)
        elif self._end == WINDOW_BYTES:
            pending = self._end - self._start
            if is_unseen(window):
                window.move(0, self._start, pending)
            else:
                window = self._pool.take(WINDOW_BYTES)
                window[:pending] = memoryview(self._window)[self._start :]  # type: ignore[arg-type]
                self._window = window
            self._start, self._end = 0, pending
        return window

    def _cut(self, final: bool) -> list[memoryview]:
        assert self._window is not None
        view = memoryview(self._window)[self._start : self._end]
        if self._ends is None:
            self._ends = _ends(self._cut_seed)
        start = 0
        chunks = []
        for end in _settled(self._ends, view, final) if len(view) else []:
            chunks.append(view[start:end])
            start = end
        self._start += start
        return chunks
