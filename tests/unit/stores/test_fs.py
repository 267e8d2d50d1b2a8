from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.base.errors import Conflict, CorruptRecord, ObjectNotFound, StoreFull, StoreReadOnly, StoreUnavailable
from skep.base.ids import new_id
from skep.stores.drivers.fs import FsConfig, FsStore
from skep.stores.drivers.fs.cached_open import _openat2, open_cached
from skep.stores.identity import claimable
from skep.stores.stack import stacked
from skep.testing.clock import FakeClock


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FsStore]:
    opened = FsStore(FsConfig(tmp_path / "disk", threads=4))
    yield opened
    await opened.close()


async def keys_of(store: FsStore, prefix: str = "", after: str = "") -> list[str]:
    return [info.key async for info in store.list(prefix, after)]


async def test_the_layout_is_the_documented_one(store: FsStore, tmp_path: Path) -> None:
    await store.put("shards/9f3c.2", [b"value"])
    await store.put("x", [b""])
    files = sorted(str(path.relative_to(tmp_path / "disk")) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["objects/shards/9f+/9f3c.2", "objects/x+/x"]


async def test_a_key_and_its_continuations_live_side_by_side_in_order(store: FsStore) -> None:
    keys = [
        "a",
        "a-",
        "a.b",
        "a/b",
        "a/b/c",
        "a/b-c",
        "a0",
        "a_b",
        "aa",
        "ab-",
        "ab.",
        "ab/x",
        "ab/xy",
        "ab0",
        "abx",
        "b",
    ]
    for key in random.Random(1).sample(keys, len(keys)):
        await store.put(key, [key.encode()])
    assert await keys_of(store) == sorted(keys)
    for bound in [*keys, "a/", "ab", "a/b/", "zz"]:
        assert await keys_of(store, prefix=bound) == [key for key in sorted(keys) if key.startswith(bound)]
        assert await keys_of(store, after=bound) == [key for key in sorted(keys) if key > bound]
    await store.delete("a")
    assert await store.get("a/b") == b"a/b"


async def test_an_unclaimed_missing_root_is_unavailable_to_reads_and_made_by_a_put(
    store: FsStore, tmp_path: Path
) -> None:
    for call in (store.get("a"), store.stat("a"), store.usage(), store.identity(), store.delete("a")):
        with pytest.raises(StoreUnavailable):
            await call
    assert not (tmp_path / "disk").exists()
    await store.put("a", [b"1"])
    assert await store.get("a") == b"1"


async def test_an_empty_directory_is_an_empty_store_and_reading_leaves_it_empty(store: FsStore, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with pytest.raises(ObjectNotFound):
        await store.get("a")
    assert await keys_of(store) == []
    assert await store.identity() is None
    assert (await store.usage()).used_bytes == 0
    assert list((tmp_path / "disk").iterdir()) == []


async def test_used_bytes_follow_puts_overwrites_and_deletes(store: FsStore, tmp_path: Path) -> None:
    await store.put("early", [b"x" * 100])
    assert (await store.usage()).used_bytes == 100
    await store.put("a/b", [b"x" * 1000])
    await store.put("a/b", [b"x" * 10])
    await store.put("c", [b"x" * 5])
    await store.delete("c")
    await store.delete("c")
    assert (await store.usage()).used_bytes == 110
    again = FsStore(FsConfig(tmp_path / "disk"))
    assert (await again.usage()).used_bytes == 110
    await again.close()


async def test_capacity_is_kept_also_after_reopening(tmp_path: Path) -> None:
    config = FsConfig(tmp_path / "disk", capacity_bytes=1000)
    first = FsStore(config)
    await first.put("a", [b"x" * 900])
    await first.close()
    second = FsStore(config)
    with pytest.raises(StoreFull):
        await second.put("b", [b"x" * 101])
    await second.put("b", [b"x" * 100])
    assert (await second.usage()).free_bytes == 0
    await second.put("a", [b"y" * 900])
    await second.put("a", [b"y" * 800])
    assert (await second.usage()).free_bytes == 100
    await second.close()


async def test_a_removed_root_is_noticed_and_not_mistaken_for_an_empty_store(store: FsStore, tmp_path: Path) -> None:
    await store.claim(new_id(), new_id())
    await store.put("shards/aa.0", [b"x"])
    (tmp_path / "disk").rename(tmp_path / "away")
    (tmp_path / "disk").mkdir()  # the mount point under an unmounted disk
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.stat("shards/bb.0")
    with pytest.raises(StoreUnavailable):
        await store.put("shards/cc.0", [b"x"])
    assert list((tmp_path / "disk").iterdir()) == []
    (tmp_path / "disk").rmdir()
    (tmp_path / "away").rename(tmp_path / "disk")
    assert await store.get("shards/aa.0") == b"x"


async def test_claims(store: FsStore, tmp_path: Path) -> None:
    hive_id, store_id = new_id(), new_id()
    claimed = await store.claim(hive_id, store_id)
    assert await store.claim(hive_id, store_id) == claimed == await store.identity()
    with pytest.raises(Conflict, match="another hive"):
        await store.claim(new_id(), store_id)
    with pytest.raises(Conflict, match="already is store"):
        await store.claim(hive_id, new_id())
    marker = tmp_path / "disk" / "skep-store.json"
    marker.write_bytes(marker.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(CorruptRecord, match="newer Skep"):
        await store.identity()
    marker.write_bytes(b"{")
    with pytest.raises(CorruptRecord, match="damaged"):
        await store.identity()


async def test_claimable_looks_through_wrappers(store: FsStore) -> None:
    wrapped = stacked(store, clock=FakeClock(), random=random.Random(1))
    assert claimable(wrapped) is store


async def test_leftovers_of_killed_puts_are_swept_and_only_those(tmp_path: Path) -> None:
    config = FsConfig(tmp_path)
    first = FsStore(config)
    await first.put("a", [b"1"])
    temp = tmp_path / "temp"
    (temp / f"put-{'0' * 32}").write_bytes(b"torn")
    (temp / "a letter").write_bytes(b"mine")
    beside = FsStore(config)
    assert await beside.get("a") == b"1"
    assert len(list(temp.iterdir())) == 2, "somebody else has the store open: its temps are not ours to sweep"
    await beside.close()
    await first.close()
    again = FsStore(config)
    assert await again.get("a") == b"1"
    assert [path.name for path in temp.iterdir()] == ["a letter"]
    await again.close()


async def test_open_files_are_few_and_never_stale(tmp_path: Path) -> None:
    store = FsStore(FsConfig(tmp_path, open_files=4, open_directories=4, threads=4))
    for number in range(40):
        await store.put(f"{number:02d}", [b"old"])
        assert await store.get(f"{number:02d}") == b"old"
    before = len(os.listdir("/proc/self/fd"))
    for number in range(40):
        await store.get(f"{number:02d}")
    assert len(os.listdir("/proc/self/fd")) <= before
    for number in range(30, 40):
        await store.put(f"{number:02d}", [b"newer"])
        assert await store.get(f"{number:02d}") == b"newer"
        await store.delete(f"{number:02d}")
        with pytest.raises(ObjectNotFound):
            await store.get(f"{number:02d}")
    await store.close()


async def test_small_ranges_of_known_files_are_at_hand(store: FsStore, tmp_path: Path) -> None:
    assert store.get_ready("aa", 0, 1) is None
    await store.put("aa", [b"0123456789"])
    calls: list[str] = []
    store._threads.start = lambda call: calls.append("thread")  # type: ignore[assignment, method-assign]
    found = store.get_ready("aa", 2, 3)
    if _openat2 is not None:
        assert found == b"234"
    assert store.get_ready("aa", 8, 3) is None
    assert store.get_ready("aa", 0, 1 << 20) is None
    assert store.get_ready("../temp", 0, 1) is None
    assert store.get_ready("../../../etc/hostname", 0, 1) is None
    assert calls == []


async def test_memory_is_filled_in_any_thread_with_what_is_known(store: FsStore) -> None:
    content = bytes(range(256)) * 4096
    first, hole, last = bytearray(500_000), bytearray(32), bytearray(300_000)
    views = [memoryview(first), memoryview(hole), memoryview(last)]
    fill = store.filling().fill
    assert not fill("aa", 0, views)
    await store.put("aa", [content])
    await store.get("aa")  # now it is in memory
    if await asyncio.to_thread(fill, "aa", 5, views):
        assert first == content[5:500_005]
        assert hole == content[500_005:500_037]
        assert last == content[500_037:800_037]
    assert not fill("aa", len(content) - 800_000, views)
    assert not fill("bb", 0, views)
    assert not fill("../temp", 0, views)
    await store.delete("aa")
    assert not fill("aa", 5, views)


async def test_a_closed_store_has_nothing_at_hand(tmp_path: Path) -> None:
    store = FsStore(FsConfig(tmp_path))
    await store.put("aa", [b"1"])
    assert await store.get("aa", 0, 1) == b"1"
    await store.close()
    assert store.get_ready("aa", 0, 1) is None
    assert not store.filling().fill("aa", 0, [memoryview(bytearray(1))])


@pytest.mark.skipif(_openat2 is None, reason="this kernel cannot open only what is known: needs Linux 5.12")
def test_a_file_is_opened_at_once_only_below_its_directory(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").write_bytes(b"here")
    (tmp_path / "out").write_bytes(b"not for you")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    directory = os.open(tmp_path / "in", os.O_RDONLY)
    try:
        fd = open_cached("deep/file", directory)
        assert os.pread(fd, 10, 0) == b"here"
        assert not os.get_inheritable(fd)
        os.close(fd)
        for name in ("deep/other", "../out", "link", "deep/../../out", str(tmp_path / "out")):
            assert open_cached(name, directory) == -1, name
    finally:
        os.close(directory)


async def test_closing_gives_every_descriptor_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store = FsStore(FsConfig(tmp_path))
    for number in range(20):
        await store.put(f"a/{number:02d}", [b"x"])
        await store.get(f"a/{number:02d}")
    listing = store.list()
    await anext(listing)
    await listing.aclose()  # type: ignore[attr-defined]
    await store.close()
    assert len(os.listdir("/proc/self/fd")) <= before
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get("a/00")


async def test_a_directory_removed_under_us_costs_one_failed_put(store: FsStore, tmp_path: Path) -> None:
    await store.put("aa", [b"1"])
    (tmp_path / "disk/objects/aa+/aa").unlink()
    (tmp_path / "disk/objects/aa+").rmdir()
    with pytest.raises(StoreUnavailable):
        await store.put("aa", [b"2"])
    await store.put("aa", [b"2"])
    assert await store.get("aa") == b"2"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_that_is_not_ours_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    store = FsStore(FsConfig(tmp_path))
    with pytest.raises(StoreReadOnly):
        await store.put("a", [b"1"])
    tmp_path.chmod(0o700)
    await store.close()
