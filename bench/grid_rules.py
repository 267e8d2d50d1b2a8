"""The placement rules of the schedulers that people run, as their sources state them, to set beside ours.

None of them moves a job that runs. Each is a function from the layout and a new job to a block or None.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

from skep.deploy.grid import Slice
from skep.deploy.grid.layout import Block, Layout


def _able(layout: Layout, item: Slice) -> Iterable[Block]:
    return (
        block
        for block in layout.blocks.values()
        if item.size.cpu_millis <= block.cpu and item.size.memory_bytes <= block.memory
    )


def _best(layout: Layout, item: Slice, score: Callable[[Block, Slice], float]) -> Block | None:
    return max(_able(layout, item), key=lambda block: (score(block, item), -block.facts.number), default=None)


def _left(block: Block, item: Slice) -> tuple[float, float]:
    """Shares of processor and memory that would be free after."""
    return (
        (block.cpu - item.size.cpu_millis) * block.weights[0],
        (block.memory - item.size.memory_bytes) * block.weights[1],
    )


def first_fit(layout: Layout, item: Slice) -> Block | None:
    """The oldest server with room."""
    return next(iter(_able(layout, item)), None)


def swarm(layout: Layout, item: Slice) -> Block | None:
    """Docker Swarm: the fewest tasks (swarmkit, manager/scheduler)."""
    return _best(layout, item, lambda block, _: -len(block.slices))


def kubernetes_default(layout: Layout, item: Slice) -> Block | None:
    """Kubernetes as shipped: LeastAllocated and BalancedAllocation, equally weighted."""

    def score(block: Block, item: Slice) -> float:
        cpu, memory = _left(block, item)
        return (cpu + memory) / 2 + 1 - abs(cpu - memory) / 2

    return _best(layout, item, score)


def kubernetes_packing(layout: Layout, item: Slice) -> Block | None:
    """Kubernetes' NodeResourcesFit with MostAllocated."""
    return _best(layout, item, lambda block, item: 2 - sum(_left(block, item)))


def _nomad_score(block: Block, item: Slice) -> float:
    """BestFit v3: 20 - (10^free processor + 10^free memory), within 0 to 18."""
    cpu, memory = _left(block, item)
    return min(18.0, max(0.0, 20.0 - (10**cpu + 10**memory)))


def nomad_full(layout: Layout, item: Slice) -> Block | None:
    """Nomad's score over every server."""
    return _best(layout, item, _nomad_score)


def nomad(seed: int = 1) -> Callable[[Layout, Slice], Block | None]:
    """Nomad as shipped: shuffles, and stops after max(2, log2 n) servers that have room."""
    chance = random.Random(seed)

    def rule(layout: Layout, item: Slice) -> Block | None:
        blocks = list(layout.blocks.values())
        chance.shuffle(blocks)
        limit = max(2, math.ceil(math.log2(len(blocks)))) if blocks else 0
        seen: list[Block] = []
        for block in blocks:
            if item.size.cpu_millis <= block.cpu and item.size.memory_bytes <= block.memory:
                seen.append(block)
                if len(seen) >= limit:
                    break
        return max(seen, key=lambda block: (_nomad_score(block, item), -block.facts.number), default=None)

    return rule
