"""The zip stream against readers that others wrote: Python's, and Info-ZIP's where it is installed."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.frontends.common.zipping import Member, ShortMember, zip_size_bytes, zip_stream

AT_US = 1_700_000_001_000_000


def file(path: str, content: bytes, modified_us: int = AT_US, size_bytes: int | None = None) -> Member:
    async def read() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    return Member(path, len(content) if size_bytes is None else size_bytes, modified_us, read)


def directory(path: str) -> Member:
    return Member(path, 0, AT_US, None)


async def archive(members: list[Member]) -> bytes:
    raw = b"".join([part async for part in zip_stream(members)])
    assert len(raw) == zip_size_bytes(members)
    return raw


async def test_python_reads_what_was_streamed(tmp_path: Path) -> None:
    members = [directory("Größe/"), file("Größe/leer", b""), file("Größe/日本.txt", b"hello world" * 100)]
    raw = await archive(members)
    with zipfile.ZipFile(io.BytesIO(raw)) as read:
        assert read.testzip() is None
        assert read.namelist() == ["Größe/", "Größe/leer", "Größe/日本.txt"]
        assert read.read("Größe/日本.txt") == b"hello world" * 100
        assert read.getinfo("Größe/").is_dir()
        assert read.getinfo("Größe/leer").date_time == (2023, 11, 14, 22, 13, 20)
    unzip = shutil.which("unzip")
    if unzip:
        (tmp_path / "a.zip").write_bytes(raw)
        assert subprocess.run([unzip, "-tq", tmp_path / "a.zip"], capture_output=True, check=False).returncode == 0


async def test_an_empty_archive_and_many_members() -> None:
    with zipfile.ZipFile(io.BytesIO(await archive([]))) as read:
        assert read.namelist() == []
    many = [file(f"d/{number}", b"x") for number in range(0x10001)]
    with zipfile.ZipFile(io.BytesIO(await archive(many))) as read:
        assert len(read.namelist()) == len(many)
        assert read.read("d/65536") == b"x"


@pytest.mark.parametrize("modified_us", [0, -5_000_000, 315_532_799_000_000, 1 << 62])
async def test_times_that_zip_cannot_say_are_the_nearest_it_can(modified_us: int) -> None:
    with zipfile.ZipFile(io.BytesIO(await archive([file("a", b"1", modified_us)]))) as read:
        assert read.getinfo("a").date_time[0] in (1980, 2107)


def test_sizes_past_four_gibibytes_are_known_before() -> None:
    huge = [file("a", b"", size_bytes=5 << 30), file("b", b"", size_bytes=1)]
    overhead = zip_size_bytes(huge) - (5 << 30) - 1
    small = zip_size_bytes([file("a", b""), file("b", b"")])
    assert overhead > small  # zip64 fields: of the large member, of the second's offset, at the end


@pytest.mark.long
async def test_a_large_member_reads_back(tmp_path: Path) -> None:
    block = bytes(1 << 20)

    async def read() -> AsyncIterator[bytes]:
        for _ in range(4096):
            yield block
        yield b"end"

    members = [Member("large", (4 << 30) + 3, AT_US, read), file("after", b"here")]
    path, size = tmp_path / "large.zip", 0
    with path.open("wb") as out:
        async for part in zip_stream(members):
            size += len(part)
            if part is block:
                out.seek(len(part), io.SEEK_CUR)  # a hole: nothing is written
            else:
                out.write(part)
    assert size == zip_size_bytes(members) == path.stat().st_size
    with zipfile.ZipFile(path) as read_back:
        assert read_back.getinfo("large").file_size == (4 << 30) + 3
        assert read_back.read("after") == b"here"


async def test_a_member_that_is_cut_short_ends_the_archive() -> None:
    with pytest.raises(ShortMember):
        await archive([file("a", b"123", size_bytes=4)])
