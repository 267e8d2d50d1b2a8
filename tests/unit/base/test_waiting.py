from __future__ import annotations

import asyncio

import pytest

from skep.base.waiting import to_the_end


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
