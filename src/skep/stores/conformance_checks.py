"""The checks of ``skep.stores.conformance``, in the order in which they run. Each is one sentence of the contract."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from skep.base.conformance import Failed, NotApplicable
from skep.base.errors import BodyTooLarge, InvalidPath, ObjectNotFound, SkepError
from skep.stores.batching import batch_of, delete_many
from skep.stores.protocol import Buffer, ObjectInfo, Store, Usage
from skep.stores.ready import GetReady, filling, ready

T = TypeVar("T")

_TIMEOUT_S = 120.0
_CLEANING_ROUNDS = 4
"""How often what is left is listed and deleted: a listing may show it late, and a put that was cancelled on its way
over a network may land late."""
_CLEANING_PAUSE_S = 0.5
_BAD_KEYS = (
    "", "/", "/a", "a/", "a//b", ".", "..", "a/.", "a/../b", "./a", "A", "a b", "a\\b", "a\0", "a\n", "a+", "é", "a:b",
    "a" * 201,
)  # fmt: skip


class Place:
    """One check's own corner of a store: every key is below ``prefix``, every store that was opened gets closed."""

    def __init__(self, make_store: Callable[[], Store], prefix: str, large_bytes: int) -> None:
        self._make_store = make_store
        self._opened: list[Store] = []
        self.prefix = prefix
        self.large_bytes = large_bytes
        self.random = random.Random(prefix)  # noqa: S311 - contents, not secrets
        self.store = self.open()

    def open(self) -> Store:
        """The place opened once more."""
        store = self._make_store()
        self._opened.append(store)
        return store

    async def reopen(self) -> None:
        """Close it and open it again."""
        await self.store.close()
        self._opened.remove(self.store)
        self.store = self.open()

    def key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def some(self, size_bytes: int) -> bytes:
        """Some content."""
        return self.random.randbytes(size_bytes)

    async def put(self, name: str, value: Buffer) -> None:
        await limited(self.store.put(self.key(name), [value]))

    async def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return await limited(self.store.get(self.key(name), offset, length))

    async def names(self, prefix: str = "", after: str | None = None) -> list[str]:
        """What a listing shows, without this check's prefix."""
        start = self.key("") if after is None else self.key(after)
        return [info.key[len(self.prefix) + 1 :] for info in await listed(self.store, self.key(prefix), start)]

    async def clean_up(self) -> str:
        """Delete what the check put and close its stores; what went wrong, or nothing."""
        try:
            left = await listed(self.store, f"{self.prefix}/", "")
            for round_ in range(_CLEANING_ROUNDS):
                for info in left:
                    await limited(self.store.delete(info.key))
                left = await listed(self.store, f"{self.prefix}/", "")
                if not left and self.store.properties.listing_is_consistent:
                    break
                if left and round_ + 1 < _CLEANING_ROUNDS:
                    await asyncio.sleep(_CLEANING_PAUSE_S)
            return f"{len(left)} objects could not be deleted, such as {left[0].key}" if left else ""
        except Exception as error:  # the check's own finding matters more
            return f"cleaning up below {self.prefix} failed: {type(error).__name__}: {error}"
        finally:
            for store in self._opened:
                await store.close()


