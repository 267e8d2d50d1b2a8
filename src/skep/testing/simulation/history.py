"""What must be true of a hive when everything has healed, and when everything was deleted."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import sqlalchemy as sa

from skep.base.errors import InUse
from skep.db import prepared
from skep.db import schema as s
from skep.durability.records import shard_key
from skep.filesystem import check as check_metadata
from skep.server.compose import Hive
from skep.testing.simulation.places import CALM
from skep.testing.simulation.users import Client
from skep.testing.simulation.world import Broken

if TYPE_CHECKING:
    from skep.testing.simulation.run import Run

ROUNDS_MAX = 60
ROUND_S = 40.0
"""All rounds together are longer than a store that is down rests, and than repair waits before it tries again."""
EMPTYING_MAX = 6
"""Grace periods until nothing may be left: chunks need one, their packs another, repack may come in between."""

IDLE_MAX = 120
"""Seconds until no worker holds a lease."""

_SHARDS = prepared(
    sa.select(s.shards.c.pack_id, s.shards.c.number, s.stores.c.name, s.shards.c.state)
    .join_from(s.shards, s.stores, s.stores.c.id == s.shards.c.store_id)
    .join(s.packs, s.packs.c.id == s.shards.c.pack_id)
    .where(s.packs.c.retired_us.is_(None))
)
_ROWS = {
    table.name: prepared(sa.select(sa.func.count()).select_from(table))
    for table in (s.chunks, s.packs, s.shards, s.repairs)
}
_USED = prepared(sa.select(s.stores.c.name, s.stores.c.used_bytes).where(s.stores.c.used_bytes != 0))


_RELIED_ON = (
    "SELECT shards.pack_id, shards.number, stores.name FROM shards"
    " JOIN stores ON stores.id = shards.store_id JOIN packs ON packs.id = shards.pack_id"
    " WHERE shards.state = 'ok' AND packs.retired_us IS NULL"
)


_RECOVERING = "SELECT 1 FROM hive WHERE name IN ('recovering', 'snapshot-loading')"
_ASTRAY = """
SELECT shards.pack_id, stores.name FROM shards
 JOIN stores ON stores.id = shards.store_id JOIN packs ON packs.id = shards.pack_id
 WHERE shards.state = 'ok' AND packs.retired_us IS NULL AND (
  (stores.owner_id IS NOT NULL AND stores.owner_id IS NOT packs.owner_id)
  OR (stores.owner_id IS NULL AND packs.owner_id = :alone))
"""
"""Shards on a store of somebody else, or of one who wants theirs on their own stores alone on the hive's."""
_MIXED = """
SELECT packs.id FROM chunks JOIN packs ON packs.id = chunks.pack_id JOIN domains ON domains.id = chunks.domain_id
 WHERE (packs.owner_id IS NOT NULL AND domains.owner_id IS NOT packs.owner_id)
  OR (packs.owner_id IS NULL AND domains.owner_id = :alone)
"""
"""Packs with content of somebody whose pack it is not."""


def check_rows(run: Run) -> None:
    """What rows call good now was put where they say, and the hive has not deleted it. Raises Broken.

    What stores lose is not looked at: repair would hide within seconds what the hive itself has done wrong. Takes no
    turn of the loop: rows and stores are seen at one moment.
    """
    with closing(sqlite3.connect(run.directory / "skep.db")) as connection:
        if connection.execute(_RECOVERING).fetchone() is not None:
            return  # nobody relies on what a recovery has not finished
        rows = connection.execute(_RELIED_ON).fetchall()
        alone = {"alone": run.owns.alone_id}
        astray = connection.execute(_ASTRAY, alone).fetchall() if run.owns.stores else []
        mixed = connection.execute(_MIXED, alone).fetchall() if run.owns.stores else []
    if astray:
        raise Broken(f"a shard of pack {astray[0][0].hex()} lies on {astray[0][1]}, whose owner it is not of")
    if mixed:
        raise Broken(f"pack {mixed[0][0].hex()} has content of somebody who is not its owner")
    places = {place.name: place for place in run.places}
    for pack, number, store in rows:
        place, key = places[store], shard_key(pack, number)
        if key not in place.given:
            raise Broken(f"shard {number} of pack {pack.hex()} was never put on {store}, and a row calls it good")
        if key in place.removed:
            raise Broken(f"shard {number} of pack {pack.hex()} was deleted on {store}, and a row calls it good")


