"""The program of ``test_meter_kills``: one life of a meter after the other, each killed with -9 at a random moment.

    python meter_lives.py DATABASE_URL DIRECTORY KILLS SEED

Each life has an account of its own, credits it, and lets transfers pass, saying before and after each how many bytes.
Prints for each life what it had acknowledged, and what it was at when it was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from skep.base.clock import SystemClock
from skep.credit import accounts, ledger
from skep.credit.costs import CLASSIC
from skep.credit.ledger import Movement
from skep.credit.meter import Meter
from skep.db import Database

CREDIT = 1 << 40
WORD = struct.Struct("<q")


def owner_of(life: int) -> bytes:
    """Who pays in a life."""
    return life.to_bytes(16, "big")


async def live(url: str, directory: Path, life: int, seed: int, told: int) -> None:
    """Let transfers pass until killed."""
    chance = random.Random(f"{seed} {life}")
    db = await Database.open(url, clock=SystemClock())
    meter = Meter(db, SystemClock(), directory, costs=CLASSIC)
    await meter.start()

    def credit(tx):
        theirs, ours = accounts.opened(tx, "user", owner_of(life).hex()), accounts.system(tx, "outside")
        ledger.move(tx, Movement("deposit", "bytes", CREDIT, ours.id, theirs.id, f"life {life}"))

    await db.write(credit)
    while True:
        size = chance.randrange(1, 1 << 20)
        os.write(told, WORD.pack(-size))
        passage = await meter.admit("personal", owner_of(life), chance.choice(("in", "out")), size)
        await passage.take(size)
        passage.end()
        os.write(told, WORD.pack(size))
        if chance.random() < 0.02:
            await meter.post()


def main() -> None:
    """Run all lives and say how they ended."""
    url, directory, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    chance, ended = random.Random(seed), []
    for life in range(1, kills + 1):
        heard, told = os.pipe()
        child = os.fork()
        if not child:
            os.close(heard)
            asyncio.run(live(url, directory, life, seed, told))
            os._exit(1)
        os.close(told)
        first = os.read(heard, WORD.size)  # it lives
        time.sleep(chance.random() * 0.1)  # the moment of the kill
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = first
        while part := os.read(heard, 1 << 16):
            said += part
        os.close(heard)
        words = [WORD.unpack_from(said, at)[0] for at in range(0, len(said) - WORD.size + 1, WORD.size)]
        done = [word for word in words if word > 0]
        ended.append({"done": sum(done), "transfers": len(done), "going_on": -words[-1] if words[-1] < 0 else 0})
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
