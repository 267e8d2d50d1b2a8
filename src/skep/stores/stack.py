"""The order in which wrappers stand on a store. This is the one place that knows it.

    caller -> meter -> retry -> limit -> driver

- The meter is outermost: it measures what the caller waits for, queue and retries included, so that a caller that
  hedges after the store's own p95 hedges less, not more, when the store is merely busy.
- Retry is above limit: a call that waits to try again holds no slot.
"""

from __future__ import annotations

import random as random_module

from skep.base.clock import Clock
from skep.stores.protocol import Store
from skep.stores.wrappers.limit import Limits, LimitStore
from skep.stores.wrappers.meter import Meter, MeterStore
from skep.stores.wrappers.retry import Pace, RetryStore


def stacked(
    driver: Store,
    *,
    clock: Clock,
    random: random_module.Random,
    pace: Pace | None = None,
    limits: Limits | None = None,
) -> MeterStore:
    """A driver's store with everything a hive wants around it; ``.meter`` has its figures."""
    meter = Meter()
    limited = LimitStore(driver, clock=clock, limits=limits)
    retried = RetryStore(limited, clock=clock, random=random, pace=pace, on_retry=meter.count_retry)
    return MeterStore(retried, clock=clock, meter=meter)
