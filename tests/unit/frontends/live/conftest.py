from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def hive(tmp_path: Path, clock: FakeClock) -> AsyncIterator[TestHive]:
    async with open_test_hive(
        tmp_path, clock=clock, limits__streams_of_one=3, limits__streams_at_once=5, limits__subscriber_queue=20
    ) as opened:
        yield opened


@pytest.fixture
async def ada(hive: TestHive) -> httpx.AsyncClient:
    return await hive.client("ada")
