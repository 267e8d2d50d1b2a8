"""How few servers could hold these jobs: a certified lower bound, and a packing near it, by column generation.

Gilmore and Gomory: the linear master chooses patterns (what one server may hold), the pricing problem is a knapsack
with two constraints, both solved by HiGHS. The master's optimum, rounded up, is a lower bound that no packing can beat;
the integer master over the patterns that were found is a packing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from skep.deploy.grid import Size

_ROUNDS = 400
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Optimum:
    """The fewest servers lie between ``at_least`` (certified) and ``at_most`` (a packing)."""

    at_least: int
    at_most: int


def optimum(sizes: Sequence[Size], capacity: Size) -> Optimum:
    """Bounds for identical servers; sizes that repeat make it quick."""
    counted = Counter((size.cpu_millis, size.memory_bytes >> 20) for size in sizes)
    kinds = sorted(counted)
    demand = [counted[kind] for kind in kinds]
    room = (capacity.cpu_millis, capacity.memory_bytes >> 20)
    patterns = [_alone(index, kind, room, len(kinds)) for index, kind in enumerate(kinds)]
    bound = 0.0
    for _ in range(_ROUNDS):
        value, duals = _master(patterns, demand, integer=False)
        worth, pattern = _pricing(kinds, duals, demand, room)
        bound = max(bound, value / max(1.0, worth))  # Farley's bound holds before the last round, too
        if worth <= 1.0 + 1e-7:
            bound = max(bound, value)
            break
        patterns.append(pattern)
    packed, _ = _master(patterns, demand, integer=True)
    return Optimum(math.ceil(bound - 1e-6), round(packed))


def _alone(index: int, kind: tuple[int, int], room: tuple[int, int], count: int) -> list[int]:
    pattern = [0] * count
    pattern[index] = min(have // need for have, need in zip(room, kind, strict=True) if need)
    return pattern


def _solver(seconds: float) -> highspy.Highs:
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("time_limit", seconds)
    return solver


def _master(patterns: list[list[int]], demand: list[int], *, integer: bool) -> tuple[float, list[float]]:
    """The fewest servers by these patterns, and what one more job of each kind would cost."""
    solver = _solver(_SECONDS)
    infinity = highspy.kHighsInf
    for index in range(len(patterns)):
        solver.addVar(0.0, infinity)
        solver.changeColCost(index, 1.0)
        if integer:
            solver.changeColIntegrality(index, highspy.HighsVarType.kInteger)
    for kind, needed in enumerate(demand):
        columns = [index for index, pattern in enumerate(patterns) if pattern[kind]]
        values = np.array([patterns[index][kind] for index in columns], dtype=np.double)
        solver.addRow(float(needed), infinity, len(columns), np.array(columns, dtype=np.int32), values)
    solver.run()
    return solver.getInfo().objective_function_value, list(solver.getSolution().row_dual)


def _pricing(
    kinds: list[tuple[int, int]], duals: list[float], demand: list[int], room: tuple[int, int]
) -> tuple[float, list[int]]:
    """The pattern that is worth the most at these duals, and an upper bound of that worth."""
    solver = _solver(_SECONDS)
    for index, (dual, needed) in enumerate(zip(duals, demand, strict=True)):
        solver.addVar(0.0, float(needed))
        solver.changeColCost(index, -max(0.0, dual))
        solver.changeColIntegrality(index, highspy.HighsVarType.kInteger)
    every = np.arange(len(kinds), dtype=np.int32)
    for part in range(2):
        solver.addRow(
            -highspy.kHighsInf,
            float(room[part]),
            len(kinds),
            every,
            np.array([k[part] for k in kinds], dtype=np.double),
        )
    solver.run()
    pattern = [round(value) for value in solver.getSolution().col_value]
    return -solver.getInfo().mip_dual_bound, pattern
