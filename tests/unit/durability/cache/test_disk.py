"""The directory of the read cache: its limit holds whatever happens, and no failure of the disk is raised."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.durability.cache.disk import PAGE_BYTES, REST_S, CacheDisk, block_name, footprint_bytes
from skep.durability.cache.order import PROTECTED_PART, SegmentedOrder
from skep.testing.clock import FakeClock

BLOCK = random.Random(3).randbytes(10_000)
ROOM = footprint_bytes(len(BLOCK))


def name(number: int) -> str:
    return block_name(bytes([number % 256]) * 32, 1, number)


def opened(place: Path, blocks: int = 4, clock: FakeClock | None = None, **options: int) -> CacheDisk:
    disk = CacheDisk(place / "cache", blocks * ROOM, clock or FakeClock(), **options)
    disk.load()
    return disk


def taken(place: Path) -> int:
    """What the files of a cache take of the disk, by the kernel's count."""
    return sum(path.lstat().st_blocks * 512 for path in (place / "cache").rglob("*") if path.is_file())


def test_what_is_kept_is_there_and_private(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    assert disk.write(name(1), BLOCK)
    assert not disk.write(name(1), BLOCK)
    assert disk.read(name(1)) == BLOCK
    assert disk.read(name(2)) is None
    assert [oct(path.stat().st_mode & 0o777) for path in sorted((tmp_path / "cache").rglob("*"))] == ["0o700", "0o600"]


def test_the_limit_holds_and_what_was_read_twice_stays(tmp_path: Path) -> None:
    disk = opened(tmp_path, 4)
    disk.write(name(0), BLOCK)
    disk.read(name(0))
    for number in range(1, 20):
        assert disk.write(name(number), BLOCK)
        assert taken(tmp_path) <= disk.used_bytes <= disk.limit_bytes
    assert disk.read(name(0)) == BLOCK
    assert disk.evicted_blocks == 16
    assert not disk.write(name(30), bytes(5 * ROOM))


def test_the_limit_holds_while_several_threads_write(tmp_path: Path) -> None:
    disk = opened(tmp_path, 3)
    with ThreadPoolExecutor(6) as threads:
        kept = list(threads.map(lambda number: disk.write(name(number), BLOCK), range(300)))
    assert any(kept)
    assert taken(tmp_path) == disk.used_bytes <= disk.limit_bytes


def test_nothing_is_kept_before_it_is_known_what_is_there(tmp_path: Path) -> None:
    assert not CacheDisk(tmp_path / "cache", 1 << 20, FakeClock()).write(name(1), BLOCK)


def test_a_restart_finds_it_and_a_smaller_limit_cuts_it_down(tmp_path: Path) -> None:
    first = opened(tmp_path, 8)
    for number in range(8):
        first.write(name(number), BLOCK)
        os.utime(tmp_path / "cache" / name(number)[:2] / name(number), ns=(number, number))
    again = opened(tmp_path, 8)
    assert [again.read(name(number)) for number in range(8)] == [BLOCK] * 8
    less = opened(tmp_path, 3)
    assert [number for number in range(8) if less.has(name(number))] == [5, 6, 7]
    assert taken(tmp_path) <= 3 * ROOM
    assert opened(tmp_path, 0).used_bytes == taken(tmp_path) == 0


def test_what_a_crash_left_half_written_goes_and_strangers_stay(tmp_path: Path) -> None:
    opened(tmp_path).write(name(1), BLOCK)
    folder = tmp_path / "cache" / name(1)[:2]
    (folder / "temp-7").write_bytes(BLOCK)
    (folder / "notes.txt").write_text("mine")
    opened(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["notes.txt", name(1)])


def test_files_that_vanish_are_not_there(tmp_path: Path) -> None:
    disk = opened(tmp_path)
    disk.write(name(1), BLOCK)
    shutil.rmtree(tmp_path / "cache")
    assert disk.read(name(1)) is None
    assert disk.used_bytes == 0
    assert disk.write(name(1), BLOCK)
    assert disk.read(name(1)) == BLOCK


async def test_a_disk_that_refuses_is_left_alone_for_a_while(tmp_path: Path) -> None:
    clock = FakeClock()
    (tmp_path / "cache").write_text("no directory")
    disk = opened(tmp_path, clock=clock)
    assert not disk.write(name(1), BLOCK)
    (tmp_path / "cache").unlink()
    assert not disk.write(name(1), BLOCK)
    await clock.advance(REST_S + 1)
    assert disk.write(name(1), BLOCK)
    assert (disk.refused_writes, disk.used_bytes) == (1, ROOM)


def test_what_others_need_of_the_disk_is_left(tmp_path: Path) -> None:
    disk = opened(tmp_path, reserve_bytes=1 << 60)
    assert not disk.write(name(1), BLOCK)
    assert (disk.used_bytes, taken(tmp_path)) == (0, 0)


_ENDLESS = """
import sys, itertools
from pathlib import Path
from skep.base.clock import SystemClock
from skep.durability.cache.disk import CacheDisk, block_name
disk = CacheDisk(Path(sys.argv[1]), int(sys.argv[2]), SystemClock())
disk.load()
print("on", flush=True)
for number in itertools.count():
    disk.write(block_name(number.to_bytes(32, "big"), 0, number), number.to_bytes(4, "big") * 20_000)
"""


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_is_within_its_limit_and_whole(tmp_path: Path, seed: int) -> None:
    limit_bytes = 40 * footprint_bytes(80_000)
    writer = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, str(tmp_path / "cache"), str(limit_bytes)], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"on\n"
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(random.Random(seed).uniform(0.05, 0.4))
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert taken(tmp_path) <= limit_bytes
    disk = CacheDisk(tmp_path / "cache", limit_bytes, FakeClock())
    disk.load()
    assert len(disk) > 0
    for path in (tmp_path / "cache").rglob("*.*.*"):
        number = int(path.name.rpartition(".")[2])
        assert disk.read(path.name) == number.to_bytes(4, "big") * 20_000
    assert not list((tmp_path / "cache").rglob("temp-*"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "touch", "remove", "evict"]), st.integers(0, 12)), max_size=80))
def test_the_order_counts_right_and_protects_a_part(steps: list[tuple[str, int]]) -> None:
    order, known = SegmentedOrder(100), dict[str, int]()
    for verb, number in steps:
        if verb == "add":
            order.add(str(number), number + 1)
            known[str(number)] = number + 1
        elif verb == "touch":
            order.touch(str(number))
        elif verb == "remove":
            assert order.remove(str(number)) == known.pop(str(number), 0)
        elif (first := order.first()) is not None:
            assert order.remove(first) == known.pop(first)
        assert order.used_bytes == sum(known.values())
        assert len(order) == len(known)
        assert all(each in order for each in known)
        assert order._protected_bytes == sum(order._protected.values()) <= 100 * PROTECTED_PART
    assert (order.first() is None) == (not known)


def test_pages_are_counted() -> None:
    assert [footprint_bytes(size) for size in (0, 1, PAGE_BYTES, PAGE_BYTES + 1)] == [4096, 4096, 4096, 8192]
