"""The S3 driver does what the contract of stores says, against a real server."""

from __future__ import annotations

import random

from skep.stores.conformance import CHECKS, check
from skep.stores.registry import open_store
from skep.stores.stack import stacked
from skep.testing.clock import FakeClock
from skep.testing.seaweed import Seaweed


async def test_conforms(s3_server: Seaweed) -> None:
    report = await check(lambda: open_store(s3_server.url("hive/conformance"), secret=s3_server.secret))
    assert report.ok, str(report)
    assert [result.name for result in report.results] == [name for name, _ in CHECKS]
    assert [result.name for result in report.results if result.outcome == "skipped"] == ["usage"]


async def test_conforms_with_values_in_parts_and_every_wrapper(s3_server: Seaweed) -> None:
    def make() -> object:
        store = open_store(s3_server.url("hive"), secret=s3_server.secret)
        return stacked(store, clock=FakeClock(auto=True), random=random.Random(1))

    report = await check(make, large_bytes=40 << 20)  # type: ignore[arg-type]
    assert report.ok, str(report)
