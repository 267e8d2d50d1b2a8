from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from skep.testing.process import RunningHive, made_hive


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def hive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    running = made_hive(tmp_path_factory.mktemp("hive"), engine=request.param)
    running.start()
    yield running
    with contextlib.suppress(ProcessLookupError):
        running.stop()
