"""Credit as the server puts it together: its rules from the settings, and its place among those who hear of users."""

from __future__ import annotations

from contextlib import AsyncExitStack

from skep.base.clock import Clock
from skep.base.ids import Id
from skep.base.settings import Settings
from skep.base.workers import WorkerSet
from skep.credit import Credit, CreditHooks, CreditRules
from skep.credit.costs import CLASSIC, FREE, Costs
from skep.credit.meter import Meter
from skep.credit.upkeep import (
    FULLNESS_PERIOD_S,
    HOURS_PERIOD_S,
    METER_PERIOD_S,
    FullnessWorker,
    HoursWorker,
    MeterWorker,
    PlansWorker,
)
from skep.credit.upkeep import PERIOD_S as PLANS_PERIOD_S
from skep.crypto.keys import HiveKeys
from skep.db import Database, Transaction
from skep.events import Tell
from skep.filesystem import Filesystem, SpaceHooks, SpaceRooms

METER_DIRECTORY = "meter"


def open_credit(settings: Settings, db: Database, clock: Clock, filesystem: Filesystem, tell: Tell) -> Credit:
    """The credit service of a hive."""
    credit = settings.credit
    rules = CreditRules(
        currency=credit.currency,
        default_plan=credit.default_plan,
        payment_secret=credit.payment_secret,
        gifts=credit.gifts,
    )
    return Credit(db, clock, rules, SpaceRooms(filesystem.limits.quota_bytes), tell)


async def open_meter(
    settings: Settings,
    db: Database,
    clock: Clock,
    filesystem: Filesystem,
    tell: Tell,
    letter_key: bytes | None,
    closing: AsyncExitStack,
) -> Meter:
    """What counts transfers; its journals are in the data directory. The filesystem counts with it from now on."""
    credit = settings.credit
    costs = {
        "none": FREE,
        "classic": CLASSIC,
        "custom": Costs(credit.upload_percent, credit.download_percent, credit.download_percent),
    }[credit.costs]
    filesystem.meter = meter = Meter(
        db,
        clock,
        settings.data_path() / METER_DIRECTORY,
        costs=costs,
        default_plan=credit.default_plan,
        always=credit.meter == "always",
        tell=tell,
        letter_key=letter_key,
    )
    closing.push_async_callback(meter.close)
    await meter.start()
    return meter


def letter_key(settings: Settings, keys: HiveKeys) -> bytes | None:
    """What letters of the outbox are sealed with; None where the hive sends none."""
    return keys.secrets_key if settings.mail.url else None


def add_credit_workers(
    workers: WorkerSet, credit: Credit, meter: Meter, settings: Settings, db: Database, tell: Tell, keys: HiveKeys
) -> None:
    """Give what is done for credit in the background its periods."""
    longest = settings.workers.backoff_max_s
    workers.add(MeterWorker(meter), period_s=METER_PERIOD_S, first_run_after_s=METER_PERIOD_S, backoff_max_s=longest)
    workers.add(HoursWorker(db), period_s=HOURS_PERIOD_S, first_run_after_s=20, backoff_max_s=longest)
    fullness = FullnessWorker(db, tell, letter_key(settings, keys))
    workers.add(fullness, period_s=FULLNESS_PERIOD_S, first_run_after_s=30, backoff_max_s=longest)
    workers.add(PlansWorker(credit), period_s=PLANS_PERIOD_S, first_run_after_s=25, backoff_max_s=longest)


class AllHooks:
    """What happens when users and groups come and go: their space first, then their credit."""

    def __init__(self, spaces: SpaceHooks, credit: CreditHooks) -> None:
        self._hooks = (spaces, credit)

    def user_created(self, tx: Transaction, user_id: Id, name: str) -> None:
        """A user was made."""
        for hooks in self._hooks:
            hooks.user_created(tx, user_id, name)

    def group_created(self, tx: Transaction, group_id: Id, name: str) -> None:
        """A group was made."""
        for hooks in self._hooks:
            hooks.group_created(tx, group_id, name)

    def user_renamed(self, tx: Transaction, user_id: Id, name: str) -> None:
        """A user has another name now."""
        for hooks in self._hooks:
            hooks.user_renamed(tx, user_id, name)

    def group_renamed(self, tx: Transaction, group_id: Id, name: str) -> None:
        """A group has another name now."""
        for hooks in self._hooks:
            hooks.group_renamed(tx, group_id, name)

    def user_deleting(self, tx: Transaction, user_id: Id, name: str) -> None:
        """A user is about to go. Raises InUse."""
        for hooks in self._hooks:
            hooks.user_deleting(tx, user_id, name)

    def group_deleting(self, tx: Transaction, group_id: Id, name: str) -> None:
        """A group is about to go. Raises InUse."""
        for hooks in self._hooks:
            hooks.group_deleting(tx, group_id, name)
