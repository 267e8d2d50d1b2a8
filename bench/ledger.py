"""Metered operations into the ledger: counted, charged, written into the journal and posted, on SQLite."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure, Row
from bench.plan import Plan
from skep.base.clock import SystemClock
from skep.credit import accounts, ledger
from skep.credit.costs import CLASSIC
from skep.credit.meter import Meter
from skep.db import Database, Transaction
from skep.db.migrate import migrate

ACCOUNTS = 50
OPERATIONS = 20_000
ROUNDS = 5
POST_EVERY = 2_000
SIZE_BYTES = 1_000
TARGET_PER_S = 2_000.0


def metered(plan: Plan) -> list[Row]:
    """Operations of fifty accounts in a second, each charged by the classic policy, until all are in the ledger."""
    with plan.room() as place:
        rate = asyncio.run(_measured(place))
    return [Figure("metered operations, posted", rate, "/s", "wall time, SQLite", at_least=TARGET_PER_S)]


async def _measured(place: Path) -> float:
    url = f"sqlite:///{place / 'ledger.db'}"
    migrate(url)
    db = await Database.open(url, clock=SystemClock())
    try:
        owners = [f"{number:032x}" for number in range(ACCOUNTS)]
        await db.write(lambda tx: _fund(tx, owners))
        rates = [await _round(db, place / f"meter-{number}", owners) for number in range(ROUNDS)]
        findings = await db.read(ledger.audit)
        assert not findings, findings
        assert await db.read(_spent) == ROUNDS * OPERATIONS * CLASSIC.of("in", SIZE_BYTES)
    finally:
        await db.close()
    return statistics.median(rates)


def _fund(tx: Transaction, owners: list[str]) -> None:
    outside = accounts.system(tx, "outside")
    for owner in owners:
        theirs = accounts.opened(tx, "token", owner)
        ledger.move(tx, ledger.Movement("deposit", "bytes", 1 << 40, outside.id, theirs.id))


def _spent(tx: Transaction) -> int:
    return int(ledger.balance(tx, accounts.system(tx, "usage").id, "bytes").amount)


async def _round(db: Database, place: Path, owners: list[str]) -> float:
    meter: Any = Meter(db, SystemClock(), place, costs=CLASSIC)
    await meter.start()
    began = time.perf_counter()
    for number in range(OPERATIONS):
        passage = await meter.admit_account("token", owners[number % ACCOUNTS], "in", SIZE_BYTES)
        await passage.take(SIZE_BYTES)
        passage.end()
        if number % POST_EVERY == POST_EVERY - 1:
            await meter.post()
    await meter.post()
    took_s = time.perf_counter() - began
    await meter.close()
    return OPERATIONS / took_s
