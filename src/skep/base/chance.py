"""Chance comes in from outside: bytes that nobody can guess, from the system, or a simulation's own.

Ids, keys, salts and nonces are made of ``random_bytes``. In a process that serves, that is the operating system's
generator and nothing else. A simulation that is to replay from one number says where chance comes from, for what runs
in its own context (PEP 567); work in threads does not inherit that and keeps the system's.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Source = Callable[[int], bytes]
"""Gives so many bytes."""

_source: ContextVar[Source] = ContextVar("skep_chance", default=os.urandom)


def random_bytes(count: int) -> bytes:
    """``count`` unpredictable bytes."""
    return _source.get()(count)


def new_random() -> random.Random:
    """A generator of its own for what need not be secret: jitter, samples."""
    return random.Random(random_bytes(16))  # noqa: S311 - spreads and samples, guards nothing


@contextmanager
def chance_from(source: Source) -> Iterator[None]:
    """Take chance from ``source`` in the body, and in the tasks that are begun there. For simulations only."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)
