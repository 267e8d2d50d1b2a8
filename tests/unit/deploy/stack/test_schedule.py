"""When a schedule comes: against counting minutes one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.base.errors import BadInput
from skep.deploy.stack.schedule import parse_schedule


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("schedule", "after", "then"),
    [
        ("* * * * *", "2026-01-01T00:00", "2026-01-01T00:01"),
        ("*/15 * * * *", "2026-01-01T00:07", "2026-01-01T00:15"),
        ("5/20 * * * *", "2026-01-01T00:07", "2026-01-01T00:25"),
        ("30 4 * * mon-fri", "2026-01-02T04:30", "2026-01-05T04:30"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00", "2104-02-29T00:00"),
        ("0 0 31 * *", "2026-01-31T00:00", "2026-03-31T00:00"),
        ("0 0 13 * fri", "2026-01-01T00:00", "2026-01-02T00:00"),
        ("0 0 */13 * fri", "2026-01-01T00:00", "2026-02-27T00:00"),
        ("0 0 * * 7", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("@yearly", "2026-01-01T00:00", "2027-01-01T00:00"),
        ("0 22,6 * JAN-feb Sun", "2026-02-28T23:00", "2027-01-03T06:00"),
    ],
)
def test_the_next_time(schedule: str, after: str, then: str) -> None:
    assert parse_schedule(schedule).next_us(at(after)) == at(then)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *",
     "*/0 * * * *", "a * * * *", "1, * * * *", "-1 * * * *", "0 0 30 2 *", "@never", "1-2-3 * * * *", "٣ * * * *"],
)  # fmt: skip
def test_what_is_no_schedule_is_told(text: str) -> None:
    with pytest.raises(BadInput):
        parse_schedule(text)


def _field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, most or 1)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    return st.lists(st.one_of(number.map(str), span, step, st.just("*")), min_size=1, max_size=3).map(",".join)


@given(
    schedule=st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 7)).map(" ".join),
    after_minute=st.integers(0, 60 * 24 * 365 * 5),
)
@settings(max_examples=60, deadline=None)
def test_the_next_time_matches_and_nothing_before_it_does(schedule: str, after_minute: int) -> None:
    try:
        parsed = parse_schedule(schedule)
    except BadInput:
        assert "31" in schedule or "30" in schedule or "29" in schedule
        return
    after = datetime.fromtimestamp(at("2024-01-01T00:00") // 1_000_000, UTC) + timedelta(minutes=after_minute)
    found_us = parsed.next_us(int(after.timestamp()) * 1_000_000)
    assert found_us is not None
    found = datetime.fromtimestamp(found_us // 1_000_000, UTC)
    assert found > after
    assert parsed.matches(found)
    minute = after + timedelta(minutes=1)
    for _ in range(3000):  # two days, minute by minute
        if minute >= found:
            break
        assert not parsed.matches(minute)
        minute += timedelta(minutes=1)
