"""The background worker of credit."""

from __future__ import annotations

from skep.base.workers import Outcome, Progress
from skep.credit.meter import Meter
from skep.credit.service import Credit

PERIOD_S = 60.0
METER_PERIOD_S = 5.0


class PlansWorker:
    """Runs ``Credit.renew_plans``; to be added to the WorkerSet with a period of ``PERIOD_S``."""

    name = "plans"
    description = "Ends prepaid plans whose time is over, and takes what standing ones cost."

    def __init__(self, credit: Credit) -> None:
        self._credit = credit

    async def run_once(self, progress: Progress) -> Outcome:
        """One round; running it twice does nothing the second time."""
        return Outcome(more_work=False, done_units=await self._credit.renew_plans())


class MeterWorker:
    """Posts what the meter has counted; to be added to the WorkerSet with a period of ``METER_PERIOD_S``."""

    name = "meter"
    description = "Brings what was uploaded and downloaded into the books of those who pay."

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def run_once(self, progress: Progress) -> Outcome:
        """One round; running it twice does nothing the second time."""
        await self._meter.refresh()
        return Outcome(more_work=False, done_units=await self._meter.post())
