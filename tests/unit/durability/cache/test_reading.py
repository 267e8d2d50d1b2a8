"""Reads through the cache: fewer calls of the store, the same bytes; whatever happens to the cache breaks none."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from skep.chunks.layout import BLOCK_BYTES
from skep.durability.audit import Auditor
from skep.durability.options import Options
from skep.durability.service import ChunkService
from skep.durability.terms import Terms
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig

BODY = random.Random(29).randbytes(2_500_000)
GONE = Fault("any", Kind.GONE, times=None)


def options(place: Path, cache_bytes: int = 64 << 20) -> Options:
    return Options(straggler_s=0.2, repair_delay_s=0.0, cache_directory=place / "cache", cache_bytes=cache_bytes)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """One store, taken for a distant one."""
    async with open_rig(tmp_path, "none", options=options(tmp_path)) as made:
        distant(made)
        yield made


def distant(rig: Rig) -> None:
    for member in rig.chunks.stores:
        member.terms = Terms(cache=True)


def gets(rig: Rig) -> int:
    """Calls for bytes since this was asked last."""
    count = sum(verb == "get" for fault in rig.faults for verb, _ in fault.calls)
    for fault in rig.faults:
        fault.calls.clear()
    return count


async def kept(rig: Rig) -> list[Path]:
    """The files of the cache, once all are written."""
    assert rig.chunks.cache is not None
    await rig.chunks.cache.close()
    return sorted((rig.directory / "cache").rglob("*.*.*"))


async def test_what_was_read_is_not_asked_for_again(rig: Rig) -> None:
    content = await rig.put(BODY)
    gets(rig)
    assert await rig.get(content) == BODY
    assert gets(rig) > 0
    assert len(await kept(rig)) == -(-len(BODY) // BLOCK_BYTES)
    assert await rig.get(content) == BODY
    assert await rig.get(content, 1_000_000, 300_000) == BODY[1_000_000:1_300_000]
    assert gets(rig) == 0
    assert rig.chunks.cache is not None
    assert rig.chunks.cache.counters.hit_ratio > 0.5


async def test_a_part_brings_its_whole_blocks_and_no_more(rig: Rig) -> None:
    long = random.Random(30).randbytes(9_000_000)
    content = await rig.put(long)
    assert await rig.get(content, 0, 10) == long[:10]
    there = len(await kept(rig))
    assert 0 < there < -(-len(long) // BLOCK_BYTES)


async def test_only_sealed_bytes_are_kept(rig: Rig) -> None:
    content = await rig.put(BODY)
    await rig.get(content)
    for path in await kept(rig):
        raw = path.read_bytes()
        assert all(BODY[at : at + 32] not in raw for at in range(0, len(BODY) - 32, 50_000))


async def test_neighbours_that_are_read_at_once_cost_one_fetch_of_each_block(rig: Rig) -> None:
    content = await rig.put(BODY)
    rig.faults[0].script(Fault("get", Kind.SLOW, times=None, delay_s=0.05))
    parts = await asyncio.gather(*(rig.get(content) for _ in range(5)))
    assert parts == [BODY] * 5
    store = next(iter(rig.stores.values()))
    fetched = sum([info.size_bytes async for info in store.list("shards/")])
    assert rig.chunks.cache is not None
    assert gets(rig) <= 2 * fetched // BLOCK_BYTES


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


def another(path: Path) -> None:
    """The block beside it."""
    others = sorted(each for each in path.parent.iterdir() if each != path)
    path.write_bytes(others[-1].read_bytes())  # the last, which is not damaged itself


@pytest.mark.parametrize("harm", [cut, empty, flip, another])
async def test_a_damaged_block_is_dropped_and_nobody_else_blamed(rig: Rig, harm: Callable[[Path], None]) -> None:
    content = await rig.put(BODY)
    await rig.get(content)
    paths = await kept(rig)
    for path in paths[:3]:
        harm(path)
    gets(rig)
    assert await rig.get(content) == BODY
    assert gets(rig) >= 1
    assert rig.chunks.cache is not None
    assert rig.chunks.cache.counters.damaged_blocks == 3
    assert rig.chunks.queues["damage"] == 0
    assert await kept(rig) == paths
    gets(rig)
    assert await rig.get(content) == BODY
    assert gets(rig) == 0


async def test_a_directory_that_is_removed_or_becomes_a_file_breaks_no_read(rig: Rig) -> None:
    content = await rig.put(BODY)
    await rig.get(content)
    await kept(rig)
    shutil.rmtree(rig.directory / "cache")
    assert await rig.get(content) == BODY
    assert await kept(rig)
    shutil.rmtree(rig.directory / "cache")
    (rig.directory / "cache").write_text("in the way")
    assert await rig.get(content) == BODY
    assert await rig.get(content) == BODY


@pytest.mark.parametrize("harm", ["corrupt", "wipe"])
async def test_a_damaged_store_is_noticed_by_reads_through_the_cache(tmp_path: Path, harm: str) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3, options=options(tmp_path)) as rig:
        distant(rig)
        content = await rig.put(BODY)
        (pack,) = {tuple(places.stores) for places in await rig.chunks.places(rig.keys.domain_id, content.manifest)}
        await getattr(rig, harm)(int(pack[0][0][1:]))
        assert await rig.get(content) == BODY
        assert await rig.chunks.flush_damage() == 1
        assert await rig.repairer.run() == 1
        assert (await rig.check(read_data=True)).clean


async def test_what_is_cached_can_be_read_while_its_store_is_away(rig: Rig) -> None:
    content = await rig.put(BODY)
    await rig.get(content)
    await kept(rig)
    rig.faults[0].script(GONE)
    for member in rig.chunks.stores:
        for _ in range(5):
            member.back_off()
    assert await rig.get(content) == BODY


async def test_scrub_and_audits_ask_the_store(rig: Rig) -> None:
    content = await rig.put(BODY)
    await rig.get(content)
    await kept(rig)
    gets(rig)
    await rig.wipe(0)
    (member,) = rig.chunks.stores
    auditor = Auditor(rig.db, rig.chunks, rig.clock, seed=1)
    assert await auditor.audit(member) == "failed"
    assert gets(rig) == 1
    assert (await rig.scrubber.run()).missing == 1


async def test_what_is_collected_leaves_the_cache(rig: Rig) -> None:
    content = await rig.put(BODY)
    await rig.get(content)
    assert await kept(rig)
    await rig.release(content)
    await rig.collector.run()
    assert await kept(rig) == []


async def test_a_restart_finds_what_was_kept(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "ec(2,1)", stores=3, options=options(tmp_path)) as rig:
        distant(rig)
        content = await rig.put(BODY)
        await rig.get(content)
        await kept(rig)
        again = ChunkService(rig.db, rig.chunks.stores, rig.master, options(tmp_path))
        await again.start()
        assert again._loading is not None
        await again._loading
        gets(rig)
        parts = again.read(rig.keys, content.manifest)
        assert b"".join([part async for part in parts]) == BODY
        assert gets(rig) == 0
        await again.close()


async def test_rebuilt_reads_are_cached_too_and_the_limit_holds(tmp_path: Path) -> None:
    limit_bytes = 3 * (BLOCK_BYTES + 4096)
    async with open_rig(tmp_path, "ec(4,2)", stores=6, options=options(tmp_path, limit_bytes)) as rig:
        distant(rig)
        content = await rig.put(BODY)
        rig.faults[0].script(GONE)
        rig.faults[3].script(GONE)
        for _ in range(3):
            assert await rig.get(content) == BODY
        paths = await kept(rig)
        assert sum(path.stat().st_blocks * 512 for path in paths) <= limit_bytes
        assert paths


async def test_stores_of_this_machine_and_those_that_are_told_so_are_not_cached(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "none", options=options(tmp_path)) as rig:
        (member,) = rig.chunks.stores
        assert not member.cached
        member.url = "s3://bucket/prefix"
        assert member.cached
        member.terms = Terms(cache=False)
        assert not member.cached
        content = await rig.put(BODY)
        await rig.get(content)
        assert await kept(rig) == []
