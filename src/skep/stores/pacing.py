"""Stores whose use can be held to so many bytes a second, found behind any wrappers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from skep.stores.protocol import Store

DEPTH_MAX = 16
"""Wrappers on one store: far fewer are ever stacked."""


@runtime_checkable
class Paced(Protocol):
    """A store that can be held back."""

    def set_rates(self, put_bytes_per_s: int | None, get_bytes_per_s: int | None) -> None:
        """Hold to these rates from now on; None: no limit."""
        ...


def paced(store: Store | None) -> Paced | None:
    """The outermost wrapper that holds rates, or None when there is none."""
    at: object = store
    for _ in range(DEPTH_MAX):
        if at is None or isinstance(at, Paced):
            return at
        at = getattr(at, "inner", None)
    return None
