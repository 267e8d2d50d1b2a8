"""Planning anew on demand: which moves would give the most servers back, however many an owner allows.

Local search: again and again the block whose emptying costs the fewest moves is emptied, until nothing more can be.
Unlike the drain it may fill blocks that the next round empties, and moves a slice more than once only on paper: what is
returned has one move for each slice, from where it is to where it ends.
"""

from __future__ import annotations

import msgspec

from skep.deploy.grid.drain import plan_drain
from skep.deploy.grid.layout import Layout
from skep.deploy.grid.records import Move
from skep.deploy.grid.sequence import in_order

_ROUNDS = 1_000


class Replan(msgspec.Struct, frozen=True):
    """The moves in an order in which each finds room, the blocks that become empty, and what they cost an hour."""

    moves: tuple[Move, ...]
    emptied: tuple[str, ...]
    saved: float


def replan(layout: Layout, *, moves: int) -> Replan:
    """The best that was found with at most so many moves. The layout is left as it was."""
    trial = layout.copy()
    emptied: list[str] = []
    for _ in range(_ROUNDS):
        spent = _net(layout, trial)
        found = plan_drain(trial, budget=moves - len(spent))
        if found is None:
            break
        before = trial.copy()
        for move in found.moves:
            trial.move(move.slice, move.target)
        if in_order(layout, _net(layout, trial)) is None:
            trial = before
            break
        trial.blocks[found.block].closed = True
        emptied.append(found.block)
    ordered = in_order(layout, _net(layout, trial)) or ()
    return Replan(ordered, tuple(emptied), sum(layout.blocks[block].facts.price for block in emptied))


def _net(layout: Layout, after: Layout) -> tuple[Move, ...]:
    """One move for each slice that lies elsewhere."""
    return tuple(
        Move(slice_id, home, after.homes[slice_id])
        for slice_id, home in layout.homes.items()
        if after.homes[slice_id] != home
    )
