from __future__ import annotations

import asyncio
import time

import pytest

from skep.base.waiting import to_the_end, within


async def test_what_has_begun_is_waited_for_when_the_caller_is_cancelled() -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), []

    async def work() -> str:
        begun.set()
        await go_on.wait()
        ended.append(True)
        return "done"

    caller = asyncio.create_task(to_the_end(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended


async def test_it_gives_the_result_and_raises_the_error() -> None:
    async def work(good: bool) -> str:
        if not good:
            raise ValueError("no")
        return "yes"

    assert await to_the_end(work(True)) == "yes"
    with pytest.raises(ValueError, match="no"):
        await to_the_end(work(False))


async def test_an_await_has_an_end_and_gives_what_came_before_it() -> None:
    async def work(seconds: float) -> str:
        await asyncio.sleep(seconds)  # shorter or longer than the limit: that is what is tested
        return "done"

    assert await within(work(0), 5) == "done"
    with pytest.raises(TimeoutError):
        await within(work(60), 0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_is_cancelled_while_waiting_hears_that_and_no_timeout() -> None:
    waiting = asyncio.create_task(within(asyncio.Event().wait(), 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_cancellation_beside_a_timeout_is_not_lost() -> None:
    async def both() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, task.cancel)
        loop.call_later(0.005, time.sleep, 0.05)  # so that both are due in one turn of the loop
        await within(asyncio.Event().wait(), 0.02)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(both())
