"""The ``fs`` store: asynchronous outside, plain system calls in its own threads inside.

Opening touches nothing. The first call attaches the root; when the root is found gone it is let go, and each later call
tries to attach it again, but only to the same store: a directory with another marker, or without the one that was
there, stays unavailable. Reads never make a directory, so that an unmounted disk's mount point is left as it is.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeVar

from skep.base.clock import Clock, SystemClock
from skep.base.errors import ObjectNotFound, StoreFull, StoreUnavailable
from skep.base.ids import Id
from skep.stores.drivers.fs.calls import IOV_MAX, Calls, write_all
from skep.stores.drivers.fs.config import FsConfig
from skep.stores.drivers.fs.failures import store_error, translated
from skep.stores.drivers.fs.layout import place_of, walk
from skep.stores.drivers.fs.opened import Opened
from skep.stores.drivers.fs.place import Place, attach, new_temp_name
from skep.stores.drivers.fs.room import Room
from skep.stores.drivers.fs.threads import Threads
from skep.stores.drivers.fs.writing import Ticket, replace, write_new
from skep.stores.identity import StoreIdentity, settle_claim
from skep.stores.keys import check_key, check_list_bounds, check_size
from skep.stores.marker import MARKER_NAME, encode_marker
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Usage
from skep.stores.ready import FillReady

T = TypeVar("T")

_OBJECT_SIZE_MAX_BYTES = 1 << 30
_LIST_BATCH = 512
_SCAN_WAIT_S = 0.5
_KEY_LOCKS = 64
_CLAMP_ABOVE_BYTES = 1 << 20
_AT_ONCE_MAX_BYTES = 512 << 10


class FsStore:
    """See ``Store`` and ``Claimable``."""

    def __init__(self, config: FsConfig, calls: Calls | None = None, clock: Clock | None = None) -> None:
        self._config = config
        self._calls = calls or Calls()
        self._clock = clock or SystemClock()
        self._root = str(config.root)
        self._threads = Threads(config.threads, "store-fs")
        self._attach_lock = threading.Lock()
        self._key_locks = tuple(threading.Lock() for _ in range(_KEY_LOCKS))
        self._place: Place | None = None
        self._seen_identity: StoreIdentity | None = None
        self._room = Room(config.capacity_bytes)
        self._scan: asyncio.Future[None] | None = None
        self._closed = False
        self._properties = Properties(
            kind="fs", durable=True, object_size_max_bytes=_OBJECT_SIZE_MAX_BYTES, concurrency=config.threads
        )

    @property
    def properties(self) -> Properties:
        return self._properties

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        size_bytes = check_size(key, parts, _OBJECT_SIZE_MAX_BYTES)
        if self._config.capacity_bytes is not None and self._room.used_bytes() is None:
            await self._await_scan()
        ticket = Ticket()
        try:
            await self._in_thread(lambda: self._put(key, parts, size_bytes, ticket))
        except asyncio.CancelledError:
            ticket.cancelled = True
            raise

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        if length is not None:
            at_hand = self.get_ready(key, offset, length)
            if at_hand is not None:
                return bytes(at_hand)
        return await self._in_thread(lambda: self._get(key, offset, length))

    def get_ready(self, key: str, offset: int, length: int) -> bytearray | None:
        """See ``Ready``: a small range of a file that is known, if it is in the page cache; spares the thread."""
        place = self._place
        if place is None or self._closed or not 0 < length <= _AT_ONCE_MAX_BYTES:
            return None
        member = place.files.take(key) or self._open_ready(place, key)
        if member is None:
            return None
        try:
            return self._calls.read_ready(member.fd, length, offset)
        finally:
            place.files.release(member)

    def filling(self) -> FillReady:
        """See ``FillReady``."""
        return FillReady(self._fill, _not_counted)

    def _fill(self, key: str, offset: int, views: Sequence[memoryview]) -> bool:
        place = self._place
        if place is None or self._closed or len(views) > IOV_MAX:
            return False
        member = place.files.take(key) or self._open_ready(place, key)
        if member is None:
            return False
        try:
            return self._calls.fill_ready(member.fd, views, offset) == sum(map(len, views))
        finally:
            place.files.release(member)

    def _open_ready(self, place: Place, key: str) -> Opened | None:
        drops = place.files.drops
        fd = self._calls.open_ready(_path_of(key), place.objects_fd)
        return None if fd is None else place.files.add(key, fd, drops)

    async def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        return await self._in_thread(lambda: self._stat(key))

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._in_thread(lambda: self._delete(key))

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        check_list_bounds(prefix, after)
        listing = _Listing(self, prefix, after)
        try:
            while batch := await self._in_thread(listing.next_batch):
                for key, size_bytes in batch:
                    yield ObjectInfo(key, size_bytes)
        finally:
            if not self._closed:
                self._threads.start(listing.close)

    async def usage(self) -> Usage:
        if self._room.used_bytes() is None:
            await self._await_scan()
        return await self._in_thread(self._usage)

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        wanted = StoreIdentity(hive_id, store_id, self._clock.now_us())
        return await self._in_thread(lambda: self._claim(wanted))

    async def identity(self) -> StoreIdentity | None:
        return await self._in_thread(self._identity)

    async def close(self) -> None:
        self._closed = True
        await self._threads.close()
        if self._place is not None:
            self._place.close()
            self._place = None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable(f"the store at {self._root} is closed")
        return await self._threads.start(call)

    # What follows runs in the store's threads.

    def _attached(self, *, create: bool = False) -> Place | None:
        place = self._place
        if place is not None:
            return place
        with self._attach_lock:
            if self._place is None:
                self._place = self._attach(create)
            return self._place

    def _attach(self, create: bool) -> Place | None:
        create = create and self._seen_identity is None
        with translated(self._root, "opening it", writing=create):
            place = attach(self._config, self._calls, create=create)
        if place is None:
            self._check_same(None)
            return None
        try:
            with translated(self._root, "reading its marker", writing=False):
                self._check_same(place.identity())
        except BaseException:
            place.close()
            raise
        return place

    def _check_same(self, found: StoreIdentity | None) -> None:
        if self._seen_identity is not None and found != self._seen_identity:
            raise StoreUnavailable(f"{self._root} no longer holds the store that was there: mount its disk again")
        self._seen_identity = found

    def _attached_for_writing(self) -> Place:
        place = self._attached(create=True)
        if place is None:
            raise StoreUnavailable(f"{self._root} no longer holds the store that was there: mount its disk again")
        return place

    def _check_still_there(self, place: Place) -> None:
        """Raises StoreUnavailable, and lets go of the place, when the root is not where it was."""
        if place.is_where_it_was():
            return
        with self._attach_lock:
            if self._place is place:
                self._place = None
                place.let_go()
        raise StoreUnavailable(f"{self._root} is gone or was replaced while in use: mount its disk again")

    def _put(self, key: str, parts: Sequence[Buffer], size_bytes: int, ticket: Ticket) -> None:
        place = self._attached_for_writing()
        if not self._room.reserve(size_bytes) and not self._room.reserve(size_bytes, self._size_of(place, key)):
            raise StoreFull(
                f"{self._root} is at its capacity of {self._room.capacity_bytes} bytes: raise it or free some"
            )
        try:
            self._write(place, key, parts, size_bytes, ticket)
        except FileNotFoundError as error:
            place.directories.forget()
            self._check_still_there(place)
            raise store_error(error, self._root, f"writing {key}", writing=True) from error
        except OSError as error:
            raise store_error(error, self._root, f"writing {key}", writing=True) from error
        finally:
            self._room.unreserve(size_bytes)

    def _write(self, place: Place, key: str, parts: Sequence[Buffer], size_bytes: int, ticket: Ticket) -> None:
        segments, leaf = place_of(key)
        directory = place.directories.borrow(segments, create=True)
        try:
            replaced_bytes = 0
            temp_name = write_new(place, directory.fd, leaf, parts, ticket)
            if temp_name is not None:
                with self._key_lock(key):
                    replaced_bytes = self._size_of(place, key)
                    try:
                        replace(place, directory.fd, leaf, temp_name)
                    finally:
                        place.files.drop(key)
            self._room.changed(key, size_bytes - replaced_bytes)
            self._calls.sync_directory(directory.fd)
        except OSError as error:
            if os.fstat(directory.fd).st_nlink == 0:  # some kernels say EPERM for naming a file in a removed directory
                raise FileNotFoundError(errno.ENOENT, "its directory was removed") from error
            raise
        finally:
            place.directories.release(directory)

    def _key_lock(self, key: str) -> threading.Lock:
        return self._key_locks[hash(key) % _KEY_LOCKS]

    def _size_of(self, place: Place, key: str) -> int:
        try:
            return os.stat(_path_of(key), dir_fd=place.objects_fd).st_size
        except FileNotFoundError:
            return 0

    def _get(self, key: str, offset: int, length: int | None) -> bytes:
        place = self._attached()
        if place is None:
            raise ObjectNotFound(f"there is no object {key}")
        with translated(self._root, f"reading {key}", writing=False):
            member = self._open_object(place, key)
            try:
                return _read_range(self._calls, member.fd, offset, length)
            finally:
                place.files.release(member)

    def _open_object(self, place: Place, key: str) -> Opened:
        member = place.files.take(key)
        if member is not None:
            return member
        drops = place.files.drops
        try:
            return place.files.add(key, self._calls.open_file(_path_of(key), place.objects_fd), drops)
        except FileNotFoundError:
            self._check_still_there(place)
            raise ObjectNotFound(f"there is no object {key}") from None

    def _stat(self, key: str) -> ObjectInfo:
        place = self._attached()
        if place is None:
            raise ObjectNotFound(f"there is no object {key}")
        with translated(self._root, f"looking at {key}", writing=False):
            try:
                return ObjectInfo(key, os.stat(_path_of(key), dir_fd=place.objects_fd).st_size)
            except FileNotFoundError:
                self._check_still_there(place)
                raise ObjectNotFound(f"there is no object {key}") from None

    def _delete(self, key: str) -> None:
        place = self._attached()
        if place is None:
            return
        with translated(self._root, f"deleting {key}", writing=True):
            segments, leaf = place_of(key)
            try:
                directory = place.directories.borrow(segments, create=False)
            except FileNotFoundError:
                self._check_still_there(place)
                return
            try:
                self._unlink(place, key, leaf, directory.fd)
            finally:
                place.directories.release(directory)

    def _unlink(self, place: Place, key: str, leaf: str, directory_fd: int) -> None:
        with self._key_lock(key):
            removed_bytes = self._size_of(place, key)
            try:
                self._calls.unlink(leaf, directory_fd)
            except FileNotFoundError:
                self._check_still_there(place)
                return
            finally:
                place.files.drop(key)
            self._room.changed(key, -removed_bytes)
        self._calls.sync_directory(directory_fd)

    def _walk(self, prefix: str, after: str) -> Iterator[tuple[str, int]]:
        place = self._attached()
        if place is not None:
            yield from walk(self._calls, place.objects_fd, "", prefix, after)
            self._check_still_there(place)

    def _usage(self) -> Usage:
        self._attached()
        with translated(self._root, "asking for its free space", writing=False):
            disk = os.statvfs(self._root)
        rests = [disk.f_bavail * disk.f_frsize, self._room.rest_bytes()]
        return Usage(self._room.used_bytes(), min(rest for rest in rests if rest is not None))

    def _claim(self, wanted: StoreIdentity) -> StoreIdentity:
        place = self._attached_for_writing()
        with translated(self._root, "claiming it", writing=True):
            kept = settle_claim(place.identity(), wanted, self._root)
            if kept is None:
                _write_marker(place, encode_marker(wanted))
                kept = settle_claim(place.identity(), wanted, self._root) or wanted
        self._seen_identity = kept
        return kept

    def _identity(self) -> StoreIdentity | None:
        place = self._attached()
        if place is None:
            return None
        with translated(self._root, "reading its marker", writing=False):
            self._check_still_there(place)
            return place.identity()

    async def _await_scan(self) -> None:
        """Start counting, if nobody has, and wait a little for the count: a small store is known at once."""
        if self._closed:
            raise StoreUnavailable(f"the store at {self._root} is closed")
        if self._scan is None or (self._scan.done() and self._room.used_bytes() is None):
            self._scan = self._threads.start(self._count)
        await asyncio.wait([self._scan], timeout=_SCAN_WAIT_S)
        if self._scan.done() and not self._scan.cancelled():
            self._scan.exception()  # the call that asked meets the same failure itself, or finds a new store

    def _count(self) -> None:
        self._room.scan_begins()
        with translated(self._root, "counting what it holds", writing=False):
            for key, size_bytes in self._walk("", ""):
                if self._closed:
                    return
                self._room.scan_met(key, size_bytes)
        self._room.scan_ended()


class _Listing:
    """A walk that is read in batches, one thread at a time, and can be dropped while a batch is being read."""

    def __init__(self, store: FsStore, prefix: str, after: str) -> None:
        self._root = store._root
        self._walk = store._walk(prefix, after)
        self._lock = threading.Lock()

    def next_batch(self) -> Sequence[tuple[str, int]]:
        with self._lock, translated(self._root, "listing it", writing=False):
            return tuple(itertools.islice(self._walk, _LIST_BATCH))

    def close(self) -> None:
        with self._lock:
            self._walk.close()  # type: ignore[attr-defined]


def _not_counted(size_bytes: int) -> None:
    """Nobody asks this store how much was read of it; its wrappers count."""


def _path_of(key: str) -> str:
    segments, leaf = place_of(key)
    return f"{'/'.join(segments)}/{leaf}"


def _read_range(calls: Calls, fd: int, offset: int, length: int | None) -> bytes:
    if length is None or length > _CLAMP_ABOVE_BYTES:
        rest_bytes = max(0, os.fstat(fd).st_size - offset)
        length = rest_bytes if length is None else min(length, rest_bytes)
    first = calls.read(fd, length, offset)
    if len(first) == length or not first:
        return first
    pieces, got = [first], len(first)
    while got < length and (piece := calls.read(fd, length - got, offset + got)):
        pieces.append(piece)
        got += len(piece)
    return b"".join(pieces)


def _write_marker(place: Place, raw: bytes) -> None:
    """Durable and exclusive where the filesystem has hard links: of two that claim at once, one finds the other's."""
    calls, temp_name = place.calls, new_temp_name()
    fd = calls.create_file(temp_name, place.temp_fd)
    try:
        write_all(calls, fd, [raw])
        calls.sync_data(fd)
    finally:
        calls.close(fd)
    try:
        os.link(temp_name, MARKER_NAME, src_dir_fd=place.temp_fd, dst_dir_fd=place.root_fd)
        calls.unlink(temp_name, place.temp_fd)
    except FileExistsError:
        calls.unlink(temp_name, place.temp_fd)
    except OSError:
        calls.rename(temp_name, place.temp_fd, MARKER_NAME, place.root_fd)
    calls.sync_directory(place.root_fd)
