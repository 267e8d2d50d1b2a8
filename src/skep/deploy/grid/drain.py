"""Emptying servers: which block could be given back if its slices moved, and whether that is worth the disturbance.

A rule that only places cannot be near the optimum when jobs live for minutes and for months side by side; a few moves
an hour can. Each is paid for: what the closed block saves, as a share of the fleet's price, is set against what the
moves disturb, as a share of all that could be disturbed. A move without a gain scores nothing, so nothing churns.
"""

from __future__ import annotations

import msgspec

from skep.deploy.grid.layout import Block, Layout, fits
from skep.deploy.grid.place import place
from skep.deploy.grid.records import Move
from skep.deploy.stack.records import Size

CANDIDATES = 12  # blocks that are tried in one round
LEAST_WORTH = 0.5


class Drain(msgspec.Struct, frozen=True):
    """A block, the moves that empty it, in order, and how much they are worth (see the module)."""

    block: str
    moves: tuple[Move, ...]
    worth: float


def plan_drain(layout: Layout, *, budget: int, headroom: Size | None = None) -> Drain | None:
    """The best block to empty with at most ``budget`` moves, or None.

    Only blocks on which every slice may be moved count, and no empty block is filled for it. After the moves a slice of
    size ``headroom`` must still find room on one block. The layout is left as it was.
    """
    if budget < 1:
        return None
    fleet_price, fleet_disruption = _fleet(layout)
    best: Drain | None = None
    for block in _nearly_empty(layout, budget):
        moves = _empty(layout, block, headroom)
        if moves is None:
            continue
        disruption = sum(item.disruption for item in block.slices.values())
        saved = block.facts.price / fleet_price if fleet_price else 0.0
        worth = saved / (disruption / fleet_disruption) if disruption else float("inf")
        if worth >= LEAST_WORTH and (best is None or worth > best.worth):
            best = Drain(block.facts.id, moves, worth)
    return best


def _fleet(layout: Layout) -> tuple[float, float]:
    price = sum(block.facts.price for block in layout.blocks.values())
    disruption = sum(
        item.disruption for block in layout.blocks.values() for item in block.slices.values() if item.movable
    )
    return price, disruption


def _nearly_empty(layout: Layout, budget: int) -> list[Block]:
    """Blocks with few slices, all of them movable: fewest first, then those with the least on them."""
    able = [
        block
        for block in layout.blocks.values()
        if 0 < len(block.slices) <= budget and not block.closed and all(s.movable for s in block.slices.values())
    ]
    able.sort(key=lambda block: (len(block.slices), _fill(block), block.facts.number))
    return able[:CANDIDATES]


def _fill(block: Block) -> float:
    used = block.used
    return used.cpu_millis * block.weights[0] + used.memory_bytes * block.weights[1]


def _empty(layout: Layout, block: Block, headroom: Size | None) -> tuple[Move, ...] | None:
    """The moves that empty the block, largest slice first, each to its tightest fit; None where one has no place.

    They are tried on the layout itself, which is cheaper than a copy of a whole fleet, and taken back.
    """
    idle = {other.facts.id for other in layout.blocks.values() if not other.slices}
    idle.add(block.facts.id)
    moves: list[Move] = []
    try:
        for item in sorted(block.slices.values(), key=lambda one: (-_share(block, one.size), one.id)):
            target = place(layout, item, without=idle, together=False)
            if target is None:
                return None
            layout.move(item.id, target.facts.id)
            moves.append(Move(item.id, block.facts.id, target.facts.id))
        return tuple(moves) if headroom is None or _has_room(layout, block, headroom) else None
    finally:
        for move in reversed(moves):
            layout.move(move.slice, move.source)


def _share(block: Block, size: Size) -> float:
    return size.cpu_millis * block.weights[0] + size.memory_bytes * block.weights[1]


def _has_room(layout: Layout, gone: Block, headroom: Size) -> bool:
    return any(fits(headroom, block.free) for block in layout.blocks.values() if block is not gone and not block.closed)
