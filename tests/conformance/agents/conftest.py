"""A real hive process, and agents as processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skep.testing.agents import RunningAgent
from skep.testing.process import RunningHive, made_hive


@pytest.fixture(scope="module", params=["granian"])
def hive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    place = tmp_path_factory.mktemp("hive")
    running = made_hive(place, engine=request.param)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[str], RunningAgent]]:
    """``agent(name)``: an agent with a directory of its own, not started."""
    made: list[RunningAgent] = []

    def make(name: str) -> RunningAgent:
        space = tmp_path / name
        space.mkdir()
        made.append(RunningAgent(space))
        return made[-1]

    yield make
    for each in made:
        if each.process is not None:
            each.stop(9)
