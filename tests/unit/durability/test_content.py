"""Content in and out: cuts, dedup, ranges, digests, limits, groups."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.base.errors import BadInput, ChunkNotFound, InvalidRange, QuotaExceeded, ShuttingDown
from skep.base.ids import new_id
from skep.durability.catalog import ChunkVanished
from skep.durability.intake import SPACIOUS_STREAMS
from skep.durability.options import Options
from skep.stores.protocol import Buffer
from skep.testing.durable import open_rig, pieces

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 4096, 256 << 10, (256 << 10) + 1, 5 * MIB, 9 * MIB + 17])
@pytest.mark.parametrize("piece_bytes", [65_537, 3 * MIB])
async def test_what_goes_in_comes_out(tmp_path: Path, size: int, piece_bytes: int) -> None:
    async with open_rig(tmp_path) as rig:
        body = noise(size)
        content = await rig.put(body, piece_bytes=piece_bytes)
        assert content.size_bytes == content.manifest.size_bytes == size
        assert await rig.get(content) == body


async def test_the_cuts_do_not_depend_on_the_pieces(tmp_path: Path) -> None:
    body = noise(20 * MIB, 7)
    async with open_rig(tmp_path) as rig:
        manifests = {(await rig.put(body, piece_bytes=size)).manifest for size in (1000, 262_144, 20 * MIB)}
        (many,) = await rig.chunks.write_many(rig.keys, [body])
        assert manifests == {many.manifest}


async def test_the_cuts_do_not_depend_on_the_windows(tmp_path: Path) -> None:
    """Of streams at once only the first few have large windows."""
    body = noise(40 * MIB, 8)
    async with open_rig(tmp_path) as rig:
        (whole,) = await rig.chunks.write_many(rig.keys, [body])
        streams = [rig.put(body, piece_bytes=size) for size in (100_003, MIB, 5 * MIB, 40 * MIB)]
        assert {content.manifest for content in await asyncio.gather(*streams)} == {whole.manifest}


async def test_streams_that_end_in_any_way_give_back_their_place(tmp_path: Path) -> None:
    async def broken(size: int) -> AsyncIterator[Buffer]:
        async for piece in pieces(noise(size), MIB):
            yield piece
        raise RuntimeError("the source broke")

    async with open_rig(tmp_path) as rig:
        for size in (MIB, 4 * MIB, 24 * MIB):
            with pytest.raises(RuntimeError, match="the source broke"):
                await rig.chunks.write(rig.keys, broken(size))
            uploads = [asyncio.create_task(rig.put(noise(24 * MIB, seed))) for seed in range(3)]
            await asyncio.wait(uploads, return_when=asyncio.FIRST_COMPLETED)
            for upload in uploads:
                upload.cancel()
            await asyncio.wait(uploads)
        spacious = rig.chunks._intake.spacious
        assert [spacious.take() for _ in range(SPACIOUS_STREAMS + 1)] == [True] * SPACIOUS_STREAMS + [False]


async def test_known_content_stores_nothing_new(tmp_path: Path) -> None:
    body = noise(6 * MIB)
    async with open_rig(tmp_path) as rig:
        first = await rig.put(body)
        before = await rig.keys_in_stores()
        again = await rig.put(body, piece_bytes=54_321)
        assert again.manifest == first.manifest
        assert await rig.keys_in_stores() == before


async def test_content_that_is_still_on_its_way_is_shared(tmp_path: Path) -> None:
    bodies = [noise(50_000, seed % 3) for seed in range(30)]
    async with open_rig(tmp_path) as rig:
        contents = await asyncio.gather(*(rig.put(body) for body in bodies))
        assert len({content.manifest for content in contents}) == 3
        for body, content in zip(bodies, contents, strict=True):
            assert await rig.get(content) == body
        rows = await rig.chunks.places(rig.keys.domain_id, contents[0].manifest)
        assert [each.plain_bytes for each in rows] == [50_000]


async def test_an_edit_in_the_middle_adds_little(tmp_path: Path) -> None:
    body = bytearray(noise(48 * MIB))
    async with open_rig(tmp_path) as rig:
        await rig.put(body)
        body[20 * MIB : 21 * MIB] = noise(MIB, 2)
        before = rig.chunks.counters.stored_bytes
        edited = await rig.put(body)
        assert rig.chunks.counters.stored_bytes - before < 9 * MIB
        assert await rig.get(edited) == bytes(body)


async def test_bodies_that_come_some_turns_apart_share_a_group(tmp_path: Path) -> None:
    async def after(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)  # a turn of the loop, no time
        await rig.put(noise(5000, turns))

    async with open_rig(tmp_path) as rig:
        await asyncio.gather(*(after(6 * number) for number in range(8)))
        ((_,),) = await rig.keys_in_stores()


async def test_small_bodies_share_packs(tmp_path: Path) -> None:
    bodies = [noise(4096, seed) for seed in range(300)]
    async with open_rig(tmp_path) as rig:
        contents = await rig.chunks.write_many(rig.keys, bodies, digests=["sha256"])
        await rig.reference(*contents)
        assert len((await rig.keys_in_stores())[0]) == 1
        assert [each.digests["sha256"] for each in contents] == [hashlib.sha256(body).digest() for body in bodies]
        assert [await rig.get(each) for each in contents] == bodies


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (262_143, 2), (3 * MIB, 4 * MIB), (8 * MIB - 1, 1), (5, 0)])
async def test_ranges(tmp_path: Path, offset: int, length: int) -> None:
    body = noise(8 * MIB)
    async with open_rig(tmp_path, "ec(2,1)", stores=3) as rig:
        content = await rig.put(body)
        assert await rig.get(content, offset, length) == body[offset : offset + length]


async def test_a_range_reads_only_what_it_needs(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.put(noise(14 * MIB))
        rig.faults[0].calls.clear()
        await rig.get(content, 7 * MIB, 10)
        assert [verb for verb, _ in rig.faults[0].calls] == ["get"]


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, 11), (11, 0)])
async def test_a_range_outside_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.put(b"0123456789")
        with pytest.raises(InvalidRange):
            await rig.get(content, offset, length)


@pytest.mark.parametrize("size", [10_000, 9 * MIB])
async def test_digests_are_of_the_plain_bytes(tmp_path: Path, size: int) -> None:
    body = noise(size)
    async with open_rig(tmp_path) as rig:
        content = await rig.chunks.write(rig.keys, pieces(body), digests=["md5", "sha1"])
        assert content.digests == {
            "md5": hashlib.md5(body, usedforsecurity=False).digest(),
            "sha1": hashlib.sha1(body, usedforsecurity=False).digest(),
        }
        with pytest.raises(BadInput, match="crc32"):
            await rig.chunks.write(rig.keys, pieces(body), digests=["crc32"])


@pytest.mark.parametrize("size", [10_000, 9 * MIB])
async def test_a_stream_past_its_limit_is_refused(tmp_path: Path, size: int) -> None:
    async with open_rig(tmp_path) as rig:
        with pytest.raises(QuotaExceeded):
            await rig.chunks.write(rig.keys, pieces(noise(size)), limit_bytes=size - 1)
        content = await rig.chunks.write(rig.keys, pieces(noise(size)), limit_bytes=size)
        assert content.size_bytes == size


async def test_a_stream_that_breaks_leaves_only_garbage(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[Buffer]:
        yield noise(9 * MIB)
        raise ConnectionResetError("gone")

    async with open_rig(tmp_path) as rig:
        kept = await rig.put(noise(100_000, 9))
        with pytest.raises(ConnectionResetError):
            await rig.chunks.write(rig.keys, broken())
        await rig.chunks.room.drain()
        await rig.collector.run()
        assert await rig.get(kept) == noise(100_000, 9)
        assert [len(keys) for keys in await rig.keys_in_stores()] == [1]
        assert rig.chunks.leases.held == 0


async def test_a_cancelled_upload_leaves_the_service_working(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[Buffer]:
        for seed in range(1000):
            yield noise(MIB, seed)
            if seed == 12:
                started.set()
            await asyncio.sleep(0)

    async with open_rig(tmp_path, options=Options(packs_max=2)) as rig:
        task = asyncio.create_task(rig.chunks.write(rig.keys, endless()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        content = await rig.put(noise(40 * MIB, 5))
        assert await rig.get(content) == noise(40 * MIB, 5)


async def test_many_writers_with_few_packs(tmp_path: Path) -> None:
    async with open_rig(tmp_path, "raid1(2)", stores=2, options=Options(packs_max=1)) as rig:
        bodies = [noise(size * 700_000, size) for size in range(8)]
        contents = await asyncio.gather(*(rig.put(body) for body in bodies))
        assert [await rig.get(each) for each in contents] == bodies


async def test_references_are_counted(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        twice = await rig.put(noise(1000))
        await rig.reference(twice)
        await rig.release(twice)
        await rig.collector.run()
        assert await rig.get(twice) == noise(1000)
        await rig.release(twice)
        await rig.collector.run()
        with pytest.raises(ChunkNotFound):
            await rig.get(twice)
        with pytest.raises(ChunkNotFound):
            await rig.release(twice)


async def test_a_reference_to_a_collected_chunk_fails(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        content = await rig.chunks.write(rig.keys, pieces(noise(1000)))
        await rig.collector.run()
        with pytest.raises(ChunkVanished):
            await rig.reference(content)
        rig.held.clear()


async def test_a_lease_keeps_what_was_written_from_collection(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        with rig.chunks.writing():
            content = await rig.chunks.write(rig.keys, pieces(noise(1000)))
            await rig.collector.run()
            await rig.reference(content)
        await rig.collector.run()
        assert await rig.get(content) == noise(1000)


async def test_a_condemned_chunk_is_stored_anew(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        first = await rig.put(noise(1000))
        await rig.release(first)
        with rig.chunks.leases.hold():  # somebody reads: the chunk is condemned and stays
            await rig.collector.run()
            before = rig.chunks.counters.stored_bytes
            again = await rig.put(noise(1000))
            assert rig.chunks.counters.stored_bytes - before > 1000
        await rig.collector.run()
        assert await rig.get(again) == noise(1000)
        assert [len(keys) for keys in await rig.keys_in_stores()] == [1]


async def test_nothing_is_taken_after_closing(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.chunks.close()
        with pytest.raises(ShuttingDown):
            await rig.put(b"late")


async def test_hive_wide_dedup_shares_one_domain(tmp_path: Path) -> None:
    async with open_rig(tmp_path, options=Options(sharing="hive")) as rig:
        domain_id = await rig.db.write(lambda tx: rig.chunks.create_domain(tx, new_id()))
        assert domain_id == rig.keys.domain_id


async def test_accounts_have_domains_of_their_own(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        domain_id = await rig.db.write(lambda tx: rig.chunks.create_domain(tx, new_id()))
        other = await rig.chunks.domain(domain_id)
        mine = await rig.put(noise(1000))
        before = rig.chunks.counters.stored_bytes
        theirs = await rig.chunks.write(other, pieces(noise(1000)))
        assert rig.chunks.counters.stored_bytes - before > 1000
        assert theirs.manifest.chunks[0].id != mine.manifest.chunks[0].id
