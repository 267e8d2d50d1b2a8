"""Objects in this process's memory: the default of tests, the reference for what a store does."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from skep.base.clock import Clock, SystemClock
from skep.base.errors import InvalidStoreUrl, ObjectNotFound, StoreFull
from skep.base.ids import Id
from skep.stores.identity import StoreIdentity, settle_claim
from skep.stores.keys import check_key, check_list_bounds, check_size
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Usage
from skep.stores.ready import FillReady
from skep.stores.url import StoreUrl

_OBJECT_SIZE_MAX_BYTES = 1 << 30
_LIST_BATCH = 512


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """``memory:``, ``memory:name``, ``memory:name?capacity=1GB``."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("capacity",)

    name: str = ""
    """Stores of one name share their objects, as long as the process lives: closing and opening is like a restart."""
    capacity_bytes: int | None = None

    @classmethod
    def from_url(cls, url: StoreUrl) -> MemoryConfig:
        """Raises InvalidStoreUrl."""
        name = (url.host + url.path).strip("/")
        if "/" in name:
            raise InvalidStoreUrl(f"{url.text!r}: a memory store's name has no slash, write memory:name")
        return cls(name, url.size_option("capacity"))


@dataclass(slots=True)
class _Content:
    objects: dict[str, bytes] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """The keys of ``objects``, sorted."""
    used_bytes: int = 0
    identity: StoreIdentity | None = None


_named: dict[str, _Content] = {}


def forget_memory(name: str) -> None:
    """Drop the objects of a named memory store."""
    _named.pop(name, None)


def open_memory(config: MemoryConfig) -> MemoryStore:
    """A store over its own objects or, with a name, over those that every store of that name shares."""
    content = _named.setdefault(config.name, _Content()) if config.name else _Content()
    return MemoryStore(config, content)


class MemoryStore:
    """See ``Store``; every call takes effect at once, in the order of the calls."""

    def __init__(
        self,
        config: MemoryConfig | None = None,
        content: _Content | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config or MemoryConfig()
        self._content = content or _Content()
        self._clock = clock or SystemClock()
        self._properties = Properties(kind="memory", durable=False, object_size_max_bytes=_OBJECT_SIZE_MAX_BYTES)

    @property
    def properties(self) -> Properties:
        return self._properties

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        size_bytes = check_size(key, parts, self._properties.object_size_max_bytes)
        content = self._content
        old = content.objects.get(key)
        grown_bytes = size_bytes - (len(old) if old is not None else 0)
        self._refuse_overflow(grown_bytes)
        content.objects[key] = b"".join(parts)
        content.used_bytes += grown_bytes
        if old is None:
            bisect.insort(content.keys, key)

    def _refuse_overflow(self, grown_bytes: int) -> None:
        capacity = self._config.capacity_bytes
        if capacity is not None and grown_bytes > 0 and self._content.used_bytes + grown_bytes > capacity:
            raise StoreFull(f"the memory store {self._config.name!r} is at its capacity of {capacity} bytes")

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        value = self._value(key)
        return value[offset:] if length is None else value[offset : offset + length]

    def get_ready(self, key: str, offset: int, length: int) -> Buffer | None:
        """See ``Ready``: everything is at hand."""
        value = self._content.objects.get(key, b"")
        return value[offset : offset + length] if len(value) >= offset + length else None

    def filling(self) -> FillReady:
        """See ``FillReady``."""
        return FillReady(self._fill, lambda size_bytes: None)

    def _fill(self, key: str, offset: int, views: Sequence[memoryview]) -> bool:
        value = memoryview(self._content.objects.get(key, b""))
        if len(value) < offset + sum(map(len, views)):
            return False
        for view in views:
            view[:] = value[offset : offset + len(view)]
            offset += len(view)
        return True

    async def stat(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self._value(key)))

    def _value(self, key: str) -> bytes:
        check_key(key)
        try:
            return self._content.objects[key]
        except KeyError:
            raise ObjectNotFound(f"there is no object {key}") from None

    async def delete(self, key: str) -> None:
        check_key(key)
        content = self._content
        old = content.objects.pop(key, None)
        if old is not None:
            content.used_bytes -= len(old)
            del content.keys[bisect.bisect_left(content.keys, key)]

    delete_batch_max = 1_000

    async def delete_many(self, keys: Sequence[str]) -> None:
        assert len(keys) <= self.delete_batch_max
        for key in keys:
            await self.delete(key)

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        check_list_bounds(prefix, after)
        content, position, shown = self._content, after, 0
        while True:
            at = max(bisect.bisect_right(content.keys, position), bisect.bisect_left(content.keys, prefix))
            if at >= len(content.keys) or not content.keys[at].startswith(prefix):
                return
            position = content.keys[at]
            yield ObjectInfo(position, len(content.objects[position]))
            shown += 1
            if shown % _LIST_BATCH == 0:
                await asyncio.sleep(0)

    async def usage(self) -> Usage:
        used, capacity = self._content.used_bytes, self._config.capacity_bytes
        return Usage(used, None if capacity is None else max(0, capacity - used))

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        wanted = StoreIdentity(hive_id, store_id, self._clock.now_us())
        kept = settle_claim(self._content.identity, wanted, f"memory:{self._config.name}")
        self._content.identity = kept or wanted
        return self._content.identity

    async def identity(self) -> StoreIdentity | None:
        return self._content.identity

    async def close(self) -> None:
        pass
