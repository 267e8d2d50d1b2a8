from __future__ import annotations

import pytest

from skep.testing.accounts import open_auth


@pytest.fixture
async def bench(tmp_path):
    async with open_auth(tmp_path, registration="open") as opened:
        yield opened
