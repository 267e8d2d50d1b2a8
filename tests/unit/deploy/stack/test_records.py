"""Sizes round up to the grid's steps."""

from __future__ import annotations

import pytest

from skep.deploy.stack.records import CPU_STEP_MILLIS, MEMORY_STEP_BYTES, Size


@pytest.mark.parametrize(
    ("given", "steps"),
    [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((MEMORY_STEP_BYTES, CPU_STEP_MILLIS), (1, 1)), ((64 << 20 | 1, 51), (2, 2))],
)
def test_a_size_is_rounded_up_to_whole_steps(given: tuple[int, int], steps: tuple[int, int]) -> None:
    rounded = Size(memory_bytes=given[0], cpu_millis=given[1], disk_bytes=given[0]).quantised()
    assert (rounded.memory_bytes, rounded.cpu_millis) == (steps[0] * MEMORY_STEP_BYTES, steps[1] * CPU_STEP_MILLIS)
    assert rounded.disk_bytes == rounded.memory_bytes
    assert rounded.quantised() == rounded
