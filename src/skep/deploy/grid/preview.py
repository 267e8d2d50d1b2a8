"""What would become of slices if they were added now, tried on a picture of the grid: nothing is changed by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from skep.deploy.grid.layout import Block, Layout
from skep.deploy.grid.options import Options
from skep.deploy.grid.place import place
from skep.deploy.grid.records import BlockFacts, Move, ServerType, Slice
from skep.deploy.grid.room import make_room


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the grid would do."""

    kind: Literal["place", "move", "rent", "full"]
    """``full``: nothing takes the slice, and nothing can be rented that would."""
    slice: str
    block: str = ""
    """Where it would be; of a server that is to be rented, its type."""
    source: str = ""
    """Of a move: where it is now."""
    price: float = 0.0
    """Of what is rented, by the hour."""


def preview(
    layout: Layout, options: Options, items: Sequence[Slice], *, credit: float, can_create: bool
) -> tuple[Step, ...]:
    """What the grid would do to add these slices, one after the other. ``credit`` is what moves may cost."""
    trial, steps = layout.copy(), []
    for item in items:
        block = place(trial, item)
        if block is None and credit >= 1.0:
            found = make_room(trial, item, worth=min(credit, 2.0))
            if found is not None:
                block, moves = found
                credit -= len(moves)
                steps += [_moved(trial, move) for move in moves]
        if block is None:
            block = _rented(trial, options, item) if can_create else None
            if block is None:
                steps.append(Step(kind="full", slice=item.id))
                continue
            steps.append(Step(kind="rent", slice=item.id, block=block.facts.type, price=block.facts.price))
        trial.put(item, block.facts.id)
        steps.append(Step(kind="place", slice=item.id, block=block.facts.id))
    return tuple(steps)


def _moved(trial: Layout, move: Move) -> Step:
    trial.move(move.slice, move.target)
    return Step(kind="move", slice=move.slice, block=move.target, source=move.source)


def _rented(trial: Layout, options: Options, item: Slice) -> Block | None:
    """The server that would be rented for the slice, as if it was there."""
    chosen = options.cheapest(item.size, item.tags)
    if chosen is None or len(trial.blocks) >= options.max:
        return None
    block = Block(_as_there(chosen, len(trial.blocks)))
    if block.refusal(item):  # it is pinned elsewhere
        return None
    trial.open(block)
    return block


def _as_there(one: ServerType, number: int) -> BlockFacts:
    return BlockFacts(
        id=f"{one.name} (new {number + 1})", size=one.size, number=1_000_000 + number, type=one.name, price=one.price,
        region=one.region, tags=one.tags,
    )  # fmt: skip
