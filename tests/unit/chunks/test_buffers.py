from __future__ import annotations

import threading

from skep.chunks.buffers import BufferPool, is_unseen, release_views

SIZE = 1 << 16


def test_a_buffer_comes_back_once_nothing_looks_into_it() -> None:
    pool = BufferPool()
    buffer = pool.take(SIZE)
    view = memoryview(buffer)[10:20]
    assert not is_unseen(buffer)
    pool.give(buffer)
    assert pool.free_bytes == 0
    view.release()
    pool.give(buffer)
    assert pool.free_bytes == SIZE
    assert pool.take(SIZE) is buffer
    assert pool.take(SIZE) is not buffer


def test_buffers_are_kept_by_size_and_up_to_a_limit() -> None:
    pool = BufferPool(free_bytes_max=2 * SIZE)
    buffers = [pool.take(SIZE) for _ in range(3)]
    for buffer in buffers:
        pool.give(buffer)
    assert pool.free_bytes == 2 * SIZE
    assert len(pool.take(2 * SIZE)) == 2 * SIZE
    assert pool.free_bytes == 2 * SIZE
    pool.trim()
    assert pool.free_bytes == 0


def test_views_are_released_except_those_in_use() -> None:
    backing = bytearray(10)
    free, used = memoryview(backing)[:5], memoryview(backing)[5:]
    holder = memoryview(used)  # an export of the view itself keeps it
    with memoryview(used):
        views = [free, used]
        release_views(views)
    assert views == []
    holder.release()
    try:
        len(free)
    except ValueError:
        return
    raise AssertionError("a released view still answers")


def test_threads_never_get_one_buffer_twice() -> None:
    pool = BufferPool()
    clashes = []

    def work(mark: int) -> None:
        for _ in range(300):
            buffer = pool.take(SIZE)
            buffer[0] = mark
            buffer[SIZE - 1] = mark
            if buffer[0] != mark or buffer[SIZE - 1] != mark:
                clashes.append(mark)
            pool.give(buffer)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not clashes
    assert SIZE <= pool.free_bytes <= 4 * SIZE