async def limited(call: Awaitable[T]) -> T:
    """A call with a limit of time."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await call
    except TimeoutError:
        raise Failed(f"a call took more than {_TIMEOUT_S:g} s") from None


async def listed(store: Store, prefix: str, after: str) -> list[ObjectInfo]:
    """A whole listing, at most 100,000 objects."""
    found: list[ObjectInfo] = []
    async with asyncio.timeout(_TIMEOUT_S):
        async for info in store.list(prefix, after):
            found.append(info)
            if len(found) > 100_000:
                raise Failed(f"the listing of {prefix!r} does not end")
    return found


def expect(truth: bool, finding: str) -> None:
    """Raises Failed with the finding unless it is so."""
    if not truth:
        raise Failed(finding)


def expect_same(got: bytes, wanted: bytes, what: str) -> None:
    """Raises Failed unless the bytes are those."""
    if got != wanted:
        at = next((i for i, (a, b) in enumerate(zip(got, wanted, strict=False)) if a != b), min(len(got), len(wanted)))
        raise Failed(f"{what}: {len(got)} bytes came instead of {len(wanted)}, or others from byte {at} on")


async def expect_raises(kind: type[SkepError], call: Awaitable[object], what: str) -> None:
    """Raises Failed unless the call raises that error."""
    try:
        await limited(call)
    except kind:
        return
    except SkepError as error:
        raise Failed(f"{what} raises {type(error).__name__} instead of {kind.__name__}") from error
    raise Failed(f"{what} succeeds instead of raising {kind.__name__}")


async def check_what_is_put_is_got(place: Place) -> None:
    """Values of every awkward size come back byte for byte, as ``bytes``."""
    for size_bytes in (0, 1, 63, 4_095, 4_096, 4_097, 65_537, 1_000_003):
        value = place.some(size_bytes)
        await place.put("value", value)
        got = await place.get("value")
        expect(type(got) is bytes, f"get gives {type(got).__name__}, not bytes")
        expect_same(got, value, f"a value of {size_bytes} bytes")


async def check_parts_are_joined_in_order(place: Place) -> None:
    """A value may come in thousands of parts of every buffer type, empty ones among them."""
    parts: list[Buffer] = []
    for number in range(3_000):
        part = place.some(number % 7)
        parts.append((part, bytearray(part), memoryview(part))[number % 3])
    await limited(place.store.put(place.key("parts"), parts))
    expect_same(await place.get("parts"), b"".join(parts), "3,000 small parts")
    wide = memoryview(place.some(8_000)).cast("I")
    await limited(place.store.put(place.key("wide"), [wide, b"end"]))
    expect_same(await place.get("wide"), bytes(wide) + b"end", "a part of four-byte items")
    await limited(place.store.put(place.key("none"), []))
    expect_same(await place.get("none"), b"", "no parts at all")


async def check_large_objects(place: Place) -> None:
    """A large value in a few large parts comes back, whole and by its end."""
    block = place.some(1 << 20)
    count = max(1, place.large_bytes >> 20)
    await limited(place.store.put(place.key("large"), [block] * count))
    expect_same(await place.get("large"), block * count, f"{count} MB")
    expect_same(await place.get("large", (count << 20) - 5, 5), block[-5:], "the last five bytes")


async def check_callers_buffers_are_not_kept(place: Place) -> None:
    """Once put has returned the caller may reuse its buffers."""
    buffer = bytearray(b"first content")
    await place.put("buffer", buffer)
    buffer[:5] = b"later"
    expect_same(await place.get("buffer"), b"first content", "the value after its buffer was reused")


async def check_ranges(place: Place) -> None:
    """Any range gives what of it is there, which may be nothing."""
    value = place.some(300_000)
    await place.put("ranges", value)
    for offset in (0, 1, 4_096, 262_143, 299_999, 300_000, 300_001, 1 << 40):
        for length in (0, 1, 4_096, 262_144, 300_000, 1 << 40, None):
            end = None if length is None else offset + length
            got = await place.get("ranges", offset, length)
            expect_same(got, value[offset:end], f"{length} bytes from {offset} of 300,000")


async def check_what_is_at_hand_is_what_is_stored(place: Place) -> None:
    """What a store gives at once is what ``get`` would give: all of the range, never what was replaced or deleted."""
    for get_ready in (ready(place.store), _filled_by(place.store)):
        if get_ready is not None:
            await _check_at_hand(place, get_ready)


def _filled_by(store: Store) -> GetReady | None:
    """The power to fill memory as one to give it: in two runs, as a reader does that leaves something out between."""
    power = filling(store)
    if power is None:
        return None

    def get(key: str, offset: int, length: int) -> Buffer | None:
        memory = bytearray(length)
        views = [memoryview(memory)[: length // 3], memoryview(memory)[length // 3 :]]
        return memory if power.fill(key, offset, views) else None

    return get


async def _check_at_hand(place: Place, get_ready: GetReady) -> None:
    value = place.some(50_000)
    await place.put("a", value)
    key = place.key("a")
    for offset, length in ((0, 50_000), (0, 1), (49_999, 1), (1000, 4096)):
        await place.get("a", offset, length)
        found = get_ready(key, offset, length)
        expect(found is None or bytes(found) == value[offset : offset + length], "it gives other bytes than get")
    expect(get_ready(key, 49_999, 2) is None, "it gives less than was asked for")
    expect(get_ready(place.key("b"), 0, 1) is None, "it gives an object that is not there")
    await place.put("a", b"newer")
    found = get_ready(key, 0, 5)
    expect(found is None or bytes(found) == b"newer", "it gives what was replaced")
    await limited(place.store.delete(key))
    expect(get_ready(key, 0, 5) is None, "it gives what was deleted")


async def check_missing_objects_are_not_found(place: Place) -> None:
    """``get`` and ``stat`` of what is not there say so, also beside and below what is."""
    await place.put("there", b"x")
    for name in ("not-there", "there/below", "ther", "there.0"):
        await expect_raises(ObjectNotFound, place.store.get(place.key(name)), f"get of missing {name!r}")
        await expect_raises(ObjectNotFound, place.store.stat(place.key(name)), f"stat of missing {name!r}")


async def check_stat_tells_the_size(place: Place) -> None:
    """``stat`` gives key and size, of the newest value."""
    for size_bytes in (0, 1, 100_000, 7):
        await place.put("stat", place.some(size_bytes))
        info = await limited(place.store.stat(place.key("stat")))
        wanted = ObjectInfo(place.key("stat"), size_bytes)
        expect(info == wanted, f"stat gives {info} for {wanted}")


async def check_a_put_replaces(place: Place) -> None:
    """A second put replaces the value, whether it is longer or shorter, and leaves one object."""
    for size_bytes in (10, 200_000, 3, 0, 50):
        value = place.some(size_bytes)
        await place.put("again", value)
        expect_same(await place.get("again"), value, f"a replacement of {size_bytes} bytes")
    expect(await place.names() == ["again"], "a replaced object is listed other than once")


async def check_replacing_is_atomic(place: Place) -> None:
    """Readers beside writers see one value or the other, whole."""
    values = [bytes([letter]) * 200_000 for letter in b"abcd"]
    await place.put("atomic", values[0])

    async def write() -> None:
        for value in values * 5:
            await place.put("atomic", value)

    async def read() -> None:
        for _ in range(20):
            got = await place.get("atomic")
            expect(got in values, f"a reader saw {len(got)} bytes, of {sorted(set(got))[:5]}: not one whole value")

    await gather(write(), write(), read(), read())
    expect(await place.get("atomic") == values[-1], "the last of the writes is not what is there")


async def check_concurrent_puts(place: Place) -> None:
    """Many puts at once all arrive."""
    values = {f"at-once/{number:02d}{place.random.randbytes(8).hex()}": place.some(5_000) for number in range(48)}
    await gather(*(place.put(name, value) for name, value in values.items()))
    got = await gather(*(place.get(name) for name in values))
    expect(list(got) == list(values.values()), "of 48 puts at once not all values are right")
    expect(await place.names() == sorted(values), "of 48 puts at once not all are listed")


async def check_deleting_many(place: Place) -> None:
    """Objects that are removed in one call are gone, others stay; those that are not there are no error."""
    batch = batch_of(place.store)
    if batch == 1:
        raise NotApplicable("this kind of store removes objects one by one")
    names = [f"many/{number}" for number in range(min(batch, 5))]
    for name in [*names, "other"]:
        await place.put(name, b"x")
    keys = [place.key(name) for name in names]
    for _ in range(2):
        await limited(delete_many(place.store, [*keys[:-1], place.key("never/was")]))
        expect(await place.names() == [names[-1], "other"], "a batch removed too little or too much")
    await limited(delete_many(place.store, []))
    expect_same(await place.get("other"), b"x", "the neighbour of a batch")
    await limited(delete_many(place.store, keys))
    await expect_raises(ObjectNotFound, place.store.get(keys[-1]), "get of an object deleted in a batch")


async def check_delete(place: Place) -> None:
    """A deleted object is gone for every verb; deleting it again, or what never was, is no error."""
    await place.put("gone", b"x")
    await place.put("gone-not", b"y")
    await place.get("gone")
    for _ in range(2):
        await limited(place.store.delete(place.key("gone")))
        await expect_raises(ObjectNotFound, place.store.get(place.key("gone")), "get of a deleted object")
        await expect_raises(ObjectNotFound, place.store.stat(place.key("gone")), "stat of a deleted object")
    await limited(place.store.delete(place.key("never/was")))
    expect_same(await place.get("gone-not"), b"y", "the neighbour of a deleted object")
    expect(await place.names() == ["gone-not"], "a deleted object is still listed")
    await place.put("gone", b"back")
    expect_same(await place.get("gone"), b"back", "an object put again after its deletion")


_ORDERED = tuple(
    sorted(
        ["a", "a-", "a-b", "a.b", "a/b", "a/b/c", "a/b-c", "a/b0", "a0", "a_", "aa", "ab", "ab-c", "ab/c", "ab/cd",
         "ab0", "abc", "b/" + "c/" * 20 + "d", "z", "0", "00/11", "_", "-", ".a", "..a", "a...", "x" * 90]
    )
)  # fmt: skip


async def check_keys_that_continue_each_other(place: Place) -> None:
    """``a``, ``a/b`` and ``a/b/c`` are three objects, and deleting one leaves the others."""
    for name in _ORDERED:
        await place.put(name, name.encode())
    for name in _ORDERED:
        expect_same(await place.get(name), name.encode(), f"the object {name!r}")
    await limited(place.store.delete(place.key("a/b")))
    expect_same(await place.get("a/b/c"), b"a/b/c", "an object below a deleted one")
    expect_same(await place.get("a"), b"a", "an object above a deleted one")


async def check_listing_order(place: Place) -> None:
    """Listings are in the order of the keys' bytes, with their sizes, and each key once."""
    for name in place.random.sample(_ORDERED, len(_ORDERED)):
        await place.put(name, b"x" * len(name))
    found = await listed(place.store, place.key(""), "")
    wanted = [ObjectInfo(place.key(name), len(name)) for name in _ORDERED]
    expect([info.key for info in found] == [info.key for info in wanted], "a listing is not in order, or not complete")
    expect(found == wanted, "a listing has wrong sizes")


