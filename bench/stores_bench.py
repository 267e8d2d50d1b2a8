"""How fast the ``fs`` store is, beside the same system calls from plain threads.

Run: ``PYTHONPATH=src python bench/stores_bench.py [DIRECTORY]``.

Medians of three on 2 cores shared with a load of 5 to 7, ext4, 16 threads, CPython 3.11; in brackets plain threads in
the same run. On such a machine single figures vary by half and the disk's speed by five; the ratios hold.

    put 4 KiB            1 at once    560/s (830)           16 at once  2,300 to 3,400/s (1,400 to 4,200)
    put 8 MiB            1 at once    300 MB/s (270)
    put 16 MiB           1 at once    250 MB/s (250)         4 at once    470 MB/s (480); up to 1,250 in bursts
    get 4 KiB, cached    1 at once  104,000/s               through a thread:  4,400/s
    get 256 KiB, cached  1 at once   19,000/s               through a thread:  2,200/s

CPU of a 4 KiB put at 16 at once: 160 to 200 µs in the kernel, whatever the way, and in Python 25 µs in plain threads,
45 in the store's threads, 75 with the hop from the event loop (120 to 160 with the standard thread pool).

Why it is as it is, from the same calls in plain threads when the machine was idle (4 KiB, durable):

    way                                                           1 at once   16 at once
    O_TMPFILE, fdatasync, linkat, fsync of the directory             1,770/s      3,600/s
    the same, made in the target directory                           1,450/s      3,770/s    taken
    named temp, fdatasync, rename, fsync of the directory            1,150/s      3,770/s    where O_TMPFILE is missing
    named temp in the target directory                               1,230/s      4,300/s
    without the fsync of the directory (not durable)                 1,740/s      4,300/s
    all 16 into one directory instead of 256                                      3,400 to 4,100/s

- O_TMPFILE wins alone, ties at 16, and leaves nothing behind when killed.
- One fsync of a directory for several puts could gain at most the distance to the row without any, some 15 %: the
  journal of the filesystem already joins the syncs that wait at once. So we do not queue them ourselves.
- A small read of what is in the page cache is done at once on the event loop (RWF_NOWAIT, 7 µs of CPU for 4 KiB, 40 for
  256 KiB); the hop to a thread and back alone costs 50 µs of CPU. What is not in memory goes to a thread.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from skep.stores.drivers.fs import FsConfig, FsStore

ROUNDS = 3
_numbers = itertools.count()


def new_key() -> str:
    return f"shards/{random.randbytes(32).hex()}.{next(_numbers) % 6}"


async def at_once(count: int, width: int, call: Callable[[], Awaitable[object]]) -> float:
    """Seconds for ``count`` calls, ``width`` of them in flight."""

    async def runner() -> None:
        for _ in range(count // width):
            await call()

    started_s = time.perf_counter()
    await asyncio.gather(*(runner() for _ in range(width)))
    return time.perf_counter() - started_s


def plain_put(root: Path, fans: list[int], body: bytes) -> None:
    """What a put has to do at least: write, sync, name, sync the directory."""
    name = random.randbytes(32).hex()
    fan = fans[int(name[:2], 16)]
    fd = os.open(root, os.O_TMPFILE | os.O_WRONLY, 0o600)
    os.write(fd, body)
    os.fdatasync(fd)
    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=fan)
    os.fsync(fan)
    os.close(fd)


def plain_puts(root: Path, count: int, width: int, body: bytes) -> float:
    """Seconds for the same from plain threads."""
    fans = []
    for number in range(256):
        (root / "plain" / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        fans.append(os.open(root / "plain" / f"{number:02x}", os.O_RDONLY | os.O_DIRECTORY))
    os.sync()  # the directories are not what is measured
    with ThreadPoolExecutor(width) as pool:
        started_s = time.perf_counter()
        for done in [pool.submit(plain_put, root, fans, body) for _ in range(count)]:
            done.result()
        took_s = time.perf_counter() - started_s
    for fd in fans:
        os.close(fd)
    return took_s


async def puts(store: FsStore, count: int, width: int, body: bytes) -> float:
    return await at_once(count, width, lambda: store.put(new_key(), [body]))


async def measure(root: Path) -> None:
    store = FsStore(FsConfig(root / "store"))
    large = random.randbytes(16 << 20)
    await puts(store, 2_000, 16, large[:4096])  # every directory is made and known now
    for size_bytes, width, count in (
        (4 << 10, 1, 500),
        (4 << 10, 16, 2_000),
        (8 << 20, 1, 8),
        (16 << 20, 1, 8),
        (16 << 20, 4, 8),
    ):
        rates: dict[bool, list[float]] = {True: [], False: []}
        for ours in (True, False, False, True, True, False):  # a disk with a budget of bursts favours who comes first
            body = large[:size_bytes]
            took_s = await puts(store, count, width, body) if ours else plain_puts(root, count, width, body)
            rates[ours].append(count / took_s if size_bytes < 1 << 20 else count * size_bytes / took_s / 1e6)
        unit = "/s" if size_bytes < 1 << 20 else " MB/s"
        show(f"put {size_bytes >> 10} KiB, {width} at once", rates[True], rates[False], unit, "threads")
    await measure_gets(store, large)
    await store.close()


async def measure_gets(store: FsStore, large: bytes) -> None:
    keys = [new_key() for _ in range(16)]
    for key in keys:
        await store.put(key, [large])
    for size_bytes, width in ((4 << 10, 1), (4 << 10, 16), (256 << 10, 1), (256 << 10, 16), (4 << 20, 4)):

        def get(size_bytes: int = size_bytes) -> Awaitable[object]:
            return store.get(
                random.choice(keys), random.randrange((len(large) - size_bytes) // 4096 + 1) * 4096, size_bytes
            )

        count = 400 if size_bytes > 1 << 20 else 3_200
        ours = [count / await at_once(count, width, get) for _ in range(ROUNDS)]
        name = f"{size_bytes >> 10} KiB" if size_bytes < 1 << 20 else f"{size_bytes >> 20} MiB"
        show(f"get {name} cached, {width} at once", ours, [rate * size_bytes / 1e6 for rate in ours], "/s", "MB/s")


def show(name: str, ours: list[float], other: list[float], unit: str, other_name: str) -> None:
    print(f"{name:28} {statistics.median(ours):9.0f}{unit}   ({other_name} {statistics.median(other):.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path())
    root = Path(tempfile.mkdtemp(prefix="skep-bench-", dir=parser.parse_args().directory))
    try:
        asyncio.run(measure(root))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
