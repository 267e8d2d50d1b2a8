from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from skep.stores.drivers.fs.threads import Threads


class Buffer:
    """Something whose end can be watched."""


async def test_results_and_errors_come_back() -> None:
    threads = Threads(3, "test")
    assert await asyncio.gather(*(threads.start(lambda number=number: number * 2) for number in range(100))) == [
        number * 2 for number in range(100)
    ]
    with pytest.raises(ZeroDivisionError):
        await threads.start(lambda: 1 // 0)
    await threads.close()


async def test_there_are_no_more_threads_than_allowed_and_all_are_used() -> None:
    threads, together = Threads(4, "counted"), threading.Barrier(4, timeout=10)
    await asyncio.gather(*(threads.start(together.wait) for _ in range(8)))
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("counted")}
    assert names == {"counted-0", "counted-1", "counted-2", "counted-3"}
    await threads.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("counted")]


async def test_one_after_the_other_needs_one_thread() -> None:
    threads = Threads(8, "lonely")
    for _ in range(50):
        await threads.start(lambda: None)
        while threads._idle == 0:
            await asyncio.sleep(0)
    assert len(threads._threads) == 1
    await threads.close()


async def test_a_call_cancelled_before_it_began_is_not_run_and_one_that_runs_is_left_alone() -> None:
    threads, ran = Threads(1, "test"), []
    begun, gate = threading.Event(), threading.Event()
    running = threads.start(lambda: (begun.set(), gate.wait(10), ran.append("running")))
    waiting = threads.start(lambda: ran.append("waiting"))
    assert begun.wait(10)
    waiting.cancel()
    running.cancel()
    gate.set()
    await threads.start(lambda: ran.append("last"))
    assert ran == ["running", "last"]
    await threads.close()


async def test_closing_waits_for_what_was_started() -> None:
    threads, done = Threads(1, "test"), []
    calls = [threads.start(lambda number=number: done.append(number)) for number in range(20)]
    await threads.close()
    assert done == list(range(20))
    await asyncio.gather(*calls)


async def test_an_idle_thread_keeps_no_buffer_alive() -> None:
    threads, buffer = Threads(1, "test"), Buffer()
    watched = weakref.ref(buffer)
    await threads.start(lambda kept=buffer: None)
    del buffer
    while threads._idle == 0:
        await asyncio.sleep(0)
    gc.collect()
    assert watched() is None
    await threads.close()
