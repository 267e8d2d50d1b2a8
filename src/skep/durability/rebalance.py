"""Rebalancing: a plan that can be looked at before anything moves, and the worker that carries it out.

A plan is numbered, lists its moves, and holds for the stores as they are: when a store comes, goes, or changes its
size or state, what is left of a running plan is dropped (``stale``), and a new plan has to be made. One plan exists
at a time besides those that ended. A move whose shard is gone or has moved meanwhile is skipped; one that fails is
tried again at the end, at most ``ATTEMPTS_MAX`` times.

Shards move between stores of one owner alone: the hive's among the hive's, a user's among theirs, and where the policy
of the pack's owner lets them (pools.py).

    proposed -> running -> done | stale | cancelled
    proposed -> stale | cancelled
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from skep.base.clock import Clock
from skep.base.errors import Conflict, NotFound, SkepError
from skep.base.ids import Id
from skep.base.workers import Outcome, Progress
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import digest
from skep.db import Database, Transaction, insert_new, prepared
from skep.db import schema as s
from skep.durability.balance import Balancing, Bin, Move, Placed
from skep.durability.moving import move_shard
from skep.durability.pools import Pool
from skep.durability.service import ChunkService

MOVES_MAX = 20_000
"""Moves of one plan; a hive that needs more makes another plan after it."""
PAGE = 500
ATTEMPTS_MAX = 3

PlanState = Literal["proposed", "running", "done", "stale", "cancelled"]

_b, _m, _p, _h = s.rebalances.c, s.rebalance_moves.c, s.packs.c, s.shards.c
_PLAN_COLUMNS = sa.select(
    _b.version, _b.state, _b.layout, _b.stores, _b.moves, _b.move_bytes, _b.moved, _b.moved_bytes, _b.skipped,
    _b.created_us, _b.ended_us,
)  # fmt: skip
_NEWEST = prepared(_PLAN_COLUMNS.order_by(_b.version.desc()).limit(sa.bindparam("page")))
_BY_VERSION = prepared(_PLAN_COLUMNS.where(_b.version == sa.bindparam("plan")))
_RUNNING = prepared(_PLAN_COLUMNS.where(_b.state == "running").order_by(_b.version).limit(1))
_ADD_PLAN = insert_new(s.rebalances)
_ADD_MOVE = insert_new(s.rebalance_moves)
_SET_STATE = prepared(
    sa.update(s.rebalances)
    .where(_b.version == sa.bindparam("plan"))
    .values(state=sa.bindparam("to"), ended_us=sa.bindparam("ended"))
)
_END_OPEN = prepared(
    sa.update(s.rebalances).where(_b.state == "proposed").values(state="stale", ended_us=sa.bindparam("now"))
)
_COUNT_MOVE = prepared(
    sa.update(s.rebalances)
    .where(_b.version == sa.bindparam("plan"))
    .values(
        moved=_b.moved + sa.bindparam("one"),
        moved_bytes=_b.moved_bytes + sa.bindparam("bytes"),
        skipped=_b.skipped + sa.bindparam("none"),
    )
)
_MOVES = prepared(
    sa.select(_m.number, _m.pack_id, _m.shard, _m.source_id, _m.target_id, _m.size_bytes, _m.attempts)
    .where(_m.version == sa.bindparam("plan"))
    .order_by(_m.attempts, _m.number)
    .limit(sa.bindparam("page"))
)
_DROP_MOVE = prepared(
    sa.delete(s.rebalance_moves).where(_m.version == sa.bindparam("plan"), _m.number == sa.bindparam("number"))
)
_DROP_MOVES = prepared(sa.delete(s.rebalance_moves).where(_m.version == sa.bindparam("plan")))
_RETRY_MOVE = prepared(
    sa.update(s.rebalance_moves)
    .where(_m.version == sa.bindparam("plan"), _m.number == sa.bindparam("number"))
    .values(attempts=_m.attempts + 1)
)
_PACKS = prepared(
    sa.select(_p.id, _p.scheme, _p.owner_id, _p.members)
    .where(_p.id > sa.bindparam("after"), _p.retired_us.is_(None))
    .order_by(_p.id)
    .limit(PAGE)
)
_SHARDS_OF = prepared(
    sa.select(_h.pack_id, _h.number, _h.store_id, _h.size_bytes, _h.state)
    .where(_h.pack_id.in_(sa.bindparam("packs", expanding=True)))
    .order_by(_h.pack_id, _h.number)
)
_BY_SCHEME = prepared(
    sa.select(_p.scheme, sa.func.sum(_h.size_bytes))
    .join_from(s.shards, s.packs, _p.id == _h.pack_id)
    .where(_p.retired_us.is_(None), _h.store_id.in_(sa.bindparam("stores", expanding=True)))
    .group_by(_p.scheme)
)


class StoreChange(msgspec.Struct, frozen=True):
    """What a plan does to one store, in bytes."""

    name: str
    zone: str
    used_bytes: int
    share_bytes: int
    """What it should hold, by its size and the zones."""
    after_bytes: int
    """What it holds once the plan is carried out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan and how far it is."""

    version: int
    state: PlanState
    layout: bytes
    stores: tuple[StoreChange, ...]
    moves: int
    move_bytes: int
    moved: int
    moved_bytes: int
    skipped: int
    created_us: int
    ended_us: int | None


class Rebalancer:
    """Makes plans, and as the ``rebalance`` worker carries out the one that was started."""

    name = "rebalance"
    description = "Moves shards between stores as the plan says that an administrator has started."

    def __init__(self, db: Database, chunks: ChunkService, clock: Clock) -> None:
        self._db = db
        self._chunks = chunks
        self._clock = clock

    # --- plans ----------------------------------------------------------------------------------

    async def propose(self) -> tuple[Plan, list[Move]]:
        """Make a plan; nothing moves. A plan that was proposed before and not started is stale now.

        Raises Conflict while a plan runs.
        """
        stores: list[StoreChange] = []
        moves: list[Move] = []
        for bins in await self._bins():
            balancing = await self._balance(bins, MOVES_MAX - len(moves))
            stores += [self._change(each, balancing) for each in bins]
            moves += balancing.moves
        layout = self._layout()
        return await self._db.write(lambda tx: _insert(tx, layout, tuple(stores), moves)), moves

    async def _balance(self, bins: list[Bin], moves_max: int) -> Balancing:
        """The moves between stores of one owner."""
        members = list(self._chunks.stores)
        owner_id = next(member.owner_id for member in members if member.id == bins[0].store_id)
        held = [member.id for member in members if member.owner_id == owner_id]
        zone_max = await self._db.read(lambda tx: _zone_max_bytes(tx, len({each.zone for each in bins}), held))
        balancing = Balancing(bins, zone_max, moves_max, {member.id: member.zone for member in members})
        allowed: dict[Pool, frozenset[Id]] = {}
        after = b""
        while not balancing.done:
            page = await self._db.read(lambda tx, a=after: packs_after(tx, a))  # type: ignore[misc]
            if not page:
                break
            balancing.show([replace(each, allowed=self._allowed(pool, allowed)) for each, pool in page])
            after = page[-1][0].pack_id
        return balancing

    def _allowed(self, pool: Pool, known: dict[Pool, frozenset[Id]]) -> frozenset[Id]:
        """The stores that packs of a pool may lie on."""
        if pool not in known:
            tier_of = self._chunks.pools.tiers(pool)
            known[pool] = frozenset(member.id for member in self._chunks.stores if tier_of(member) is not None)
        return known[pool]

    async def start(self, version: int) -> Plan:
        """Let the worker carry a proposed plan out. Raises NotFound, Conflict (stale, ended, another runs)."""
        layout = self._layout()

        def work(tx: Transaction) -> Plan:
            plan = _plan(tx, version)
            if tx.one(_RUNNING) is not None:
                raise Conflict("a plan is being carried out: wait for it, or cancel it")
            if plan.state != "proposed":
                raise Conflict(f"plan {version} is {plan.state}: make a new one with `skep store rebalance --plan`")
            if plan.layout != layout:
                tx.run(_SET_STATE, {"plan": version, "to": "stale", "ended": tx.now_us})
                tx.run(_DROP_MOVES, {"plan": version})
                return _plan(tx, version)
            tx.run(_SET_STATE, {"plan": version, "to": "running", "ended": None})
            return _plan(tx, version)

        plan = await self._db.write(work)
        if plan.state == "stale":
            raise Conflict(f"the stores have changed since plan {version} was made: make a new one")
        return plan

    async def cancel(self, version: int) -> Plan:
        """End a plan where it is; what has moved stays. Raises NotFound, Conflict (it has ended)."""

        def work(tx: Transaction) -> Plan:
            plan = _plan(tx, version)
            if plan.state not in ("proposed", "running"):
                raise Conflict(f"plan {version} is {plan.state} already")
            return _end(tx, version, "cancelled")

        return await self._db.write(work)

    async def plan(self, version: int) -> Plan:
        """A plan by its number. Raises NotFound."""
        return await self._db.read(lambda tx: _plan(tx, version))

    async def plans(self, limit: int = 20) -> list[Plan]:
        """The last plans, the newest first."""
        return await self._db.read(lambda tx: [_read(row) for row in tx.rows(_NEWEST, {"page": limit})])

    async def moves(self, version: int, limit: int = 1000) -> list[Move]:
        """The next moves of a plan that are not made yet."""
        rows = await self._db.read(lambda tx: tx.rows(_MOVES, {"plan": version, "page": limit}))
        return [Move(bytes(row[1]), row[2], bytes(row[3]), bytes(row[4]), row[5]) for row in rows]

    # --- the worker -----------------------------------------------------------------------------

    async def run_once(self, progress: Progress) -> Outcome:
        """Make one move of the running plan."""
        row = await self._db.read(lambda tx: tx.one(_RUNNING))
        if row is None:
            progress.report()
            return Outcome(more_work=False)
        plan = _read(row)
        if plan.layout != self._layout():
            await self._db.write(lambda tx: _end(tx, plan.version, "stale"))
            return Outcome(more_work=False)
        progress.report(
            fraction=(plan.moved + plan.skipped) / max(1, plan.moves),
            queued_units=plan.moves - plan.moved - plan.skipped,
        )
        found = await self._db.read(lambda tx: tx.one(_MOVES, {"plan": plan.version, "page": 1}))
        if found is None:
            await self._db.write(lambda tx: _end(tx, plan.version, "done"))
            return Outcome(more_work=False)
        return Outcome(more_work=True, done_units=await self._make(plan.version, found))

    async def run(self, version: int) -> Plan:
        """Start a plan and carry it out now."""
        await self.start(version)
        while (await self.run_once(Progress())).more_work:
            pass
        return await self.plan(version)

    async def _make(self, version: int, row: tuple[Any, ...]) -> int:
        number, pack_id, shard, _, target, _, attempts = row
        try:
            moved = await move_shard(self._db, self._chunks, bytes(pack_id), shard, bytes(target))
        except SkepError:
            if attempts + 1 < ATTEMPTS_MAX:
                await self._db.write(lambda tx: tx.run(_RETRY_MOVE, {"plan": version, "number": number}))
                return 0
            moved = 0
        counts = {"plan": version, "one": int(moved > 0), "bytes": moved, "none": int(moved == 0)}

        def record(tx: Transaction) -> None:
            if tx.run(_DROP_MOVE, {"plan": version, "number": number}):
                tx.run(_COUNT_MOVE, counts)

        await self._db.write(record)
        return int(moved > 0)

    # --- the stores -----------------------------------------------------------------------------

    async def _bins(self) -> list[list[Bin]]:
        """The stores that give and take, active ones that answer, by owner: the hive's first."""
        takers = {each.store_id for each in await self._chunks.stores.candidates(lambda member: 0)}
        by_owner: dict[Id | None, list[Bin]] = {None: []}
        for member in self._chunks.stores:
            if member.id in takers:
                each = Bin(member.id, member.zone, member.weight, member.used_bytes, member.free_bytes)
                by_owner.setdefault(member.owner_id, []).append(each)
        return [bins for bins in by_owner.values() if bins]

    def _layout(self) -> bytes:
        """What a plan holds for: which stores there are, their zones, sizes and states, and where content may lie."""
        facts = sorted(
            (member.id.hex(), member.zone, member.state, member.capacity_bytes, member.terms.jurisdiction)
            for member in self._chunks.stores
        )
        return digest(msgspec.json.encode([facts, self._chunks.pools.facts]))

    def _change(self, each: Bin, balancing: Balancing) -> StoreChange:
        member = self._chunks.stores.get(each.store_id)
        name = member.name if member is not None else each.store_id.hex()
        share = round(balancing.share(each.store_id))
        return StoreChange(name, each.zone, each.used_bytes, share, balancing.holds[each.store_id])


