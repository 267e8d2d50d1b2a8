"""Plans that move shards between stores, for administrators."""

from __future__ import annotations

import msgspec

from skep.base.errors import NotFound
from skep.durability.balance import Move
from skep.durability.rebalance import Plan, StoreChange
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation

TAG = "upkeep"
MOVES_SHOWN = 100


class MoveRecord(msgspec.Struct, frozen=True):
    """One shard that is to go from one store to another."""

    pack_id: str
    shard: int
    source: str
    target: str
    size_bytes: int


class PlanRecord(msgspec.Struct, frozen=True):
    """A plan: what it does to each store, how much moves, how far it is."""

    version: int
    state: str
    """proposed, running, done, stale (the stores have changed) or cancelled."""
    stores: list[StoreChange]
    moves: int
    move_bytes: int
    moved: int
    moved_bytes: int
    skipped: int
    """Moves that could not be made, or were needless when their turn came."""
    created_us: int
    ended_us: int | None
    next_moves: list[MoveRecord]
    """The first of those that are not made yet."""


class Plans(msgspec.Struct, frozen=True):
    """The last plans, the newest first."""

    plans: list[PlanRecord]


async def list_plans(call: Call) -> Plans:
    """List the last plans."""
    return Plans([_record(plan, [], call) for plan in await call.services.rebalancer.plans()])


async def propose_plan(call: Call) -> PlanRecord:
    """Make a plan that fills the stores evenly with the fewest bytes moved. Nothing moves before it is started."""
    plan, moves = await call.services.rebalancer.propose()
    return _record(plan, moves[:MOVES_SHOWN], call)


async def get_plan(call: Call) -> PlanRecord:
    """Show a plan and how far it is."""
    return await _shown(call, await call.services.rebalancer.plan(_version(call)))


async def start_plan(call: Call) -> PlanRecord:
    """Carry a plan out, in the background. 409 when the stores have changed since it was made."""
    plan = await call.services.rebalancer.start(_version(call))
    call.services.workers.trigger("rebalance")
    return await _shown(call, plan)


async def cancel_plan(call: Call) -> PlanRecord:
    """End a plan where it is; what has moved stays where it is now."""
    return _record(await call.services.rebalancer.cancel(_version(call)), [], call)


def _version(call: Call) -> int:
    text = call.path["version"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound(f"There is no plan {text[:40]!r}: plans have numbers.")
    return int(text)


async def _shown(call: Call, plan: Plan) -> PlanRecord:
    moves = await call.services.rebalancer.moves(plan.version, MOVES_SHOWN)
    return _record(plan, moves, call)


def _record(plan: Plan, moves: list[Move], call: Call) -> PlanRecord:
    names = {member.id: member.name for member in call.services.stores}
    shown = [
        MoveRecord(
            move.pack_id.hex(),
            move.shard,
            names.get(move.source, move.source.hex()),
            names.get(move.target, move.target.hex()),
            move.size_bytes,
        )
        for move in moves
    ]
    return PlanRecord(
        version=plan.version, state=plan.state, stores=list(plan.stores), moves=plan.moves, move_bytes=plan.move_bytes,
        moved=plan.moved, moved_bytes=plan.moved_bytes, skipped=plan.skipped, created_us=plan.created_us,
        ended_us=plan.ended_us, next_moves=shown,
    )  # fmt: skip


_PLANS, _PLAN = "/api/admin/rebalance", "/api/admin/rebalance/{version}"
OPERATIONS = (
    Operation("GET", _PLANS, list_plans, "admin", TAG, admin=True),
    Operation("POST", _PLANS, propose_plan, "admin", TAG, admin=True, status=201),
    Operation("GET", _PLAN, get_plan, "admin", TAG, admin=True),
    Operation("POST", f"{_PLAN}/start", start_plan, "admin", TAG, admin=True),
    Operation("DELETE", _PLAN, cancel_plan, "admin", TAG, admin=True),
)
