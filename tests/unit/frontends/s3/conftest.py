"""A hive in the process, and an access key to speak S3 to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.s3 import Signer, signer_of


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def hive(tmp_path: Path, clock: FakeClock) -> AsyncIterator[TestHive]:
    settings = {"s3__domain": "s3.test", "server__idle_timeout_s": 0.2}
    async with open_test_hive(tmp_path, clock=clock, **settings) as opened:
        yield opened


@pytest.fixture
async def ada(hive: TestHive, clock: FakeClock) -> Signer:
    await hive.user("ada")
    signer = await signer_of(hive, clock, "ada")
    assert (await signer.send("PUT", "/bucket")).status_code == 200
    return signer
