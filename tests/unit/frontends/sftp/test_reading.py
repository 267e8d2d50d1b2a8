"""Reads at offsets out of a stream."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

from skep.frontends.sftp.reading import BEHIND_BYTES, PROBE_BYTES, SKIP_BYTES, Reader

DATA = random.Random(7).randbytes(12 << 20)


class Content:
    """A version in memory that counts the streams which were begun."""

    size_bytes = len(DATA)

    def __init__(self) -> None:
        self.begun: list[tuple[int, int | None]] = []

    async def read(self, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.begun.append((offset, length))
        end = self.size_bytes if length is None else min(self.size_bytes, offset + length)
        for start in range(offset, end, 256 << 10):
            yield DATA[start : min(start + (256 << 10), end)]


def reader() -> tuple[Reader, Content]:
    content: Any = Content()
    return Reader(content), content


async def test_reading_in_order_is_one_stream_and_little_memory() -> None:
    under, content = reader()
    for offset in range(0, len(DATA), 32_768):
        assert await under.read(offset, 32_768) == DATA[offset : offset + 32_768]
        assert len(under._kept) <= 3 * BEHIND_BYTES
    assert await under.read(len(DATA), 10) == b""
    assert content.begun == [(0, None)]


async def test_requests_in_a_slightly_other_order_do_not_begin_anew() -> None:
    under, content = reader()
    offsets = list(range(0, 4 << 20, 32_768))
    for at in range(1, len(offsets) - 3, 4):
        offsets[at : at + 4] = [offsets[at + 2], offsets[at], offsets[at + 3], offsets[at + 1]]
    for offset in offsets:
        assert await under.read(offset, 32_768) == DATA[offset : offset + 32_768]
    assert content.begun == [(0, None)]


async def test_a_jump_reads_little_until_it_goes_on_from_there() -> None:
    under, content = reader()
    await under.read(0, 100)
    far = SKIP_BYTES * 2
    assert await under.read(far, 100) == DATA[far : far + 100]
    assert content.begun[-1] == (far, PROBE_BYTES)
    assert await under.read(far + PROBE_BYTES, 100) == DATA[far + PROBE_BYTES : far + PROBE_BYTES + 100]
    assert content.begun[-1][1] is None


async def test_random_reads_are_right() -> None:
    under, _ = reader()
    chance = random.Random(3)
    for _ in range(300):
        offset, length = chance.randrange(len(DATA) + 10), chance.randrange(1, 200_000)
        assert await under.read(offset, length) == DATA[offset : offset + length]
    await under.close()
