"""The shared suite on the memory engine, under a clock that nobody waits for."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from skep.deploy.engines.conformance import CHECKS, check
from skep.deploy.engines.memory import MemoryEngine, MemoryHost
from skep.deploy.engines.records import Image
from skep.testing.clock import FakeClock


class MemoryBench:
    image = Image(ref="tree:program", archive=Path("none"))
    program = ("program",)

    def __init__(self) -> None:
        self.clock = FakeClock(auto=True)
        self._host = MemoryHost("memory", self.clock)
        self._host.latency_s = lambda verb: 0.01
        self._ports = itertools.count(9000)

    async def open(self) -> MemoryEngine:
        return MemoryEngine(self._host)

    def free_port(self) -> int:
        return next(self._ports)


@pytest.mark.parametrize("name", CHECKS)
async def test_the_memory_engine_keeps_the_contract(name: str) -> None:
    (result,) = await check(MemoryBench(), only=name)
    if result.outcome == "skipped":
        pytest.skip(result.detail)
    assert result.outcome == "passed", result.detail