async def check_listing_bounds(place: Place) -> None:
    """``prefix`` may end within a segment; ``after`` is exclusive and need not exist."""
    for name in _ORDERED:
        await place.put(name, b"")
    for bound in (*_ORDERED, "a/", "ab", "b/c", "b/c/c/", "q", "a/b/"):
        wanted = [name for name in _ORDERED if name.startswith(bound)]
        expect(await place.names(prefix=bound) == wanted, f"a listing of prefix {bound!r} is not right")
        wanted = [name for name in _ORDERED if name > bound]
        expect(await place.names(after=bound) == wanted, f"a listing after {bound!r} is not right")
    wanted = [name for name in _ORDERED if name.startswith("a") and name > "a/b"]
    expect(await place.names(prefix="a", after="a/b") == wanted, "a listing by prefix and after is not right")


async def check_long_listings(place: Place) -> None:
    """A listing of many objects is complete, and can be dropped half way."""
    names = sorted(f"{place.random.randbytes(4).hex()}.{number % 6}" for number in range(300))
    for start in range(0, 300, 30):
        await gather(*(place.put(name, b"") for name in names[start : start + 30]))
    expect(await place.names() == names, "a listing of 300 objects is not complete")
    listing: AsyncIterator[ObjectInfo] = place.store.list(place.key(""))
    expect((await anext(listing)).key == place.key(names[0]), "a listing does not begin with the first key")
    close = getattr(listing, "aclose", None)
    if close is not None:
        await close()
    expect(len(await place.names(after=names[149])) == 150, "a listing after a dropped one is not complete")


