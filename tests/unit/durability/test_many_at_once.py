"""Many long reads and writes at once: what they hold together, and that all of them come through."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from skep.base.errors import StoreUnavailable
from skep.durability.intake import CROWD_STREAMS
from skep.durability.options import Options
from skep.durability.readmemory import CROWD_READERS, PART_BYTES_MIN, STRETCH_BYTES
from skep.durability.records import Content
from skep.stores.wrappers.fault import Fault, Kind
from skep.testing.durable import Rig, open_rig

MIB = 1 << 20
BUDGET = 2 * MIB
READERS = CROWD_READERS + 2


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def reading(rig: Rig, content: Content, offset: int = 0) -> AsyncGenerator[bytes, None]:
    length = content.size_bytes - offset
    return rig.chunks.reader.read(rig.keys, content.manifest, offset, length)  # type: ignore[return-value]


async def test_slow_readers_together_hold_little(tmp_path: Path) -> None:
    body = noise(2 * MIB)
    async with open_rig(tmp_path, options=Options(read_ahead_bytes=BUDGET)) as rig:
        content, memory = await rig.put(body), rig.chunks.reader.memory
        readers = [reading(rig, content, number) for number in range(READERS)]
        found = [bytearray() for _ in readers]
        for reader, taken in zip(readers, found, strict=True):
            taken += await anext(reader)
        assert memory.readers == READERS
        going = True
        while going:
            parts = [await anext(reader, b"") for reader in readers]
            assert max(map(len, parts)) <= PART_BYTES_MIN
            assert memory.held_bytes <= BUDGET + READERS * STRETCH_BYTES
            for taken, part in zip(found, parts, strict=True):
                taken += part
            going = any(parts)
        assert [len(taken) for taken in found] == [len(body) - number for number in range(READERS)]
        assert all(taken == body[number:] for number, taken in enumerate(found))
        assert (memory.held_bytes, memory.readers) == (0, 0)
        assert max([len(part) async for part in reading(rig, content)]) == BUDGET // 8


async def test_a_reader_that_leaves_gives_back_what_it_held(tmp_path: Path) -> None:
    async with open_rig(tmp_path, options=Options(read_ahead_bytes=BUDGET)) as rig:
        content, memory = await rig.put(noise(7 * MIB)), rig.chunks.reader.memory
        for count in (0, 1, 3):
            async with aclosing(reading(rig, content)) as parts:
                for _ in range(count):
                    await anext(parts)
                assert not count or memory.held_bytes > 0
            assert (memory.held_bytes, memory.readers) == (0, 0)
        async with aclosing(reading(rig, content)) as parts:
            await anext(parts)
            last = asyncio.ensure_future(anext(parts))
            await asyncio.sleep(0)
            last.cancel()
            await asyncio.wait([last])
        assert (memory.held_bytes, memory.readers) == (0, 0)


async def test_a_store_that_goes_away_under_slow_readers(tmp_path: Path) -> None:
    """Who kept only a stretch of a chunk cannot open it again, says so, and holds nothing."""
    async with open_rig(tmp_path, options=Options(read_ahead_bytes=1, read_timeout_s=5.0)) as rig:
        content, memory = await rig.put(noise(7 * MIB)), rig.chunks.reader.memory
        async with aclosing(reading(rig, content)) as parts:
            await anext(parts)
            rig.faults[0].script(Fault("any", Kind.GONE, times=None))
            with pytest.raises(StoreUnavailable):
                async for _ in parts:
                    pass
        assert (memory.held_bytes, memory.readers) == (0, 0)


async def test_streams_in_a_crowd_are_cut_as_ever(tmp_path: Path) -> None:
    body = noise(9 * MIB + 17, 3)
    async with open_rig(tmp_path) as rig:
        (whole,) = await rig.chunks.write_many(rig.keys, [body])
        sizes = [100_003 + 7_919 * number for number in range(CROWD_STREAMS + 4)]
        contents = await asyncio.gather(*(rig.put(body, piece_bytes=size) for size in sizes))
        assert {content.manifest for content in contents} == {whole.manifest}
        assert rig.chunks._intake.streams == 0
        assert await rig.get(contents[0]) == body
