"""The Store protocol: what every place that holds shards can do. The docstrings are the contract.

A store is a flat map from keys to immutable runs of bytes. Keys are 1 to 200 characters of
``a-z 0-9 . _ - /``, without leading, trailing or doubled slashes and without ``.`` or ``..``
segments; they sort by their bytes. Values are at most ``Properties.object_size_max_bytes``.

Who retries: nobody here. A driver reports; the ``retry`` wrapper retries what is retryable.
Cancellation: a cancelled ``put`` leaves either nothing or the whole value under the key,
and never a part of it; over a network the value may still land shortly after ``put`` has ended. A
cancelled read leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Properties:
    """Facts about a kind of store, as data."""

    kind: str
    """The registry's name of the driver: ``fs``, ``memory``, ``s3``."""
    durable: bool
    """Whether a value survives the loss of power once ``put`` has returned."""
    object_size_max_bytes: int
    listing_is_consistent: bool = True
    """Whether ``list`` shows a put or a delete as soon as the call has returned."""
    concurrency: int = 16
    """How many calls at once this kind of store takes well."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing or of ``stat``."""

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Room in a store, as far as it is known. All in bytes."""

    used_bytes: int | None
    free_bytes: int | None
    """What can still be written now: the smaller of the quota's rest and the free space."""


class Store(Protocol):
    """One place that holds objects. Safe for concurrent calls from one event loop."""

    @property
    def properties(self) -> Properties:
        """Facts about this store."""
        ...

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Store the concatenation of ``parts`` under ``key``, durably, all or nothing.

        An object of that key is replaced atomically: a reader sees the old or the new value.
        The buffers must not change until the call is done.

        Raises StoreFull, StoreReadOnly, StoreUnavailable, BodyTooLarge, InvalidPath (bad key).
        """
        ...

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read ``length`` bytes from ``offset`` (to the end if None).

        A range that reaches past the end gives what is there, which may be nothing.

        Raises ObjectNotFound, StoreUnavailable.
        """
        ...

    async def stat(self, key: str) -> ObjectInfo:
        """The size of an object. Raises ObjectNotFound, StoreUnavailable."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is not an error.

        Raises StoreReadOnly, StoreUnavailable.
        """
        ...

    def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        """All objects whose key starts with ``prefix`` and is greater than ``after``, in key order.

        Objects put or deleted while listing may or may not be shown. Raises StoreUnavailable.
        """
        ...

    async def usage(self) -> Usage:
        """How much room is used and free. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Release connections and threads. The store is not used afterwards."""
        ...
