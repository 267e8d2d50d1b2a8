"""Each check of the conformance suite is shown a store that breaks just its rule, and must notice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from skep.base.errors import InvalidRange, ObjectNotFound
from skep.stores import conformance
from skep.stores.drivers.memory import MemoryStore
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Store, Usage
from skep.stores.ready import FillReady
from skep.stores.wrappers.forward import ForwardingStore


class Broken(ForwardingStore):
    """A store in memory that the classes below break in one way each."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())

    async def all(self) -> list[ObjectInfo]:
        return [info async for info in self.inner.list()]

    async def old(self, key: str) -> bytes:
        try:
            return await self.inner.get(key)
        except ObjectNotFound:
            return b""


class FlipsABit(Broken):
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        value = await self.inner.get(key, offset, length)
        return value if len(value) != 65_537 else value[:-1] + bytes([value[-1] ^ 1])


class GivesByteArrays(Broken):
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return bytearray(await self.inner.get(key, offset, length))  # type: ignore[return-value]


class DropsPartsPastIovMax(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self.inner.put(key, parts[:1024])


class CutsLargeObjects(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self.inner.put(key, [b"".join(parts)[: 4 << 20]])


class KeepsTheBuffer(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Sequence[Buffer]] = {}

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self.inner.put(key, parts)
        self.kept[key] = parts

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return b"".join(self.kept[key])


class RefusesRangesPastTheEnd(Broken):
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        if offset >= (await self.stat(key)).size_bytes:
            raise InvalidRange("past the end")
        return await self.inner.get(key, offset, length)


class FindsEverything(Broken):
    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return (await self.old(key))[offset:]


class RemembersTheFirstSize(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, ObjectInfo] = {}

    async def stat(self, key: str) -> ObjectInfo:
        return self.sizes.setdefault(key, await self.inner.stat(key))


class WritesOverWithoutCutting(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        value = b"".join(parts)
        await self.inner.put(key, [value, (await self.old(key))[len(value) :]])


class WritesInTwoSteps(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        value = b"".join(parts)
        await self.inner.put(key, [value[: len(value) // 2]])
        await asyncio.sleep(0)
        await self.inner.put(key, [value])


class LosesWhenBusy(Broken):
    busy = 0

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        self.busy += 1
        await asyncio.sleep(0)
        if self.busy <= 32:
            await self.inner.put(key, parts)
        self.busy -= 1


class ComplainsOfDeletingTwice(Broken):
    async def delete(self, key: str) -> None:
        await self.inner.stat(key)
        await self.inner.delete(key)


class DeletesWhatIsBelow(Broken):
    async def delete(self, key: str) -> None:
        for info in await self.all():
            if info.key == key or info.key.startswith(f"{key}/"):
                await self.inner.delete(info.key)


class ListsBySegments(Broken):
    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        for info in sorted(await self.all(), key=lambda info: info.key.split("/")):
            if info.key.startswith(prefix) and info.key > after:
                yield info


class ListsInclusively(Broken):
    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        for info in await self.all():
            if info.key.startswith(prefix) and info.key >= after:
                yield info


class ListsOnePage(Broken):
    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        shown = 0
        async for info in self.inner.list(prefix, after):
            shown += 1
            if shown <= 256:
                yield info


class ListsByPosition(Broken):
    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        position = 0
        while position < len(found := [info async for info in self.inner.list(prefix, after)]):
            yield found[position]
            position += 1


class ListsLate(Broken):
    def __init__(self) -> None:
        super().__init__()
        self.shown: list[list[ObjectInfo]] = [[]]

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        self.shown.append([info async for info in self.inner.list(prefix, after)])
        for info in self.shown[-2]:
            yield info


class CutsKeys(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self.inner.put(key[:128], parts)


class TakesAnyKey(Broken):
    async def stat(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, 0)


class TakesAnySize(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        await self.inner.put(key, parts[:1])


class DoesNotCount(Broken):
    async def usage(self) -> Usage:
        return Usage(1, 1)


class ClaimsToBeDurable(Broken):
    @property
    def properties(self) -> Properties:
        return dataclasses.replace(self.inner.properties, durable=True)


class DeletesNothing(Broken):
    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)


class DeletesHalfOfABatch(Broken):
    async def delete_many(self, keys: Sequence[str]) -> None:
        for key in keys[::2]:
            await self.inner.delete(key)


class LeavesHalfWhenCancelled(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        value = b"".join(parts)
        try:
            await asyncio.sleep(0)
            await self.inner.put(key, [value])
        except asyncio.CancelledError:
            await self.inner.put(key, [value[: len(value) // 2]])
            raise


class HasOldBytesAtHand(Broken):
    """It remembers what it once gave at once, whatever becomes of the object."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[tuple[str, int, int], Buffer | None] = {}

    def get_ready(self, key: str, offset: int, length: int) -> Buffer | None:
        wanted = (key, offset, length)
        if self.given.get(wanted) is None:
            assert isinstance(self.inner, MemoryStore)
            self.given[wanted] = self.inner.get_ready(*wanted)
        return self.given[wanted]


class HasLessAtHand(Broken):
    def get_ready(self, key: str, offset: int, length: int) -> Buffer | None:
        assert isinstance(self.inner, MemoryStore)
        return self.inner.get_ready(key, offset, length) or self.inner.get_ready(key, offset, length - 1)


class HasNothingAtHandForEverything(Broken):
    def get_ready(self, key: str, offset: int, length: int) -> Buffer | None:
        return bytes(length)


class FillsWithLess(Broken):
    def filling(self) -> FillReady:
        return FillReady(self._fill, lambda size_bytes: None)

    def _fill(self, key: str, offset: int, views: Sequence[memoryview]) -> bool:
        assert isinstance(self.inner, MemoryStore)
        for view in views:
            found = self.inner.get_ready(key, offset, len(view)) or b""
            view[: len(found)] = found
            offset += len(view)
        return True


class FillsInTheWrongOrder(Broken):
    def filling(self) -> FillReady:
        return FillReady(self._fill, lambda size_bytes: None)

    def _fill(self, key: str, offset: int, views: Sequence[memoryview]) -> bool:
        assert isinstance(self.inner, MemoryStore)
        for view in reversed(views):
            found = self.inner.get_ready(key, offset, len(view))
            if found is None:
                return False
            view[:] = found
            offset += len(view)
        return True


class Hollow(Broken):
    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        raise KeyError(key)


BROKEN: list[tuple[str, type[Broken]]] = [
    ("what-is-put-is-got", FlipsABit),
    ("what-is-put-is-got", GivesByteArrays),
    ("what-is-put-is-got", Hollow),
    ("what-is-put-is-got", DeletesNothing),
    ("deleting-many", DeletesHalfOfABatch),
    ("parts-are-joined-in-order", DropsPartsPastIovMax),
    ("large-objects", CutsLargeObjects),
    ("callers-buffers-are-not-kept", KeepsTheBuffer),
    ("ranges", RefusesRangesPastTheEnd),
    ("what-is-at-hand-is-what-is-stored", HasOldBytesAtHand),
    ("what-is-at-hand-is-what-is-stored", HasLessAtHand),
    ("what-is-at-hand-is-what-is-stored", HasNothingAtHandForEverything),
    ("what-is-at-hand-is-what-is-stored", FillsWithLess),
    ("what-is-at-hand-is-what-is-stored", FillsInTheWrongOrder),
    ("missing-objects-are-not-found", FindsEverything),
    ("stat-tells-the-size", RemembersTheFirstSize),
    ("a-put-replaces", WritesOverWithoutCutting),
    ("replacing-is-atomic", WritesInTwoSteps),
    ("concurrent-puts", LosesWhenBusy),
    ("delete", ComplainsOfDeletingTwice),
    ("delete", DeletesNothing),
    ("keys-that-continue-each-other", DeletesWhatIsBelow),
    ("listing-order", ListsBySegments),
    ("listing-bounds", ListsInclusively),
    ("long-listings", ListsOnePage),
    ("listing-while-deleting", ListsByPosition),
    ("listing-is-consistent", ListsLate),
    ("key-limits", CutsKeys),
    ("bad-keys-are-refused", TakesAnyKey),
    ("too-large-objects-are-refused", TakesAnySize),
    ("a-cancelled-put-is-all-or-nothing", LeavesHalfWhenCancelled),
    ("usage", DoesNotCount),
    ("values-survive-reopening", ClaimsToBeDurable),
]


def opener(kind: Callable[[], Store]) -> Callable[[], Store]:
    """The same objects at each opening, but for the one that claims to keep them and does not."""
    shared = kind()
    return kind if kind is ClaimsToBeDurable else lambda: shared


@pytest.mark.parametrize(("name", "kind"), BROKEN)
async def test_the_check_notices(name: str, kind: type[Broken]) -> None:
    report = await conformance.check(opener(kind), only=name)
    assert [(result.name, result.outcome) for result in report.results] == [(name, "failed")], str(report)
    assert report.failures[0].detail


def test_every_check_is_shown_a_broken_store() -> None:
    assert {name for name, _ in BROKEN} == {name for name, _ in conformance.CHECKS}


async def test_a_failing_check_stops_no_other() -> None:
    report = await conformance.check(opener(Hollow))
    assert len(report.results) == len(conformance.CHECKS)
    assert len(report.failures) > 15
    assert "failed  ranges  unexpected KeyError" in str(report)
