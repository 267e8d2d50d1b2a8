"""What is tried again, how often, after which pause: a pure policy and one small loop."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from skep.base.errors import SkepError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """At most ``attempts`` tries; pauses double from ``first_pause_s`` and are jittered downwards."""

    attempts: int = 5
    first_pause_s: float = 0.25
    pause_max_s: float = 15.0
    obeyed_pause_max_s: float = 60.0
    """A server that asks for a longer pause than this gets the error reported instead."""

    def pause_s(self, attempt: int, error: SkepError, jitter: float) -> float | None:
        """Seconds until the next try after failed try number ``attempt`` (from 1); None: give up.

        ``jitter`` is a random number in [0, 1).
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        asked = error.details.get("retry_after_s")
        if isinstance(asked, (int, float)):
            return float(asked) if asked <= self.obeyed_pause_max_s else None
        pause: float = min(self.first_pause_s * 2 ** (attempt - 1), self.pause_max_s)
        return pause * (1.0 - jitter / 2)


NO_RETRY = RetryPolicy(attempts=1)


class Cancelled(Exception):
    """The caller asked to stop; raised in the thread that works, never shown as an error."""


class Cancel:
    """A flag that long work looks at, and that ends its pauses."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._calls: list[Callable[[], None]] = []

    def on_set(self, call: Callable[[], None]) -> None:
        """Have ``call`` called when the flag is set, to end what cannot look at it."""
        self._calls.append(call)

    def set(self) -> None:
        """Ask everything that holds this flag to stop soon."""
        if not self._event.is_set():
            self._event.set()
            for call in self._calls:
                call()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise Cancelled once the flag is set."""
        if self._event.is_set():
            raise Cancelled

    def pause(self, seconds: float) -> None:
        """Wait; raise Cancelled as soon as the flag is set."""
        if self._event.wait(seconds):
            raise Cancelled


def retrying(call: Callable[[], T], policy: RetryPolicy, cancel: Cancel) -> T:
    """Run ``call`` until it succeeds, fails for good, or the policy gives up; raises its last error."""
    attempt = 1
    while True:
        cancel.check()
        try:
            return call()
        except SkepError as error:
            pause_s = policy.pause_s(attempt, error, random.random())  # noqa: S311 - spreads load, guards nothing
            if pause_s is None:
                raise
        cancel.pause(pause_s)
        attempt += 1
