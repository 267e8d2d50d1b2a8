"""An order for moves in which each one finds room when its turn comes."""

from __future__ import annotations

from collections.abc import Sequence

from skep.deploy.grid.layout import Layout
from skep.deploy.grid.records import Move


def in_order(layout: Layout, moves: Sequence[Move]) -> tuple[Move, ...] | None:
    """The same moves, each possible when those before it are done; None where they wait for each other in a circle."""
    trial = layout.copy()
    left, done = list(moves), []
    while left:
        able = next((move for move in left if not _refused(trial, move)), None)
        if able is None:
            return None
        trial.move(able.slice, able.target)
        left.remove(able)
        done.append(able)
    return tuple(done)


def _refused(layout: Layout, move: Move) -> str:
    return layout.block(move.target).refusal(layout.home(move.slice).slices[move.slice])
