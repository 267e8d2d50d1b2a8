"""An optional power of stores: to give at once what is in memory.

The way through the wrappers of a store, its queue and its threads costs more than a small read of what the kernel or
the store holds in memory. ``get_ready`` is that read without the way; who is told None asks ``get``.

A wrapper has the power only if what it does to a call may be left out of such a read.
"""

from __future__ import annotations

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
