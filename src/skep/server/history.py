"""What the hive has counted, minute by minute, for the owner's plots: a day of it, in memory.

Whoever wants more keeps the metrics with Prometheus (docs/operate/monitoring.md); a restart begins anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from skep.base.clock import Clock
from skep.base.workers import Outcome, Progress
from skep.durability.options import Counters
from skep.frontends.api.services import Sample
from skep.server.metrics import RequestMetrics

PERIOD_S = 60.0
SAMPLES_MAX = 1440
REFRESH_EVERY = 5


_OF_CONTENT = ("damaged_shards", "rebuilt_reads", "scrubbed_packs", "repaired_packs")
_FACTS = ("dedup_ratio", "versions_bytes", "stored_bytes", "repair_backlog")


def counts(requests: RequestMetrics, content: Counters, facts: Mapping[str, object]) -> dict[str, float]:
    """What is kept of each minute; facts only once they have been looked up."""
    seen = requests.totals() | {name: getattr(content, name) for name in _OF_CONTENT}
    seen |= {"content_received_bytes": content.received_bytes, "content_stored_bytes": content.stored_bytes}
    for name in _FACTS:
        value = facts.get(name)
        if isinstance(value, int | float):
            seen[name] = float(value)
    return seen


class History:
    """The ``history`` worker: looks at the counters once a minute and keeps what it saw."""

    name = "history"
    description = "Keeps a day of the hive's own counts, minute by minute, for plots."

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs = 0
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_MAX)
        self.look: Callable[[], Mapping[str, float]] = dict
        """The counts as they are now; the server plugs it in."""
        self.refresh: Callable[[], Awaitable[object]] | None = None
        """Looks up anew what of the counts is in the database; called for every REFRESH_EVERY-th sample."""

    def samples(self) -> list[Sample]:
        """What was seen, the oldest first, and how it is now."""
        return [*self._samples, self._now()]

    def _now(self) -> Sample:
        return Sample(self._clock.now_us(), dict(self.look()))

    async def run_once(self, progress: Progress) -> Outcome:
        """Look once."""
        if self.refresh is not None and self._runs % REFRESH_EVERY == 0:
            await self.refresh()
        self._runs += 1
        self._samples.append(self._now())
        return Outcome(more_work=False, done_units=1)
