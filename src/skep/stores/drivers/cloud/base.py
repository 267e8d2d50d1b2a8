"""A store in one folder of a cloud: what all providers have in common. A ``Remote`` says how one of them does it.

What always holds:
- an object is one file, whose name is the key's (``names.py``); the folder also has the marker ``skep-store.json``;
- a put is over when the provider has said which bytes it holds, by its own kind of hash, and they are those sent;
- a listing is gathered, sorted and given in the order of keys: no provider lists in an order that can be relied on;
- what this process put or deleted in the last quarter of an hour is shown so, whatever a lagging listing says.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from skep.base.clock import Clock
from skep.base.errors import ObjectNotFound, StoreUnavailable
from skep.base.ids import Id
from skep.stores.drivers.cloud.names import key_of, name_of
from skep.stores.identity import StoreIdentity, settle_claim
from skep.stores.keys import check_key, check_list_bounds, check_size
from skep.stores.marker import MARKER_NAME, decode_marker, encode_marker
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Usage

T = TypeVar("T")
OBJECT_SIZE_MAX_BYTES = 1 << 30
"""Values are in memory whole; no provider's own limit is below this."""
LISTING_MAX = 5_000_000
_RECENT_S = 900.0
_RECENT_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the folder."""

    name: str
    size_bytes: int
    id: str = ""
    """The provider's own, where it has one."""
    rank: str = ""
    """Of several files of one name the one with the greatest rank counts."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose account it is: the provider's own id for it, and what people call it."""

    id: str
    label: str


class Remote(Protocol):
    """One folder at one provider. Names are of files in that folder; the folder is made when it is needed."""

    place: str
    """For messages."""
    properties: Properties

    async def write(self, name: str, value: bytes) -> Entry:
        """Put the file, replacing one of that name, all or nothing, and verify what the provider says of it.

        Raises StoreFull, StoreReadOnly, StoreRefused, StoreUnavailable.
        """
        ...

    async def create(self, name: str, value: bytes) -> bool:
        """Put the file unless one of that name is there; whether it was made."""
        ...

    async def read(self, name: str, offset: int, length: int | None) -> bytes:
        """A range that is not empty; less, or nothing, past the end. Raises ObjectNotFound, StoreUnavailable."""
        ...

    async def find(self, name: str) -> Entry | None:
        """The file of that name. Raises StoreUnavailable."""
        ...

    async def remove(self, name: str) -> None:
        """Delete the file, for good where the provider lets us; one that is not there is fine."""
        ...

    def entries(self) -> AsyncIterator[Entry]:
        """All files of the folder, in any order, also several of one name. No folder: none."""
        ...

    async def usage(self) -> Usage:
        """The account's room. Raises StoreUnavailable."""
        ...

    async def account(self) -> Account:
        """Whose account it is. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


@runtime_checkable
class BatchRemoving(Protocol):
    """A provider that deletes several files at once."""

    remove_batch_max: int

    async def remove_many(self, names: Sequence[str]) -> None:
        """Delete the files; those that are not there are fine. Raises StoreUnavailable when any other is left."""
        ...


class CloudStore:
    """See ``Store``."""

    def __init__(self, remote: Remote, clock: Clock) -> None:
        self.remote = remote
        self._clock = clock
        self._recent: OrderedDict[str, tuple[Entry | None, float]] = OrderedDict()

    @property
    def properties(self) -> Properties:
        return self.remote.properties

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        size_bytes = check_size(key, parts, self.properties.object_size_max_bytes)
        value = b"".join(parts) if size_bytes < 1 << 18 else await asyncio.to_thread(_joined, parts)
        name = name_of(key)
        entry = await self.remote.write(name, value)
        self._note(name, entry)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        if length == 0:
            await self.stat(key)
            return b""
        return await self.remote.read(name_of(key), offset, length)

    async def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        entry = await self.remote.find(name_of(key))
        if entry is None:
            raise ObjectNotFound(f"there is no object {key}")
        return ObjectInfo(key, entry.size_bytes)

    async def delete(self, key: str) -> None:
        check_key(key)
        name = name_of(key)
        await self.remote.remove(name)
        self._note(name, None)

    @property
    def delete_batch_max(self) -> int:
        """How many files one request deletes."""
        return self.remote.remove_batch_max if isinstance(self.remote, BatchRemoving) else 1

    async def delete_many(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_key(key)
        if not isinstance(self.remote, BatchRemoving):
            for key in keys:
                await self.delete(key)
            return
        names = [name_of(key) for key in keys]
        await self.remote.remove_many(names)
        for name in names:
            self._note(name, None)

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        check_list_bounds(prefix, after)
        found: dict[str, Entry] = {}
        async for entry in self.remote.entries():
            key = key_of(entry.name)
            if key is None or not key.startswith(prefix) or key <= after:
                continue
            if key not in found or found[key].rank < entry.rank:
                found[key] = entry
            if len(found) > LISTING_MAX:
                raise StoreUnavailable(f"{self.remote.place} has more than {LISTING_MAX} files in one folder")
        for name, recent in self._recent_ones():
            key = key_of(name)
            if key is None or not key.startswith(prefix) or key <= after:
                continue
            if recent is None:
                found.pop(key, None)
            else:
                found[key] = recent
        for key in sorted(found):
            yield ObjectInfo(key, found[key].size_bytes)

    async def usage(self) -> Usage:
        return await self.remote.usage()

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        wanted = StoreIdentity(hive_id, store_id, self._clock.now_us())
        kept = settle_claim(await self.identity(), wanted, self.remote.place)
        if kept is not None:
            return kept
        await self.remote.create(MARKER_NAME, encode_marker(wanted))
        found = await self.identity()
        if found is None:
            raise StoreUnavailable(f"{self.remote.place} does not show the marker that was just written to it")
        return settle_claim(found, wanted, self.remote.place) or found

    async def identity(self) -> StoreIdentity | None:
        try:
            return decode_marker(await self.remote.read(MARKER_NAME, 0, None))
        except ObjectNotFound:
            return None

    async def close(self) -> None:
        await self.remote.close()

    def _note(self, name: str, entry: Entry | None) -> None:
        self._recent[name] = (entry, self._clock.monotonic_s() + _RECENT_S)
        self._recent.move_to_end(name)
        if len(self._recent) > _RECENT_MAX:
            self._recent.popitem(last=False)

    def _recent_ones(self) -> Iterator[tuple[str, Entry | None]]:
        now_s = self._clock.monotonic_s()
        while self._recent:
            name = next(iter(self._recent))
            if self._recent[name][1] > now_s:
                break
            del self._recent[name]
        return iter([(name, entry) for name, (entry, _) in self._recent.items()])


async def digest_of(make: Callable[[bytes], T], value: bytes) -> T:
    """A digest, in a thread when it takes long enough for that."""
    return make(value) if len(value) < 1 << 16 else await asyncio.to_thread(make, value)


def _joined(parts: Sequence[Buffer]) -> bytes:
    return b"".join(parts)


def text_of(found: Any, *path: str) -> str:
    """A text inside decoded JSON, or an empty one where it is something else."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def number_of(found: Any, *path: str) -> int | None:
    """A number of bytes inside decoded JSON, also one written as text; None where it is something else."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, str) and found.isascii() and found.isdecimal() and len(found) < 20:
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def items_of(found: Any, *path: str) -> list[Any]:
    """The objects of a list inside decoded JSON; none where it is something else."""
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
