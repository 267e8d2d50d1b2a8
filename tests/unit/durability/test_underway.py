"""Packs on their way, and the sweep that leaves them alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from skep.durability.records import shard_key
from skep.durability.underway import Underway
from skep.testing.durable import open_rig

PACK, OTHER = bytes(32), bytes([1]) * 32


async def test_a_shard_that_is_put_before_its_row_is_not_swept(tmp_path: Path) -> None:
    """Repair and moves put a shard where no row has it yet, and ``skep gc`` sweeps without a grace period."""
    async with open_rig(tmp_path, stores=1) as rig:
        (store,) = rig.stores.values()
        for pack in (PACK, OTHER):
            await store.put(shard_key(pack, 0), [b"a shard"])
        async with rig.chunks.on_their_way.putting(PACK):
            assert await rig.sweeper.run() == 1
            assert await rig.keys_in_stores() == [[shard_key(PACK, 0)]]
        assert await rig.sweeper.run() == 1
        assert await rig.keys_in_stores() == [[]]


async def test_nothing_is_put_under_a_key_that_is_being_swept() -> None:
    underway, order = Underway(), list[str]()

    async def put() -> None:
        async with underway.putting(PACK):
            order.append("put")

    with underway.sweeping([PACK, OTHER]) as sweeping:
        assert set(sweeping.packs) == {PACK, OTHER}
        sweeping.only([PACK])
        async with underway.putting(OTHER):
            order.append("the other")
        task = asyncio.create_task(put())
        await asyncio.sleep(0.01)  # time for it to go wrong
        order.append("swept")
    await task
    assert order == ["the other", "swept", "put"]
    assert len(underway) == 0


async def test_one_that_gives_up_waiting_leaves_nothing() -> None:
    underway = Underway()

    async def put() -> None:
        async with underway.putting(PACK):
            raise AssertionError("it is being swept")

    with underway.sweeping([PACK]):
        task = asyncio.create_task(put())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert PACK not in underway
    with underway.sweeping([PACK]) as sweeping:
        assert list(sweeping.packs) == [PACK]


async def test_what_several_put_is_on_its_way_until_all_are_done() -> None:
    underway = Underway()
    underway.add(PACK)
    async with underway.putting(PACK):
        with underway.sweeping([PACK]) as sweeping:
            assert not sweeping.packs
    assert PACK in underway
    underway.remove(PACK)
    assert PACK not in underway
