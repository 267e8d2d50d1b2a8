"""Large values past the page cache: every length, refusals, and short writes."""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from skep.stores.drivers.fs.calls import Calls
from skep.stores.drivers.fs.config import FsConfig
from skep.stores.drivers.fs.direct import BOUNCE_BYTES, DIRECT_BYTES_MIN
from skep.stores.drivers.fs.store import FsStore
from skep.stores.protocol import Buffer

SIZES = [DIRECT_BYTES_MIN - 1, DIRECT_BYTES_MIN, DIRECT_BYTES_MIN + 1, BOUNCE_BYTES, BOUNCE_BYTES + 4097]


class Recording(Calls):
    """Notes what is asked of O_DIRECT; may refuse it, or write only a block at a time."""

    def __init__(self, refuse_at: str = "", short: bool = False) -> None:
        self.refuse_at = refuse_at
        self.short = short
        self.direct_fds: set[int] = set()
        self.direct_bytes = 0

    def set_direct(self, fd: int, on: bool) -> None:
        if on and self.refuse_at == "open":
            raise OSError(errno.EINVAL, "refused")
        self.direct_fds = {fd} if on else set()
        if self.refuse_at != "write":
            super().set_direct(fd, on)

    def write(self, fd: int, parts: Sequence[Buffer]) -> int:
        if fd not in self.direct_fds:
            return super().write(fd, parts)
        if self.refuse_at == "write":
            raise OSError(errno.EINVAL, "refused")
        written = super().write(fd, [memoryview(parts[0])[:65536]] if self.short else parts)
        self.direct_bytes += written
        return written


def pieces(body: bytes) -> list[Buffer]:
    """As a shard comes: parts of odd lengths, one of them empty."""
    cut = len(body) // 3
    return [body[:64], b"", memoryview(body)[64:cut], bytearray(body[cut : cut + 32]), body[cut + 32 :]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("short", [False, True])
async def test_every_byte_and_no_more(tmp_path: Path, size: int, short: bool) -> None:
    calls = Recording(short=short)
    store = FsStore(FsConfig(tmp_path), calls)
    body = random.Random(size).randbytes(size)
    await store.put("k", pieces(body))
    assert (await store.stat("k")).size_bytes == size
    assert await store.get("k") == body
    await store.put("k", [body[::-1]])
    assert await store.get("k", size - 10) == body[::-1][-10:]
    await store.close()


@pytest.mark.parametrize("refuse_at", ["open", "write"])
async def test_a_refusal_is_remembered_and_the_value_written_as_usual(tmp_path: Path, refuse_at: str) -> None:
    calls = Recording(refuse_at)
    store = FsStore(FsConfig(tmp_path), calls)
    body = random.Random(1).randbytes(3 * DIRECT_BYTES_MIN + 5)
    for key in ("a", "b"):
        await store.put(key, pieces(body))
        assert await store.get(key) == body
    assert calls.direct_bytes == 0
    await store.close()


async def test_a_failing_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    class Failing(Recording):
        def write(self, fd: int, parts: Sequence[Buffer]) -> int:
            raise OSError(errno.ENOSPC, "full")

    store = FsStore(FsConfig(tmp_path), Failing())
    with pytest.raises(Exception, match="full"):
        await store.put("k", [bytes(2 * DIRECT_BYTES_MIN)])
    assert [info async for info in store.list()] == []
    await store.close()
