"""Whole hives in simulated bad luck (skep.testing.simulation): seeds that hold, each the same every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from skep.testing.simulation.sabotage import SABOTAGE

PROGRAM = [sys.executable, "-m", "skep.testing.simulation"]
FEW = 24
MANY = 1000


def simulate(*arguments: str, holds: bool = True, **environ: str) -> str:
    """What the command prints. Fails the test with it when a seed fails, or when none does that should."""
    ran = subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=2400, env={**os.environ, **environ}
    )
    assert (ran.returncode == 0) == holds, ran.stdout + ran.stderr
    return ran.stdout


def test_a_few_seeds_hold() -> None:
    said = simulate("--seeds", f"0:{FEW}", "--jobs", "2")
    assert f"{FEW} seeds, 0 failed" in said
    deaths = re.search(r"(\d+) deaths", said)
    assert deaths is not None
    assert int(deaths[1]) > FEW // 2  # the rest of the test is worth little without them


def test_a_seed_is_the_same_run_in_every_process() -> None:
    alone = simulate("--seeds", "9", "--trace")
    after_others = simulate("--seeds", "8:10", "--trace", PYTHONHASHSEED="random")
    assert alone.count("\n") > 200
    assert after_others.endswith(alone)


@pytest.mark.long
def test_many_seeds_hold() -> None:
    assert f"{MANY} seeds, 0 failed" in simulate("--seeds", f"{FEW}:{FEW + MANY}", "--jobs", "2")


@pytest.mark.long
def test_a_month_of_store_failures_loses_no_byte() -> None:
    """What was lost was repaired, what rots was found, what nobody wants any more went; then all of it was read."""
    said = simulate("--month", "--seeds", "0:1")
    assert "1 seeds, 0 failed" in said
    for happened in ("a disk dies", "a bit rots", "a computer is away for long", "a provider is out", "a store lies"):
        assert re.search(rf"'{happened}': [1-9]", said), f"no {happened}: {said}"
    for worker in ("repair", "scrub", "gc", "audit"):
        assert re.search(rf"'{worker}': [1-9]", said), f"{worker} did nothing: {said}"


@pytest.mark.long
@pytest.mark.parametrize("mistake", sorted(SABOTAGE))
def test_known_mistakes_are_noticed(mistake: str) -> None:
    """A simulation in which nothing can fail would prove nothing."""
    said = simulate("--seeds", f"0:{MANY}", "--jobs", "2", "--sabotage", mistake, holds=False)
    assert "FAILED: Broken" in said
