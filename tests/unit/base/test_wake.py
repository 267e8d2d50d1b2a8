"""The event for one waiter."""

from __future__ import annotations

import asyncio

import pytest

from skep.base.waiting import Wake


async def test_it_wakes_who_waits_and_lets_pass_who_comes_later() -> None:
    wake = Wake()
    waiting = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)  # lets it begin to wait
    assert not waiting.done()
    wake.set()
    wake.set()
    await waiting
    await wake.wait()
    wake.clear()
    waiting = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)  # lets it begin to wait
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_waiter_that_was_cancelled_leaves_the_next_one_alone() -> None:
    wake = Wake()
    first = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)  # lets it begin to wait
    first.cancel()
    wake.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    wake.clear()
    second = asyncio.create_task(wake.wait())
    await asyncio.sleep(0)  # lets it begin to wait
    wake.set()
    await second
