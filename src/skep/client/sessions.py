"""Access tokens, used until shortly before they expire and then refreshed by one thread for all.

A refresh token is good once. Two programs that share one (two shells of one user) must not both
spend it, or the hive takes it for stolen and ends the session: so the refresh happens inside
``TokenKeeper.exclusive``, which also rereads what another program may have saved meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from skep.base.clock import Clock, SystemClock
from skep.base.errors import Unauthenticated

EARLY_S = 30.0
"""A token is refreshed this long before its end, so that it does not expire on the way."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login gives. Times are seconds since 1970 by this machine's clock."""

    access_token: str
    access_expires_s: float
    refresh_token: str
    refresh_expires_s: float


class TokenKeeper(Protocol):
    """Where tokens are kept between programs."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold this while refreshing; other programs that share the tokens wait."""
        ...

    def load(self) -> Tokens | None:
        """The newest saved tokens, None when logged out."""
        ...

    def save(self, tokens: Tokens) -> None:
        """Keep these instead."""
        ...


class MemoryKeeper:
    """Tokens of this process alone."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def load(self) -> Tokens | None:
        return self._tokens

    def save(self, tokens: Tokens) -> None:
        self._tokens = tokens


class Session:
    """The bearer token of requests. Safe to use from many threads."""

    def __init__(
        self,
        keeper: TokenKeeper,
        refresh: Callable[[str], Tokens],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._keeper = keeper
        self._refresh = refresh
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._tokens = keeper.load()

    @property
    def _now_s(self) -> float:
        return self._clock.now_us() / 1e6

    def bearer(self) -> str:
        """A token that is good for a while yet. Raises Unauthenticated when the user must log in."""
        with self._lock:
            tokens = self._tokens
            if tokens is None:
                raise Unauthenticated("not logged in: run `skep login URL` first")
            if tokens.access_expires_s - EARLY_S <= self._now_s:
                tokens = self._tokens = self._renewed(tokens.access_token)
            return tokens.access_token

    def reject(self, bearer: str) -> None:
        """The hive did not take this token: get another. Raises Unauthenticated when there is none."""
        with self._lock:
            if self._tokens is not None and self._tokens.access_token == bearer:
                self._tokens = self._renewed(bearer)

    def _renewed(self, spent: str) -> Tokens:
        with self._keeper.exclusive():
            saved = self._keeper.load()
            if saved is None:
                raise Unauthenticated("logged out meanwhile: run `skep login URL`")
            fresh = saved.access_expires_s - EARLY_S > self._now_s
            if saved.access_token != spent and fresh:
                return saved
            tokens = self._refresh(saved.refresh_token)
            self._keeper.save(tokens)
            return tokens
