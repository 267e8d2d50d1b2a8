"""Making room: before a server is rented, see whether moving one slice, or two, is enough.

A fleet is often full for one large job only because small ones lie badly. One ejection (a slice goes elsewhere and
the new one takes its place) mends most cases; a chain of two mends some more. What is looked at is bounded, so that a
decision stays quick however large the fleet is.
"""

from __future__ import annotations

from skep.deploy.grid.layout import Block, Layout, fits
from skep.deploy.grid.place import place
from skep.deploy.grid.records import HERE, Move, Slice

TRIES = 48  # ejections that are tried for one slice
CHAIN_TRIES = 12  # of those, how many may push a second slice on


def make_room(
    layout: Layout, item: Slice, *, worth: float, chain: bool = True
) -> tuple[Block, tuple[Move, ...]] | None:
    """The block that can take the slice after the moves, in order, or None.

    ``worth`` is the most disruption that the moves may cost in all. The layout is left as it was.
    """
    if not _enough_in_all(layout, item):
        return None
    ejections = _ejections(layout, item, worth)
    for block, victim in ejections[:TRIES]:
        target = _elsewhere(layout, block, victim, item)
        if target is not None:
            return block, (Move(victim.id, block.facts.id, target.facts.id),)
    if chain:
        for block, victim in ejections[:CHAIN_TRIES]:
            moves = _chain(layout, block, victim, item, worth - victim.disruption)
            if moves is not None:
                return block, moves
    return None


def _enough_in_all(layout: Layout, item: Slice) -> bool:
    cpu = memory = 0
    for block in layout.blocks.values():
        if not block.closed:
            cpu += block.cpu
            memory += block.memory
    return cpu >= item.size.cpu_millis and memory >= item.size.memory_bytes


def _ejections(layout: Layout, item: Slice, worth: float) -> list[tuple[Block, Slice]]:
    """Pairs of a block and the smallest slice whose leaving lets the new one in; the cheapest first."""
    found = []
    for block in layout.blocks.values():
        if not _admissible(block, item):
            continue
        cpu, memory = item.size.cpu_millis - block.cpu, item.size.memory_bytes - block.memory
        disk = item.size.disk_bytes - block.disk
        best: tuple[float, float, str] | None = None
        for other in block.slices.values():
            size = other.size
            if size.cpu_millis < cpu or size.memory_bytes < memory or size.disk_bytes < disk:
                continue
            if not other.movable or other.disruption > worth or not (block.ports - other.ports).isdisjoint(item.ports):
                continue
            share = size.cpu_millis * block.weights[0] + size.memory_bytes * block.weights[1]
            key = (other.disruption, share, other.id)
            if best is None or key < best:
                best = key
        if best is not None:
            found.append((best, block.facts.number, block, block.slices[best[2]]))
    found.sort(key=lambda entry: entry[:2])
    return [(block, victim) for _, _, block, victim in found]


def _admissible(block: Block, item: Slice) -> bool:
    return not (
        block.closed
        or (item.pinned and item.pinned not in (HERE, block.facts.id))
        or not item.tags <= block.facts.tags
        or not fits(item.size, block.facts.size)
        or block.holds_group(item.group)
    )


def _elsewhere(layout: Layout, block: Block, victim: Slice, item: Slice) -> Block | None:
    """Where the victim goes. It must not shrink the room that the new slice needs, so its own block is out."""
    return place(layout, victim, without=(block.facts.id,), together=False)


def _chain(layout: Layout, block: Block, victim: Slice, item: Slice, worth: float) -> tuple[Move, ...] | None:
    """The victim takes the place of a second one, which goes on to a third block."""
    for second_block, second in _ejections(layout, victim, worth)[:CHAIN_TRIES]:
        if second_block is block or second.size == victim.size:
            continue
        target = place(layout, second, without=(block.facts.id, second_block.facts.id), together=False)
        if target is not None:
            return (
                Move(second.id, second_block.facts.id, target.facts.id),
                Move(victim.id, block.facts.id, second_block.facts.id),
            )
    return None
