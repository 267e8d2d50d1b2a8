"""Where a new slice goes: a full scan, the tightest balanced fit, replicas apart.

Fleets of small hosters have fewer than a thousand servers, so every block is looked at; sampling some of them, as
larger schedulers do, wastes servers. The score of a block is what would be left on it, as shares of its size, plus
half of how unequal the parts of that rest are: a rest of processor without memory is of no use to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable

from skep.deploy.grid.layout import Block, Layout
from skep.deploy.grid.records import Candidate, Slice

_WARM = 1e-6  # an image that is there already decides between equals


def score(block: Block, item: Slice) -> float:
    """How loosely the slice would sit there, from 0 (nothing is left) upwards; the smaller the better."""
    size, weights = item.size, block.weights
    cpu = (block.cpu - size.cpu_millis) * weights[0]
    memory = (block.memory - size.memory_bytes) * weights[1]
    if not size.disk_bytes:
        return cpu + memory + 0.5 * abs(cpu - memory)
    disk = (block.disk - size.disk_bytes) * weights[2]
    return cpu + memory + disk + 0.5 * (max(cpu, memory, disk) - min(cpu, memory, disk))


def place(layout: Layout, item: Slice, *, without: Iterable[str] = (), together: bool = True) -> Block | None:
    """The block that should take the slice, or None where none can.

    Blocks in ``without`` are passed over. Where only blocks with others of its group have room, one with the fewest of
    them is taken unless ``together`` is false: so the slices of a new release, which are placed beside those of the old
    one, are apart when those have gone. Equal scores go to the block that has the image, then to the oldest.
    """
    skipped = frozenset(without)
    best = beside = None
    best_key, beside_key = (float("inf"), 0), (float("inf"), 0.0, 0)
    cpu, memory, disk = item.size.cpu_millis, item.size.memory_bytes, item.size.disk_bytes
    plain = not (item.tags or item.pinned or item.ports)
    for block in layout.blocks.values():
        if cpu > block.cpu or memory > block.memory or disk > block.disk or block.closed or block.facts.id in skipped:
            continue
        if not plain and block.refusal(item):
            continue
        fit = score(block, item)
        if item.image and any(other.image == item.image for other in block.slices.values()):
            fit -= _WARM
        key = (fit, block.facts.number)
        others = block.of_group(item.group) if item.group else 0
        if others:
            if together and (others, *key) < beside_key:
                beside, beside_key = block, (others, *key)
        elif key < best_key:
            best, best_key = block, key
    return best or beside


def candidates(layout: Layout, item: Slice) -> tuple[Candidate, ...]:
    """Every block with its score or why it was refused, best first: the answer to "why here?"."""
    found = []
    for block in layout.blocks.values():
        refusal = block.refusal(item)
        if refusal:
            found.append(Candidate(block.facts.id, refused=refusal))
        else:
            beside = "beside another of its group" if block.holds_group(item.group) else ""
            found.append(Candidate(block.facts.id, round(score(block, item), 6), beside))
    return tuple(sorted(found, key=lambda one: (one.score is None, bool(one.refused), one.score or 0.0, one.block)))
