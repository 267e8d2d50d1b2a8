from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.base.errors import InvalidRange
from skep.frontends.common.ranges import RANGES_MAX, ByteRange, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-99", [(0, 100)]),
        ("bytes=0-", [(0, 1000)]),
        ("bytes=-10", [(990, 1000)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=990-5000", [(990, 1000)]),
        ("Bytes = 5-5", [(5, 6)]),
        ("bytes=0-9,20-29", [(0, 10), (20, 30)]),
        ("bytes=20-29, 0-9", [(20, 30), (0, 10)]),
        ("bytes=0-9,5-14,14-20", [(0, 21)]),
        ("bytes=0-9,10-19", [(0, 20)]),
        ("bytes=2000-3000,0-0", [(0, 1)]),
    ],
)
def test_ranges_are_resolved_and_joined(header: str, expected: list[tuple[int, int]]) -> None:
    assert parse_range(header, 1000) == tuple(ByteRange(*pair) for pair in expected)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=9-3",
        "bytes=1-2-3",
        "items=0-9",
        "bytes=0-9;1",
        "bytes=" + "9" * 30 + "-",
        "bytes=٣-٤",
    ],
)
def test_what_does_not_parse_is_ignored(header: str | None) -> None:
    assert parse_range(header, 1000) is None


def test_too_many_ranges_are_ignored() -> None:
    header = "bytes=" + ",".join(f"{2 * i}-{2 * i}" for i in range(RANGES_MAX + 1))
    assert parse_range(header, 1000) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=1000-", 1000), ("bytes=-0", 1000), ("bytes=0-", 0), ("bytes=-5", 0)]
)
def test_ranges_outside_the_content_are_refused_with_its_size(header: str, size: int) -> None:
    with pytest.raises(InvalidRange) as caught:
        parse_range(header, size)
    assert caught.value.details["size_bytes"] == size


def test_content_range_names_last_byte_and_size() -> None:
    assert ByteRange(0, 10).content_range(100) == "bytes 0-9/100"


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted), min_size=1, max_size=20),
    st.integers(1, 250),
)
def test_joined_ranges_are_disjoint_and_cover_exactly_what_was_asked(pairs: list[list[int]], size: int) -> None:
    wanted = {byte for first, last in pairs for byte in range(first, last + 1) if byte < size}
    header = "bytes=" + ",".join(f"{first}-{last}" for first, last in pairs)
    if not wanted:
        with pytest.raises(InvalidRange):
            parse_range(header, size)
        return
    got = parse_range(header, size)
    assert got is not None
    covered = [byte for one in got for byte in range(one.start, one.stop)]
    assert sorted(covered) == sorted(wanted)
