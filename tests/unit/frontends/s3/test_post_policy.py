"""Conditions of a POST policy hold together: what comes later takes nothing back of what came first."""

from __future__ import annotations

import base64
import json

import pytest

from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.post_policy import parse_policy


def policy(*conditions: object) -> str:
    document = {"expiration": "2100-01-01T00:00:00.000Z", "conditions": conditions}
    return base64.b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize("order", [1, -1])
def test_the_narrowest_of_several_lengths_counts(order: int) -> None:
    ranges = [["content-length-range", 0, 10], ["content-length-range", 5, 1000]][::order]
    assert parse_policy(policy(*ranges)).length == (5, 10)


@pytest.mark.parametrize("second", [{"key": "b"}, ["eq", "$key", "b"], ["eq", "$KEY", "b"]])
def test_two_values_for_one_field_are_no_policy(second: object) -> None:
    assert parse_policy(policy({"key": "a"}, ["eq", "$key", "a"])).equal == {"key": "a"}
    with pytest.raises(Refusal) as caught:
        parse_policy(policy({"key": "a"}, second))
    assert caught.value.failure.code == "InvalidPolicyDocument"
