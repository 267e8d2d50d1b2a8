"""When to ask whether the other end still lives, and when to give it up. Pure: times go in, verdicts come out.

Keep-alive works both ways: whoever has heard nothing for ``ping_s`` asks, and whoever has heard nothing for ``dead_s``
ends the link. While requests wait for an answer silence is suspicious sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["fine", "ask", "dead"]
PING_S = 30.0
DEAD_S = 90.0
BUSY_PING_S = 5.0
BUSY_DEAD_S = 25.0
LOOK_S = 2.5
"""How often an end should look."""


@dataclass(slots=True)
class Liveness:
    """What one end knows of the other. Times are of one monotonic clock, in seconds."""

    heard_s: float
    ping_s: float = PING_S
    dead_s: float = DEAD_S
    asked_s: float | None = None

    def heard(self, now_s: float) -> None:
        """A message came."""
        self.heard_s = now_s
        self.asked_s = None

    def look(self, now_s: float, *, busy: bool) -> Verdict:
        """What to do now. ``ask`` is said once for each silence; a question that was not asked cannot go unanswered."""
        ping_s, dead_s = self.ping_s, self.dead_s
        if busy:
            ping_s, dead_s = min(ping_s, BUSY_PING_S), min(dead_s, BUSY_DEAD_S)
        if self.asked_s is not None:
            return "dead" if now_s - self.asked_s >= dead_s - ping_s else "fine"
        if now_s - self.heard_s < ping_s:
            return "fine"
        self.asked_s = now_s
        return "ask"
