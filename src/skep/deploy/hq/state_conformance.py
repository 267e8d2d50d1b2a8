"""What every StateStore must do: checks to run against one that is empty, free of any test framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from skep.base.errors import PreconditionFailed
from skep.deploy.hq.state import StateStore

Check = Callable[[StateStore], Awaitable[None]]


async def writes_and_reads(state: StateStore) -> None:
    """What was put is there, byte for byte, until it is deleted."""
    assert await state.get("a/b") is None
    revision = await state.put("a/b", bytes(range(256)))
    entry = await state.get("a/b")
    assert entry is not None
    assert (entry.key, entry.value, entry.revision) == ("a/b", bytes(range(256)), revision)
    assert revision > 0
    assert await state.delete("a/b")
    assert not await state.delete("a/b")
    assert await state.get("a/b") is None


async def revisions_grow(state: StateStore) -> None:
    """Each change of a key has a larger revision, also after it was deleted."""
    first = await state.put("a", b"1")
    second = await state.put("a", b"1")
    await state.delete("a")
    third = await state.put("a", b"1")
    assert first < second < third


async def lists_by_prefix(state: StateStore) -> None:
    """Names that begin so, in order, and no others."""
    for key in ("b/1", "a/2", "a/10", "a", "ab", "a/ä"):
        await state.put(key, key.encode())
    assert [entry.key for entry in await state.list("a/")] == sorted(["a/2", "a/10", "a/ä"])
    assert [entry.value for entry in await state.list("b/")] == [b"b/1"]
    assert len(await state.list("")) == 6
    assert await state.list("c") == ()


async def conditions_hold(state: StateStore) -> None:
    """With ``expected`` a write happens only where nobody else has written."""
    revision = await state.put("a", b"1", expected=0)
    for wrong in (0, revision + 1):
        await _refused(state.put("a", b"2", expected=wrong))
        await _refused(state.delete("a", expected=wrong))
    entry = await state.get("a")
    assert entry is not None
    assert entry.value == b"1"
    newer = await state.put("a", b"2", expected=revision)
    assert await state.delete("a", expected=newer)
    await _refused(state.put("a", b"3", expected=newer))


async def one_of_many_wins(state: StateStore) -> None:
    """Of writers that saw the same, one writes."""
    results = await asyncio.gather(*(_won(state, number) for number in range(10)))
    assert results.count(True) == 1


async def _won(state: StateStore, number: int) -> bool:
    try:
        await state.put("one", str(number).encode(), expected=0)
    except PreconditionFailed:
        return False
    return True


async def _refused(work: Awaitable[object]) -> None:
    try:
        await work
    except PreconditionFailed:
        return
    raise AssertionError("a write that should have been refused was done")


CHECKS: tuple[Check, ...] = (writes_and_reads, revisions_grow, lists_by_prefix, conditions_hold, one_of_many_wins)
