"""The error tree: codes are stable, unique and drawn."""

from __future__ import annotations

import re

from skep.base import errors
from skep.base.errors import SkepError


def tree(root: type[SkepError] = SkepError) -> list[type[SkepError]]:
    return [root, *(each for child in root.__subclasses__() for each in tree(child))]


def test_codes_are_unique_and_say_the_class() -> None:
    ours = [each for each in tree() if each.__module__ == errors.__name__]
    codes = [each.code for each in ours]
    assert len(set(codes)) == len(codes)
    for each in ours:
        if each is not SkepError:
            assert each.code == re.sub(r"(?<!^)(?=[A-Z])", "-", each.__name__).lower()


def test_every_class_is_in_the_drawing_and_has_a_docstring() -> None:
    for each in tree():
        if each.__module__ == errors.__name__:
            assert re.search(rf"\b{each.__name__}\b", errors.__doc__ or ""), each.__name__
            assert (each.__doc__ or "").strip().endswith("."), each.__name__


def test_an_error_carries_its_message_and_facts() -> None:
    error = errors.QuotaExceeded("no room for 5 bytes", needed_bytes=5)
    assert (str(error), error.message, error.details) == (
        "no room for 5 bytes",
        "no room for 5 bytes",
        {"needed_bytes": 5},
    )
    assert not error.retryable
    assert errors.StoreUnavailable("x").retryable
    assert errors.RateLimited("x").retryable
