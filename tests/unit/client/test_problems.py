"""Problem details back into the error tree."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from skep.base import errors
from skep.base.errors import SkepError
from skep.client.problems import error_class, from_problem, from_response


def all_classes(root: type[SkepError] = SkepError) -> Iterator[type[SkepError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from all_classes(child)


@pytest.mark.parametrize("kind", list(all_classes()), ids=lambda kind: kind.code)
def test_every_code_comes_back_as_its_class(kind: type[SkepError]) -> None:
    assert error_class(kind.code) is kind


def test_detail_and_details_are_kept() -> None:
    error = from_problem({"code": "quota-exceeded", "detail": "full", "status": 507, "details": {"room_bytes": 5}})
    assert isinstance(error, errors.QuotaExceeded)
    assert error.message == "full"
    assert error.details == {"room_bytes": 5}


def test_an_unknown_code_is_judged_by_its_status() -> None:
    assert type(from_problem({"code": "brand-new", "detail": "x"}, 404)) is errors.NotFound
    assert type(from_problem({"code": "brand-new", "detail": "x"}, 418)) is SkepError


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.Unauthenticated), (404, errors.NotFound), (502, errors.Unavailable), (500, errors.Unavailable)],
)
def test_a_proxys_page_is_judged_by_its_status(status: int, kind: type[SkepError]) -> None:
    assert type(from_response(status, "text/html", b"<html>oops")) is kind


def test_json_that_is_no_object_is_a_proxys_page() -> None:
    assert type(from_response(503, "application/json", b"[1]")) is errors.Unavailable
    assert type(from_response(503, "application/json", b"{broken")) is errors.Unavailable


def test_retry_after_is_told() -> None:
    body = json.dumps({"code": "rate-limited", "detail": "slow down"}).encode()
    error = from_response(429, "application/problem+json", body, retry_after="7")
    assert error.details["retry_after_s"] == 7
    assert error.retryable
