"""The retry policy and its loop."""

from __future__ import annotations

import pytest

from skep.base.errors import NodeNotFound, RateLimited, Unavailable
from skep.client.retries import Cancel, Cancelled, RetryPolicy, retrying

POLICY = RetryPolicy(attempts=4, first_pause_s=1, pause_max_s=3)


def test_pauses_double_up_to_their_limit_and_end() -> None:
    error = Unavailable("x")
    assert [POLICY.pause_s(attempt, error, 0.0) for attempt in (1, 2, 3, 4)] == [1, 2, 3, None]
    assert POLICY.pause_s(1, error, 0.5) == 0.75


def test_what_cannot_pass_is_not_tried_again() -> None:
    assert POLICY.pause_s(1, NodeNotFound("x"), 0.0) is None


def test_a_pause_that_the_hive_asks_for_is_obeyed_within_reason() -> None:
    assert POLICY.pause_s(1, RateLimited("x", retry_after_s=20), 0.9) == 20
    assert POLICY.pause_s(1, RateLimited("x", retry_after_s=3600), 0.0) is None


class Flaky:
    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise Unavailable(f"failure {self.calls}")
        return "done"


QUICK = RetryPolicy(attempts=3, first_pause_s=0, pause_max_s=0)


def test_it_is_tried_until_it_works() -> None:
    call = Flaky(2)
    assert retrying(call, QUICK, Cancel()) == "done"
    assert call.calls == 3


def test_the_last_error_is_raised() -> None:
    with pytest.raises(Unavailable, match="failure 3"):
        retrying(Flaky(3), QUICK, Cancel())


def test_cancelling_ends_a_pause() -> None:
    cancel = Cancel()

    def call() -> None:
        cancel.set()
        raise Unavailable("x")

    with pytest.raises(Cancelled):
        retrying(call, RetryPolicy(first_pause_s=3600), cancel)
