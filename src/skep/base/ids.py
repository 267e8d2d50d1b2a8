"""Identifiers: UUIDv7 (RFC 9562 section 5.7), 16 bytes inside, canonical text outside."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from skep.base.chance import random_bytes
from skep.base.errors import InvalidId

Id: TypeAlias = bytes
"""Sixteen bytes of a UUID, most significant first."""

_RANDOM_BYTES = 10


class IdMaker:
    """Makes ids that sort in the order they were made, whatever the clock does. One for each process.

    The 12 bits after the time are a counter (RFC 9562 section 6.2 method 1) that starts at
    random and, when it runs over, borrows the next millisecond; 62 random bits follow.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """``now_ms`` gives milliseconds since 1970 in UTC."""
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._last_ms = 0
        self._counter = 0
        self._random = memoryview(b"")
        """Random bytes not used yet: the kernel is asked for those of many ids at once."""

    def make(self) -> Id:
        """The next id. From any thread."""
        now_ms = self._now_ms()
        with self._lock:
            if not self._random:
                self._random = memoryview(random_bytes(_RANDOM_BYTES * 128))
            tail = int.from_bytes(self._random[:_RANDOM_BYTES], "big")
            self._random = self._random[_RANDOM_BYTES:]
            if now_ms > self._last_ms:
                self._last_ms, self._counter = now_ms, tail >> 69
            elif self._counter < 0xFFF:
                self._counter += 1
            else:
                self._last_ms, self._counter = self._last_ms + 1, 0
            head = (self._last_ms << 16) | 0x7000 | self._counter
        value = (head << 64) | (0b10 << 62) | (tail & ((1 << 62) - 1))
        return value.to_bytes(16, "big")

    def forget_random(self) -> None:
        """A forked process must not make its parent's ids."""
        self._random = memoryview(b"")


_of_process = IdMaker(lambda: time.time_ns() // 1_000_000)
_maker: ContextVar[IdMaker | None] = ContextVar("skep_ids", default=None)
os.register_at_fork(after_in_child=_of_process.forget_random)


def new_id() -> Id:
    """Make a UUIDv7. Ids made by one process sort in the order they were made."""
    return (_maker.get() or _of_process).make()


@contextmanager
def ids_from(maker: IdMaker) -> Iterator[None]:
    """Make the ids of the body, and of the tasks that are begun there, with ``maker``. For simulations only."""
    token = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(token)


def id_text(value: Id) -> str:
    """The canonical text of an id: 36 characters, lower case, with dashes."""
    return str(uuid.UUID(bytes=value))


def parse_id(text: str) -> Id:
    """Read an id from its canonical text or its 32 hex digits.

    Raises InvalidId when the text is neither.
    """
    if len(text) not in (32, 36):
        raise InvalidId(f"{text[:64]!r} is not an id: give the 36 characters as they were shown")
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        raise InvalidId(f"{text!r} is not an id: give the 36 characters as they were shown") from None
