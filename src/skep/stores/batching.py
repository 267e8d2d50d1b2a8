"""An optional power of stores: to remove many objects with few requests.

    if batch_of(store) > 1: await delete_many(store, keys)

Where every request costs money or is rationed, a thousand deletes are one request. Removing is safe to repeat, so a
batch that fails halfway is simply sent again. Wrappers pass it on (``ForwardingStore``); a store whose kind cannot
do it is asked for one object after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from skep.stores.protocol import Store

DEPTH_MAX = 16
"""Wrappers on one store: far fewer are ever stacked."""


@runtime_checkable
class BatchDeleting(Protocol):
    """A kind of store that removes several objects at once."""

    delete_batch_max: int
    """How many keys one call takes."""

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Remove these objects; those that are not there are no error.

        Returns when all are gone. Raises StoreReadOnly, StoreUnavailable; any of them may be gone then.
        """
        ...


def batch_of(store: Store | None) -> int:
    """How many objects the kind of store behind any wrappers removes at once; 1: one by one."""
    layer: object = store
    for _ in range(DEPTH_MAX):
        if layer is None:
            return 1
        if isinstance(layer, BatchDeleting):
            return max(1, layer.delete_batch_max)
        layer = getattr(layer, "inner", None)
    return 1


async def delete_many(store: Store, keys: Sequence[str]) -> None:
    """Remove objects in batches of what the store takes. Raises what its calls raise."""
    batch, together = batch_of(store), getattr(store, "delete_many", None)
    if together is None or batch == 1:
        for key in keys:
            await store.delete(key)
        return
    for start in range(0, len(keys), batch):
        await together(keys[start : start + batch])
