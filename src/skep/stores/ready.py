"""Two optional powers of stores: to give at once what is in memory.

The way through the wrappers of a store, its queue and its threads costs more than a small read of what the kernel or
the store holds in memory. ``get_ready`` is that read without the way; who is told None asks ``get``.

``filling`` is the same for large reads: in any thread, so that the event loop need not wait for the copying, and into
memory of the caller, so that what is made of the bytes is made in the same thread with no copy between.

A wrapper has these powers only if what it does to a call may be left out of such a read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from skep.stores.protocol import Buffer


class GetReady(Protocol):
    """``store.get_ready``."""

    def __call__(self, key: str, offset: int, length: int) -> Buffer | None:
        """All ``length`` bytes from ``offset``, as ``get`` would give them, if nothing has to be waited for.

        None: not at hand, not all there, or no such object; ``get`` tells which. Never blocks, raises nothing. Called
        in the event loop's thread.
        """
        ...


def ready(store: object) -> GetReady | None:
    """``store.get_ready``, or None where a store has no such power."""
    found: GetReady | None = getattr(store, "get_ready", None)
    return found


@dataclass(frozen=True, slots=True)
class FillReady:
    """What ``store.filling()`` gives: the power for as long as nothing about the store changes."""

    fill: Callable[[str, int, Sequence[memoryview]], bool]
    """Fill these runs of memory with the bytes of an object from an offset on, if nothing has to be waited for.

    False: not at hand, not all there, or no such object; then they may hold anything. Never blocks, raises nothing. May
    be called in any thread.
    """
    count: Callable[[int], None]
    """Told of the bytes that were had so, on the event loop."""


def filling(store: object) -> FillReady | None:
    """The power of a store to fill memory with what it has at hand, or None where it has none now."""
    find: Callable[[], FillReady | None] | None = getattr(store, "filling", None)
    return None if find is None else find()
