from __future__ import annotations

import pytest

from skep.testing.files import open_files


@pytest.fixture
async def bench(tmp_path):
    async with open_files(tmp_path) as opened:
        yield opened


@pytest.fixture
async def ada(bench):
    return await bench.user("ada")
