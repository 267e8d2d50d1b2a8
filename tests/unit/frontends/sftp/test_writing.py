"""Writes at offsets become one stream: compared with a bytearray, over random histories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.base.errors import BodyTooLarge, QuotaExceeded
from skep.frontends.sftp import writing
from skep.frontends.sftp.writing import HOLE_MAX_BYTES, Writer

OFFSET = st.integers(0, 400)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), OFFSET, st.binary(min_size=1, max_size=120)),
        st.tuples(st.just("append"), st.just(0), st.binary(min_size=1, max_size=120)),
        st.tuples(st.just("cut"), OFFSET, st.just(b"")),
        st.tuples(st.just("settle"), st.just(0), st.just(b"")),
    ),
    max_size=12,
)


class Content:
    """A version in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size_bytes = len(data)

    async def read(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        end = self.size_bytes if length is None else offset + length
        for start in range(offset, end, 50):
            yield self.data[start : min(start + 50, end)]


class Shelf:
    """Where versions come to lie."""

    def __init__(self) -> None:
        self.versions: list[bytes] = []

    async def store(self, parts: AsyncIterator[bytes]) -> Any:
        taken = [bytes(part) async for part in parts]
        self.versions.append(b"".join(taken))
        return SimpleNamespace(data=self.versions[-1])

    async def reopen(self, made: Any) -> Any:
        return Content(made.data)


@settings(deadline=None)
@given(st.none() | st.binary(max_size=300), STEPS)
def test_any_history_ends_in_what_a_local_file_would_be(
    base: bytes | None, steps: list[tuple[str, int, bytes]]
) -> None:
    async def run() -> None:
        shelf, model = Shelf(), bytearray(base or b"")
        start: Any = None if base is None else Content(base)
        writer = Writer(shelf.store, shelf.reopen, start, must_store=base is None)
        for what, offset, data in steps:
            if what == "settle":
                await writer.settle()
                assert not shelf.versions or shelf.versions[-1] == model
            elif what == "cut":
                await writer.truncate(offset)
                model[:] = model[:offset].ljust(offset, b"\0")
            else:
                at = len(model) if what == "append" else offset
                await writer.write(at, data)
                model[len(model) :] = bytes(max(0, at - len(model)))
                model[at : at + len(data)] = data
            assert writer.size_bytes == len(model)
        await writer.settle()
        assert (shelf.versions[-1] if shelf.versions else base) == model

    asyncio.run(run())


async def test_pieces_in_order_are_one_version_and_one_pass() -> None:
    shelf = Shelf()
    writer = Writer(shelf.store, shelf.reopen, None, must_store=True)
    for number in range(100):
        await writer.write(number * 10, b"%010d" % number)
    await writer.settle()
    assert len(shelf.versions) == 1


async def test_early_pieces_wait_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "EARLY_BYTES", 100)
    shelf = Shelf()
    writer = Writer(shelf.store, shelf.reopen, None, must_store=True)
    await writer.write(1000, b"x" * 60)
    await writer.write(2000, b"y" * 60)
    assert writer._early_bytes <= 100  # the gap before the first was filled to make room
    await writer.write(0, b"z")
    await writer.settle()
    assert shelf.versions[-1] == b"z".ljust(1000, b"\0") + b"x" * 60 + bytes(940) + b"y" * 60


async def test_an_abandoned_stream_is_no_version() -> None:
    shelf = Shelf()
    writer = Writer(shelf.store, shelf.reopen, None, must_store=True)
    await writer.write(0, b"half of it")
    await writer.abandon()
    assert shelf.versions == []


async def test_a_failure_to_store_is_told_at_every_call_after_it() -> None:
    async def full(parts: AsyncIterator[bytes]) -> Any:
        async for _ in parts:
            raise QuotaExceeded("the space is full")

    writer = Writer(full, Shelf().reopen, None, must_store=True)

    async def fill() -> None:
        for number in range(100):
            await writer.write(number << 20, bytes(1 << 20))

    with pytest.raises(QuotaExceeded):
        await fill()
    with pytest.raises(QuotaExceeded):
        await writer.write(0, b"x")
    with pytest.raises(QuotaExceeded):
        await writer.settle()


async def test_a_hole_has_a_limit() -> None:
    writer = Writer(Shelf().store, Shelf().reopen, None, must_store=True)
    with pytest.raises(BodyTooLarge):
        await writer.write(HOLE_MAX_BYTES + 1, b"x")
    with pytest.raises(BodyTooLarge):
        await writer.truncate(1 << 62)


async def test_a_flood_of_single_bytes_is_put_in_order_before_it_piles_up() -> None:
    shelf = Shelf()
    writer = Writer(shelf.store, shelf.reopen, None, must_store=True)
    for number in range(1, 3000):
        await writer.write(2 * number, b"x")
        assert writer.waiting_pieces <= writing.EARLY_PIECES
    await writer.settle()
    assert shelf.versions[-1] == b"\0\0" + b"x\0" * 2998 + b"x"
