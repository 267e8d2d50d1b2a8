"""Identifiers: UUIDv7 (RFC 9562 section 5.7), 16 bytes inside, canonical text outside."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import TypeAlias

from skep.base.errors import InvalidId

Id: TypeAlias = bytes
"""Sixteen bytes of a UUID, most significant first."""

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_RANDOM_BYTES = 10
_random = memoryview(b"")
"""Random bytes not used yet: the kernel is asked for those of many ids at once."""


def _forget_random() -> None:
    """A forked process must not make its parent's ids."""
    global _random
    _random = memoryview(b"")


os.register_at_fork(after_in_child=_forget_random)


def new_id() -> Id:
    """Make a UUIDv7. Ids made by one process sort in the order they were made.

    The 12 bits after the time are a counter (RFC 9562 section 6.2 method 1) that starts at
    random and, when it runs over, borrows the next millisecond; 62 random bits follow.
    """
    global _last_ms, _counter, _random
    now_ms = time.time_ns() // 1_000_000
    with _lock:
        if not _random:
            _random = memoryview(os.urandom(_RANDOM_BYTES * 128))
        tail = int.from_bytes(_random[:_RANDOM_BYTES], "big")
        _random = _random[_RANDOM_BYTES:]
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, tail >> 69
        elif _counter < 0xFFF:
            _counter += 1
        else:
            _last_ms, _counter = _last_ms + 1, 0
        head = (_last_ms << 16) | 0x7000 | _counter
    value = (head << 64) | (0b10 << 62) | (tail & ((1 << 62) - 1))
    return value.to_bytes(16, "big")


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