async def settle(run: Run, hive: Hive) -> None:
    """End all trouble, wait until the hive has mended what can be mended, and look at everything.

    Raises Broken.
    """
    run.bound.closed = True
    run.world.note("everything heals")
    check_rows(run)
    capacities = [place.capacity_bytes for place in run.places]
    for place in run.places:
        place.mood, place.capacity_bytes = CALM, None
    await run.replace_dead(hive)
    for member in hive.stores:
        if member.state in ("draining", "readonly"):
            await hive.stores.set_state(member, "active")
    for _ in range(ROUNDS_MAX):
        await asyncio.sleep(ROUND_S)
        if await _is_whole(hive):
            break
    else:
        raise Broken(f"repair does not come to an end: {await _why(hive)}")
    await _check_stores(run, hive)
    await _check_books(hive)
    for client in run.clients:
        await client.look()
    run.bound.rested([pack for pack, _, _, _ in await hive.db.read(lambda tx: tx.rows(_SHARDS))])
    for place, capacity in zip(run.places, capacities, strict=False):
        place.capacity_bytes = capacity
    run.bound.closed = False
    run.world.note("all is well")


async def whole_packs(run: Run, hive: Hive) -> list[bytes]:
    """The packs that have every shard where the rows say, bit by bit: looked at in the stores."""
    good: dict[bytes, int] = {}
    for pack, number, store, state in await hive.db.read(lambda tx: tx.rows(_SHARDS)):
        place = run.named(store)
        if state == "ok" and not place.dead and place.intact(shard_key(bytes(pack), number)):
            good[bytes(pack)] = good.get(bytes(pack), 0) + 1
    return [pack for pack, count in good.items() if count == run.scheme.total]


async def _is_whole(hive: Hive) -> bool:
    repairer, scrubber = hive.keepers.repairer, hive.keepers.scrubber
    await repairer.run()
    verdict = await scrubber.run()
    up = all(not member.down for member in hive.stores if member.state != "lost")
    return up and verdict.whole and await repairer.left() == 0


async def _why(hive: Hive) -> str:
    verdict = await hive.keepers.scrubber.run()
    rows = await hive.db.read(
        lambda tx: tx.rows(prepared(sa.select(s.repairs.c.reason, s.repairs.c.lost, s.repairs.c.last_error).limit(3)))
    )
    down = [f"{member.name} ({member.error})" for member in hive.stores if member.down and member.state != "lost"]
    return f"{verdict}, queue {rows}, down {down}"


async def _check_stores(run: Run, hive: Hive) -> None:
    """Every shard that a row calls good is there, bit by bit: looked at in the stores, not through the hive."""
    for pack, number, store, state in await hive.db.read(lambda tx: tx.rows(_SHARDS)):
        place = run.named(store)
        if state != "ok" or place.dead or not place.intact(shard_key(bytes(pack), number)):
            raise Broken(f"shard {number} of pack {bytes(pack).hex()} on {store} is {state} in the rows, not in truth")


async def _check_books(hive: Hive) -> None:
    checked = await hive.keepers.checker.run(read_data=True)
    if not checked.clean:
        raise Broken(f"fsck: {[(each.kind, each.subject, each.message) for each in checked.findings[:3]]}")
    findings = [finding async for finding in check_metadata(hive.db)]
    if findings:
        raise Broken(f"fsck of the metadata: {findings[:3]}")


async def check_empty(run: Run, hive: Hive) -> None:
    """Delete everything, let the garbage be collected, and look for what is left. Raises Broken."""
    run.bound.closed = True
    clients: list[Client] = run.clients
    for client in clients:  # two of one user share a trash
        client.forget()
    for client in clients:
        await client.delete_everything()
    for place in run.places:
        place.late.clear()
    run.world.jumped_us = run.world.jumped_max_us  # what is of a time that has not come yet is kept until then
    for _ in range(EMPTYING_MAX):
        hive.workers.trigger("retention")  # it goes on with deletions for good that were broken off
        await asyncio.sleep(run.grace_s + 1)
        await hive.keepers.collector.run()
        left = await hive.db.read(lambda tx: {name: tx.value(query) for name, query in _ROWS.items()})
        if not any(left.values()):
            break
    await hive.keepers.sweeper.run()
    if any(left.values()):
        raise Broken(f"garbage is left in the rows: {left}")
    for place in run.places:
        keys = [key for key in place.keys if key.startswith("shards/")]
        if keys and not place.dead:
            raise Broken(f"{len(keys)} shards are left on {place.name}, as {keys[0]}")
    used = await hive.db.read(lambda tx: tx.rows(_USED))
    if used:
        raise Broken(f"empty stores are counted as used: {used}")
    chunks = hive.chunks
    for _ in range(IDLE_MAX):  # a worker may be in the middle of something
        if not (chunks.leases.held or chunks.on_their_way or chunks.room.in_flight):
            break
        await asyncio.sleep(1.0)
    else:
        raise Broken(f"{chunks.leases.held} leases, {len(chunks.on_their_way)} packs on their way for ever")
    for member in list(hive.stores):
        if member.state == "lost":
            try:
                await hive.stores.remove(member)
            except InUse as error:
                raise Broken(f"a lost store cannot be removed: {error.message}") from error