async def check_listing_while_deleting(place: Place) -> None:
    """Deleting what a listing shows, as collection does, neither breaks it nor makes it skip."""
    names = [f"{number:03d}" for number in range(60)]
    await gather(*(place.put(name, b"") for name in names))
    shown = []
    async for info in place.store.list(place.key("")):
        shown.append(info.key)
        await limited(place.store.delete(info.key))
    expect(shown == [place.key(name) for name in names], "a listing skips objects when those it showed are deleted")


async def check_listing_is_consistent(place: Place) -> None:
    """A listing shows a put and a delete as soon as they have returned, if the properties say so."""
    if not place.store.properties.listing_is_consistent:
        raise NotApplicable("its listing may lag, it says")
    for number in range(10):
        await place.put(f"{number}", b"")
        expect(len(await place.names()) == number + 1, "an object just put is not listed")
    await limited(place.store.delete(place.key("5")))
    expect("5" not in await place.names(), "an object just deleted is listed")


async def check_key_limits(place: Place) -> None:
    """A key of 200 characters and of every allowed one works."""
    room = 200 - len(place.key(""))
    for name in ("k" * room, "/".join("k" * (room // 2)), "abcdefghijklmnopqrstuvwxyz0123456789._-/.x"):
        await place.put(name, name.encode())
        expect_same(await place.get(name), name.encode(), f"the key {place.key(name)!r}")
    expect(len(await place.names()) == 3, "long keys are not all listed")


async def check_bad_keys_are_refused(place: Place) -> None:
    """What is no key raises InvalidPath from every verb, and escapes nowhere."""
    store = place.store
    for key in _BAD_KEYS:
        what = f"of the bad key {key[:20]!r}"
        await expect_raises(InvalidPath, store.put(key, [b"x"]), f"put {what}")
        await expect_raises(InvalidPath, store.get(key), f"get {what}")
        await expect_raises(InvalidPath, store.stat(key), f"stat {what}")
        await expect_raises(InvalidPath, store.delete(key), f"delete {what}")
    for bad in ("A", "a b", "\0", "a" * 201):
        await expect_raises(InvalidPath, listed(place.store, bad, ""), f"list of the bad prefix {bad[:20]!r}")


async def check_too_large_objects_are_refused(place: Place) -> None:
    """More than the largest object raises BodyTooLarge, before anything is stored."""
    limit_bytes = place.store.properties.object_size_max_bytes
    block = bytes(16 << 20)
    parts = [block] * (limit_bytes // len(block) + 1)
    await expect_raises(BodyTooLarge, place.store.put(place.key("huge"), parts), "put of more than the limit")
    await expect_raises(ObjectNotFound, place.store.stat(place.key("huge")), "stat of a refused object")


async def check_a_cancelled_put_is_all_or_nothing(place: Place) -> None:
    """A put cancelled at any moment leaves the old or the new value, also when its buffer is reused at once."""
    old = b"old" * 1_000
    size_bytes = 1 << 20
    for turns in (0, 1, 2, 3, 5, 8, 20, 100):
        await place.put("cancelled", old)
        buffer = bytearray(b"n") * size_bytes
        task = asyncio.ensure_future(place.store.put(place.key("cancelled"), [buffer]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=_TIMEOUT_S)
        expect(task.done(), "a cancelled put does not end")
        if task.cancelled():
            buffer[:] = b"r" * size_bytes
        await place.put("fence", b"")
        got = await place.get("cancelled")
        expect(got in (old, b"n" * size_bytes), "a cancelled put left part of a value, or what its buffer held later")


async def check_usage(place: Place) -> None:
    """Known usage grows with a put and shrinks with its deletion; room is not negative."""
    before = await limited(place.store.usage())
    expect(isinstance(before, Usage), f"usage gives {type(before).__name__}")
    expect(before.free_bytes is None or before.free_bytes >= 0, f"free room is {before.free_bytes}")
    if before.used_bytes is None:
        raise NotApplicable("it does not know its usage, or not yet")
    size_bytes = 100_000
    await place.put("used", place.some(size_bytes))
    full = await limited(place.store.usage())
    expect(full.used_bytes is not None and full.used_bytes > before.used_bytes, "usage did not grow with a put")
    await limited(place.store.delete(place.key("used")))
    after = await limited(place.store.usage())
    expect(after.used_bytes is not None and after.used_bytes < (full.used_bytes or 0), "usage did not shrink again")


async def check_values_survive_reopening(place: Place) -> None:
    """What a durable store took is there after closing and opening it again."""
    if not place.store.properties.durable:
        raise NotApplicable("it is not durable, it says")
    value = place.some(100_000)
    await place.put("kept", value)
    await place.put("deleted", value)
    await limited(place.store.delete(place.key("deleted")))
    await place.reopen()
    expect_same(await place.get("kept"), value, "a value after reopening")
    if place.store.properties.listing_is_consistent:
        expect(await place.names() == ["kept"], "the listing after reopening is not right")


async def gather(*calls: Awaitable[T]) -> list[T]:
    """All at once; at the first failure the others are cancelled."""
    tasks = [asyncio.ensure_future(_run(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def _run(call: Awaitable[T]) -> T:
    return await call
