"""The base of wrappers: passes everything on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from skep.stores.batching import delete_many
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Store, Usage


class ForwardingStore:
    """A store that is another store; subclasses change some verbs. ``inner`` is the wrapped one."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    @property
    def properties(self) -> Properties:
        return self.inner.properties

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self.inner.put(key, parts)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return await self.inner.get(key, offset, length)

    async def stat(self, key: str) -> ObjectInfo:
        return await self.inner.stat(key)

    async def delete(self, key: str) -> None:
        await self.inner.delete(key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See ``batching.BatchDeleting``: at most as many keys as the driver takes at once."""
        await delete_many(self.inner, keys)

    def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        return self.inner.list(prefix, after)

    async def usage(self) -> Usage:
        return await self.inner.usage()

    async def close(self) -> None:
        await self.inner.close()
