from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skep.testing.hive import TestHive, open_test_hive


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path) as opened:
        yield opened


@pytest.fixture
async def ada(hive: TestHive) -> httpx.AsyncClient:
    return await hive.client("ada")


@pytest.fixture
async def bob(hive: TestHive) -> httpx.AsyncClient:
    return await hive.client("bob")
