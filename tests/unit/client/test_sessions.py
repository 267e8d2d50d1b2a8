"""Tokens and their refreshing."""

from __future__ import annotations

import pytest

from skep.base.clock import SystemClock
from skep.base.errors import Unauthenticated
from skep.client.sessions import MemoryKeeper, Session, Tokens


def tokens(name: str, expires_s: float) -> Tokens:
    return Tokens(name, expires_s, f"refresh-{name}", 10_000)


class Stopped(SystemClock):
    """A clock that always says the same."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def now_us(self) -> int:
        return int(self.now_s * 1e6)


class Refresher:
    def __init__(self) -> None:
        self.spent: list[str] = []

    def __call__(self, refresh_token: str) -> Tokens:
        self.spent.append(refresh_token)
        return tokens(f"new{len(self.spent)}", 2000)


def test_a_good_token_is_used_as_it_is() -> None:
    refresher = Refresher()
    session = Session(MemoryKeeper(tokens("a", 1000)), refresher, clock=Stopped(0))
    assert session.bearer() == "a"
    assert refresher.spent == []


def test_a_token_near_its_end_is_refreshed_once_and_saved() -> None:
    refresher, keeper = Refresher(), MemoryKeeper(tokens("a", 1000))
    session = Session(keeper, refresher, clock=Stopped(980))
    assert [session.bearer(), session.bearer()] == ["new1", "new1"]
    assert refresher.spent == ["refresh-a"]
    assert keeper.load() == tokens("new1", 2000)


def test_what_another_program_has_refreshed_is_taken_over() -> None:
    refresher, keeper = Refresher(), MemoryKeeper(tokens("a", 1000))
    session = Session(keeper, refresher, clock=Stopped(980))
    keeper.save(tokens("theirs", 5000))
    assert session.bearer() == "theirs"
    assert refresher.spent == []


def test_a_rejected_token_is_refreshed_once_for_all_who_had_it() -> None:
    refresher = Refresher()
    session = Session(MemoryKeeper(tokens("a", 1000)), refresher, clock=Stopped(0))
    session.reject("a")
    session.reject("a")
    assert session.bearer() == "new1"
    assert refresher.spent == ["refresh-a"]


def test_without_tokens_one_is_told_to_log_in() -> None:
    session = Session(MemoryKeeper(), Refresher())
    with pytest.raises(Unauthenticated, match="skep login"):
        session.bearer()
