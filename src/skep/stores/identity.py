"""An optional power of stores: to remember whose they are.

A hive that opens ``fs:///mnt/disk2`` while the disk is not mounted finds an empty directory, and another hive's
directory looks like any other. A store that keeps a marker lets the hive notice both before it writes or deletes.

``claim`` is for adding a store; afterwards compare ``identity()`` with what the database says at every start:
``None`` means that the place is empty or not mounted, another identity that the place is someone else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from skep.base.errors import Conflict
from skep.base.ids import Id, id_text
from skep.stores.protocol import Store


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Whose store this is."""

    hive_id: Id
    store_id: Id
    created_us: int
    """When it was claimed, in microseconds since 1970 UTC."""


@runtime_checkable
class Claimable(Protocol):
    """A store that can be marked as belonging to one hive."""

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        """Mark the store, durably. Claiming what this hive holds under this id already changes nothing.

        Raises Conflict when it carries another mark, StoreReadOnly, StoreFull, StoreUnavailable.
        """
        ...

    async def identity(self) -> StoreIdentity | None:
        """The mark, or None when there is none. Raises CorruptRecord, StoreUnavailable."""
        ...


def claimable(store: Store) -> Claimable | None:
    """The claimable store behind any wrappers, or None when this kind of store cannot be marked."""
    layer: object = store
    while not isinstance(layer, Claimable):
        layer = getattr(layer, "inner", None)
        if layer is None:
            return None
    return layer


def settle_claim(found: StoreIdentity | None, wanted: StoreIdentity, place: str) -> StoreIdentity | None:
    """What stays: ``found`` when it is the same claim, None when the place is free.

    Raises Conflict when the place belongs to another hive or is another store of this hive.
    """
    if found is None:
        return None
    if found.hive_id != wanted.hive_id:
        raise Conflict(
            f"{place} belongs to another hive ({id_text(found.hive_id)}): use another place, or empty this one first",
            hive_id=id_text(found.hive_id),
        )
    if found.store_id != wanted.store_id:
        raise Conflict(
            f"{place} already is store {id_text(found.store_id)} of this hive: use another place",
            store_id=id_text(found.store_id),
        )
    return found
