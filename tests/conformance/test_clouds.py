"""Each cloud driver does what the contract of stores says, against the double of its provider."""

from __future__ import annotations

import pytest

from skep.stores.conformance import CHECKS, check
from skep.testing.clouds.base import CloudDouble
from skep.testing.clouds.box import BoxDouble
from skep.testing.clouds.dropbox import DropboxDouble
from skep.testing.clouds.gdrive import DriveDouble
from skep.testing.clouds.onedrive import OneDriveDouble

DOUBLES: dict[str, type[CloudDouble]] = {
    "dropbox": DropboxDouble,
    "gdrive": DriveDouble,
    "onedrive": OneDriveDouble,
    "box": BoxDouble,
}


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("provider", DOUBLES)
async def test_conforms(provider: str, lag: int) -> None:
    double = DOUBLES[provider](lag_listings=lag)
    double.page_max = 40
    with double.served():
        report = await check(double.store)
    assert report.ok, str(report)
    assert [result.name for result in report.results] == [name for name, _ in CHECKS]
    skipped = [result.name for result in report.results if result.outcome == "skipped"]
    one_by_one = [] if provider == "dropbox" else ["deleting-many"]
    assert sorted(skipped) == sorted(["listing-is-consistent", "usage", *one_by_one])
