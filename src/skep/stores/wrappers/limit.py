"""Keeps a store from being asked too much at once: calls in flight, and bytes a second each way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from skep.base.clock import Clock
from skep.base.errors import TimedOut
from skep.stores.keys import check_size
from skep.stores.protocol import Buffer, ObjectInfo, Store, Usage
from skep.stores.ready import FillReady, filling, ready
from skep.stores.wrappers.forward import ForwardingStore

_BURST_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """None means no limit of that sort."""

    concurrency: int | None = None
    """Calls in flight; None takes what the store's properties advise."""
    put_bytes_per_s: int | None = None
    get_bytes_per_s: int | None = None
    queue_max: int = 10_000
    """Calls that may wait for their turn; further ones fail at once with TimedOut."""


class Bandwidth:
    """A token bucket that may be overdrawn: a call takes its bytes and waits until the debt is paid.

    So calls of any size pass, the rate holds over time, and up to a second's worth goes at once.
    """

    def __init__(self, bytes_per_s: int, clock: Clock) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._paid_until_s = clock.monotonic_s() - _BURST_S

    async def spend(self, size_bytes: int) -> None:
        """Return when so many bytes may have passed."""
        now_s = self._clock.monotonic_s()
        self._paid_until_s = max(self._paid_until_s, now_s - _BURST_S) + size_bytes / self._bytes_per_s
        if self._paid_until_s > now_s:
            await self._clock.sleep(self._paid_until_s - now_s)


class LimitStore(ForwardingStore):
    """Waits before puts and after gets for the bandwidth, and in line for a slot.

    Listings take no slot: a slow consumer would hold it.
    """

    def __init__(self, inner: Store, *, clock: Clock, limits: Limits | None = None) -> None:
        super().__init__(inner)
        limits = limits or Limits()
        self._slots = asyncio.Semaphore(limits.concurrency or inner.properties.concurrency)
        self._queue_max = limits.queue_max
        self._waiting = 0
        self._clock = clock
        self._get_ready = ready(inner)
        self._upload: Bandwidth | None = None
        self._download: Bandwidth | None = None
        self.set_rates(limits.put_bytes_per_s, limits.get_bytes_per_s)

    def set_rates(self, put_bytes_per_s: int | None, get_bytes_per_s: int | None) -> None:
        """Hold to these rates from now on; None: no limit. What waits already keeps its turn."""
        self._upload = Bandwidth(put_bytes_per_s, self._clock) if put_bytes_per_s else None
        self._download = Bandwidth(get_bytes_per_s, self._clock) if get_bytes_per_s else None

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        if self._upload is not None:
            await self._upload.spend(check_size(key, parts, self.properties.object_size_max_bytes))
        async with self._slot():
            await self.inner.put(key, parts)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        async with self._slot():
            value = await self.inner.get(key, offset, length)
        if self._download is not None:
            await self._download.spend(len(value))
        return value

    def get_ready(self, key: str, offset: int, length: int) -> Buffer | None:
        """See ``Ready``: it takes no slot, but where bytes have a rate it waits its turn like any other."""
        if self._get_ready is None or self._download is not None:
            return None
        return self._get_ready(key, offset, length)

    def filling(self) -> FillReady | None:
        """See ``FillReady``, and ``get_ready``."""
        return None if self._download is not None else filling(self.inner)

    async def stat(self, key: str) -> ObjectInfo:
        async with self._slot():
            return await self.inner.stat(key)

    async def delete(self, key: str) -> None:
        async with self._slot():
            await self.inner.delete(key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        async with self._slot():
            await super().delete_many(keys)

    async def usage(self) -> Usage:
        async with self._slot():
            return await self.inner.usage()

    def _slot(self) -> _Slot:
        return _Slot(self)


class _Slot:
    """One place among the calls in flight."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store

    async def __aenter__(self) -> None:
        store = self._store
        if store._waiting >= store._queue_max:
            raise TimedOut(f"{store._waiting} calls wait for this store already: try again later")
        store._waiting += 1
        try:
            await store._slots.acquire()
        finally:
            store._waiting -= 1

    async def __aexit__(self, *failure: object) -> None:
        self._store._slots.release()
