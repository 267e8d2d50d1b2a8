from __future__ import annotations

import pytest

from skep.base.errors import InvalidSize
from skep.base.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1000", 1000),
        ("17B", 17),
        ("1k", 1024),
        ("1KB", 1024),
        ("1 KiB", 1024),
        ("4.5GB", 4831838208),
        ("10mb", 10 << 20),
        ("2TB", 2 << 40),
        (" 3 GB ", 3 << 30),
        ("0.1KB", 102),
        ("8388607TB", 8388607 << 40),
    ],
)
def test_reads_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "+1",
        "1.5",
        "GB",
        "1XB",
        "1 G B",
        "1e3",
        "0x10",
        "1,5GB",
        "٣",
        "1.KB",
        ".5KB",
        "9EB",
        "nan",
        "1" * 30,
    ],
)
def test_refuses_nonsense(text: str) -> None:
    with pytest.raises(InvalidSize):
        parse_size(text)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1023, "1023 B"),
        (1024, "1 KB"),
        (1536, "1.5 KB"),
        (20 << 20, "20 MB"),
        (4831838208, "4.5 GB"),
        ((1 << 20) - 1, "1 MB"),
        (123 << 40, "123 TB"),
        (999 << 60, "999 EB"),
        (-1536, "-1.5 KB"),
    ],
)
def test_writes_sizes(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


def test_what_is_written_reads_back_close() -> None:
    for exponent in range(62):
        size_bytes = (1 << exponent) + (1 << exponent) // 3
        assert abs(parse_size(format_size(size_bytes)) - size_bytes) <= size_bytes * 0.006
