"""How long a launch waits for what, and how often it tries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from skep.base.clock import Clock
from skep.base.errors import EngineUnavailable, HostUnavailable, InUse, SkepError, TimedOut

T = TypeVar("T")
WHILE_AWAY: tuple[type[SkepError], ...] = (EngineUnavailable, HostUnavailable, TimedOut)
"""What is tried again: the other side did not answer."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one launcher; seconds."""

    releases: int = 10
    """How many of each stack are kept."""
    drain_s: float = 60.0
    """How long responses and WebSockets may go on after nothing leads to their slice any more; then the slice is told
    to end, and has its ``grace`` yet."""
    steady_s: float = 1.0
    """How long a job without ``health`` must run to be well."""
    start_s: float = 30.0
    """How long a job without ``health`` may take for that."""
    starts_max: int = 3
    """How many times a job may end by itself before it is given up."""
    look_s: float = 0.1
    """Between two looks at a job that starts."""
    tries: int = 4
    """How often an engine or a router that does not answer is asked."""
    first_wait_s: float = 0.5
    """After the first try; each next is twice as long."""
    hook_s: float = 60.0
    """How long a hook may take."""
    in_use_s: float = 120.0
    """How long a slice that the grid moves is waited for."""
    waiting_max: int = 100
    """How many orders for one stack may wait."""
    sweep_s: float = 30.0
    """Between two looks at all that runs on a host."""
    refresh_first_s: float = 60.0
    """Between two launches that tell a stack where its service is now; doubling while they fail."""
    refresh_most_s: float = 3600.0
    cron_s: float = 24 * 3600.0
    """How long a cron job may run."""


async def patient(doing: Callable[[], Awaitable[T]], limits: Limits, clock: Clock) -> T:
    """The result of what may be called again; tried while the other side does not answer. Raises its last error."""
    wait_s = limits.first_wait_s
    for _ in range(limits.tries - 1):
        try:
            return await doing()
        except WHILE_AWAY:
            await clock.sleep(wait_s)
            wait_s *= 2
    return await doing()


async def when_free(doing: Callable[[], Awaitable[T]], limits: Limits, clock: Clock) -> T:
    """The result of what is refused while something is in use. Raises InUse when that lasts too long."""
    deadline_s = clock.monotonic_s() + limits.in_use_s
    while True:
        try:
            return await doing()
        except InUse:
            if clock.monotonic_s() >= deadline_s:
                raise
            await clock.sleep(limits.first_wait_s)