def _zone_max_bytes(tx: Transaction, zones: int, stores: list[Id]) -> int:
    """The most that one zone can hold: of a pack of n shards one, or more where zones are fewer than shards."""
    most = 0.0
    for scheme, size_bytes in tx.rows(_BY_SCHEME, {"stores": stores}):
        total = Scheme.parse(scheme).total
        most += int(size_bytes or 0) * -(-total // max(1, zones)) / total
    return round(most)


def packs_after(tx: Transaction, after: bytes) -> list[tuple[Placed, Pool]]:
    """The next packs by id, at most PAGE: where their shards lie, and where they may."""
    rows = tx.rows(_PACKS, {"after": after})
    pools = [Pool(row[2] and bytes(row[2]), row[3]) for row in rows]
    packs = [bytes(row[0]) for row in rows]
    return list(zip(_placed(packs, tx.rows(_SHARDS_OF, {"packs": packs})), pools, strict=True)) if packs else []


def _placed(packs: list[bytes], rows: list[tuple[Any, ...]]) -> Iterator[Placed]:
    by_pack: dict[bytes, list[tuple[Any, ...]]] = {pack_id: [] for pack_id in packs}
    for row in rows:
        by_pack[bytes(row[0])].append(row)
    for pack_id, found in by_pack.items():
        total = max((row[1] for row in found), default=-1) + 1
        stores: list[Id | None] = [None] * total
        for row in found:
            stores[row[1]] = bytes(row[2]) if row[4] == "ok" else None
        yield Placed(pack_id, max((row[3] for row in found), default=0), tuple(stores))


def _insert(tx: Transaction, layout: bytes, stores: tuple[StoreChange, ...], moves: list[Move]) -> Plan:
    if tx.one(_RUNNING) is not None:
        raise Conflict("a plan is being carried out: wait for it, or cancel it with `skep store rebalance --cancel`")
    tx.run(_END_OPEN, {"now": tx.now_us})
    newest = tx.one(_NEWEST, {"page": 1})
    version = 1 if newest is None else int(newest[0]) + 1
    if newest is not None:
        tx.run(_DROP_MOVES, {"plan": newest[0]})
    row = {
        "version": version, "state": "proposed", "layout": layout, "stores": msgspec.json.encode(stores).decode(),
        "moves": len(moves), "move_bytes": sum(move.size_bytes for move in moves), "moved": 0, "moved_bytes": 0,
        "skipped": 0, "created_us": tx.now_us, "ended_us": None,
    }  # fmt: skip
    tx.run(_ADD_PLAN, row)
    for number, move in enumerate(moves):
        tx.run(
            _ADD_MOVE,
            {
                "version": version, "number": number, "pack_id": move.pack_id, "shard": move.shard,
                "source_id": move.source, "target_id": move.target, "size_bytes": move.size_bytes, "attempts": 0,
            },
        )  # fmt: skip
    return _plan(tx, version)


def _end(tx: Transaction, version: int, state: PlanState) -> Plan:
    tx.run(_SET_STATE, {"plan": version, "to": state, "ended": tx.now_us})
    tx.run(_DROP_MOVES, {"plan": version})
    return _plan(tx, version)


def _plan(tx: Transaction, version: int) -> Plan:
    row = tx.one(_BY_VERSION, {"plan": version})
    if row is None:
        raise NotFound(f"there is no plan {version}: `skep store rebalance --plan` makes one")
    return _read(row)


def _read(row: tuple[Any, ...]) -> Plan:
    version, state, layout, stores, *rest = row
    return Plan(version, state, bytes(layout), msgspec.json.decode(stores, type=tuple[StoreChange, ...]), *rest)
