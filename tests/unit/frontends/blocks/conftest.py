"""A hive whose users speak the block API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skep.testing.blocks import Owner, owner_of
from skep.testing.hive import TestHive, open_test_hive


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path) as opened:
        yield opened


@pytest.fixture
async def ada(hive: TestHive) -> Owner:
    return await owner_of(hive, "ada")


@pytest.fixture
def anyone(hive: TestHive) -> httpx.AsyncClient:
    return hive.anonymous
