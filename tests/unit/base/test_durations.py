"""Durations in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skep.base.durations import duration_text, parse_duration
from skep.base.errors import InvalidSetting


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("1.5", 1.5), ("30s", 30), ("15min", 900), ("15 m", 900), ("24h", 86_400), ("1h30m", 5400),
     ("14 days", 14 * 86_400), ("250ms", 0.25), ("1w", 604_800), ("2 H", 7200), (" 1d 2h ", 93_600), ("0s", 0)],
)  # fmt: skip
def test_what_people_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "soon", "-1", "-1s", "1x", "h", "1h x", "nan", "inf", "1..5s", "1,5h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidSetting, match="is not a duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_shown_durations_are_exact(milliseconds: int) -> None:
    assert round(parse_duration(duration_text(milliseconds / 1000)) * 1000) == milliseconds


def test_the_shortest_form() -> None:
    assert duration_text(129_600) == "1d12h"
    assert duration_text(0.25) == "250ms"
    assert duration_text(0) == "0s"
