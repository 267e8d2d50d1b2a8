from __future__ import annotations

import pytest

from skep.base.errors import MalformedRequest
from skep.frontends.common.conditions import Verdict, judge_read, parse_tags, range_applies
from skep.frontends.common.headers import Headers
from skep.frontends.common.httpdate import http_date, parse_http_date

MODIFIED_US = 1_700_000_000_500_000
BEFORE, SAME, AFTER = (http_date(MODIFIED_US + shift) for shift in (-5_000_000, 0, 5_000_000))


def headers(**values: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()])


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, Verdict.GO_ON),
        ({"if_match": '"abc"'}, Verdict.GO_ON),
        ({"if_match": '"x", "abc"'}, Verdict.GO_ON),
        ({"if_match": "*"}, Verdict.GO_ON),
        ({"if_match": '"x"'}, Verdict.FAILED),
        ({"if_match": 'W/"abc"'}, Verdict.FAILED),
        ({"if_none_match": '"abc"'}, Verdict.NOT_MODIFIED),
        ({"if_none_match": 'W/"abc"'}, Verdict.NOT_MODIFIED),
        ({"if_none_match": "*"}, Verdict.NOT_MODIFIED),
        ({"if_none_match": '"x"'}, Verdict.GO_ON),
        ({"if_modified_since": SAME}, Verdict.NOT_MODIFIED),
        ({"if_modified_since": AFTER}, Verdict.NOT_MODIFIED),
        ({"if_modified_since": BEFORE}, Verdict.GO_ON),
        ({"if_modified_since": "yesterday"}, Verdict.GO_ON),
        ({"if_none_match": '"x"', "if_modified_since": AFTER}, Verdict.GO_ON),
        ({"if_unmodified_since": BEFORE}, Verdict.FAILED),
        ({"if_unmodified_since": SAME}, Verdict.GO_ON),
        ({"if_match": '"abc"', "if_unmodified_since": BEFORE}, Verdict.GO_ON),
    ],
)
def test_reads_are_judged_in_the_order_of_the_rfc(given: dict[str, str], verdict: Verdict) -> None:
    assert judge_read(headers(**given), "abc", MODIFIED_US) is verdict


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        ('"abc"', True),
        ('"x"', False),
        ('W/"abc"', False),
        (SAME, True),
        (BEFORE, False),
        (AFTER, False),
        ("nonsense", False),
    ],
)
def test_if_range_needs_the_exact_content(value: str, applies: bool) -> None:
    assert range_applies(headers(if_range=value), "abc", MODIFIED_US) is applies


def test_without_if_range_a_range_counts() -> None:
    assert range_applies(headers(), "abc", MODIFIED_US)


def test_a_tag_without_quotes_is_one_tag() -> None:
    assert parse_tags("abc-1", weak=False) == ("abc-1",)


@pytest.mark.parametrize("text", ['"a" x', '"a', "a b", '"a",,;', ","])
def test_broken_tags_are_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_tags(text, weak=False)


def test_a_hundred_tags_are_the_limit() -> None:
    assert len(parse_tags(", ".join(['"a"'] * 100), weak=False) or ()) == 100
    with pytest.raises(MalformedRequest):
        parse_tags(", ".join(['"a"'] * 101), weak=False)


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_a_date_are_one_time(text: str) -> None:
    assert parse_http_date(text) == 784111777_000_000
    assert http_date(784111777_999_999) == "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("text", ["", "now", "Sun, 99 Nov 1994 08:49:37 GMT", "0"])
def test_no_date_is_none(text: str) -> None:
    assert parse_http_date(text) is None
