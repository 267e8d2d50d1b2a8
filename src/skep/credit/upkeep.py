"""The background workers of credit."""

from __future__ import annotations

from functools import partial

from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.credit import fullness, storage_hours
from skep.credit.meter import Meter
from skep.credit.service import Credit
from skep.db import Database
from skep.events.records import QuotaAlmostUsed
from skep.events.telling import Tell

_FIRST: Id = bytes(16)

PERIOD_S = 60.0
FULLNESS_PERIOD_S = 60.0
HOURS_PERIOD_S = 600.0
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


class HoursWorker:
    """Posts storage-hours; to be added to the WorkerSet with a period of ``HOURS_PERIOD_S``."""

    name = "storage-hours"
    description = "Counts how long how many bytes are stored, for whoever owns the space."

    def __init__(self, db: Database) -> None:
        self._db = db

    async def run_once(self, progress: Progress) -> Outcome:
        """One page of spaces; running it twice posts no time twice."""
        return Outcome(more_work=await self._db.write(storage_hours.post_page), done_units=1)


class FullnessWorker:
    """Warns of quotas that are almost used; to be added to the WorkerSet with a period of ``FULLNESS_PERIOD_S``."""

    name = "quota-warnings"
    description = "Tells and writes to those whose space is used to 80 or 95 percent."

    def __init__(self, db: Database, tell: Tell, letter_key: bytes | None) -> None:
        """``letter_key`` seals the letters of the outbox; None: the hive sends none."""
        self._db = db
        self._tell = tell
        self._key = letter_key
        self._after: Id = _FIRST

    async def run_once(self, progress: Progress) -> Outcome:
        """One page of spaces; running it twice warns nobody twice."""
        news, following = await self._db.read(lambda tx: fullness.page(tx, self._after))
        self._after = following or _FIRST
        for fill in news:
            warned = await self._db.write(partial(fullness.note, key=self._key, fill=fill))
            if warned is not None:
                self._tell(QuotaAlmostUsed, **warned._asdict())
        return Outcome(more_work=following is not None, done_units=len(news))


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
