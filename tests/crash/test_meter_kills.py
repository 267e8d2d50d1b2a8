"""A meter that is killed with -9 at random moments: each transfer that was over is in the books, once.

SKEP_CRASH_SEED=n   chances (printed)        SKEP_CRASH_KILLS=n  kills
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from skep.base.clock import SystemClock
from skep.credit import accounts, ledger, posting
from skep.credit.meter import Meter
from skep.db import Database, migrate

from .meter_lives import CREDIT, owner_of

pytestmark = pytest.mark.crash
KILLS = int(os.environ.get("SKEP_CRASH_KILLS", "200"))
SEED = int(os.environ.get("SKEP_CRASH_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


async def test_sums_are_exact_after_every_kill(tmp_path: Path) -> None:
    print(f"SKEP_CRASH_SEED={SEED}")
    url, directory = f"sqlite:///{tmp_path / 'meter.db'}", tmp_path / "meter"
    migrate(url)
    program = Path(__file__).with_name("meter_lives.py")
    command = [sys.executable, str(program), url, str(directory), str(KILLS), str(SEED)]
    lives = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert len(lives) == KILLS
    assert sum(life["transfers"] for life in lives) > KILLS

    db = await Database.open(url, clock=SystemClock())
    meter = Meter(db, SystemClock(), directory)
    await meter.start()
    for number, life in enumerate(lives, 1):

        def look(tx, number=number):
            account = accounts.account(tx, "user", owner_of(number).hex())
            months = posting.usage_of(tx, account.id, 100)
            used_in, used_out = sum(one.in_bytes for one in months), sum(one.out_bytes for one in months)
            return used_in, used_out, ledger.balance(tx, account.id, "bytes")

        used_in, used_out, balance = await db.read(look)
        assert used_in + used_out in (life["done"], life["done"] + life["going_on"]), number
        assert balance.amount == CREDIT - 4 * used_in - 2 * used_out, number
        assert balance.held == 0, number
    assert await db.read(ledger.audit) == []
    assert list(directory.iterdir()) == []
    await db.close()
