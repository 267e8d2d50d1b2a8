"""Quotas that are almost used, limits of files and directories, and storage-hours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.base.workers import Progress
from skep.credit import storage_hours
from skep.credit.months import month_of, next_month_us
from skep.credit.upkeep import FullnessWorker
from skep.server.credit import letter_key
from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive

DATA, INFO, CREDIT = "/api/filesystem/data", "/api/filesystem/info", "/api/credit"
HOUR_S = 3600


class Told(list[tuple[str, Any]]):
    """What was told."""

    def __call__(self, kind: Any, **fields: Any) -> None:
        self.append((kind.kind(), fields))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def hive(tmp_path: Path, clock: FakeClock) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path, clock=clock, mail__url="catch-all") as opened:
        yield opened


async def put(client: httpx.AsyncClient, path: str, size_bytes: int = 1) -> int:
    answer = await client.put(DATA, params={"path": path}, content=bytes(size_bytes))
    return answer.status_code


async def look(hive: TestHive, told: Told) -> None:
    """What the worker does each minute, by a process that begins anew; and post what letters there are."""
    worker = FullnessWorker(hive.hive.db, told, letter_key(hive.hive.settings, hive.hive.identity.master.hive_keys()))
    await worker.run_once(Progress())
    await hive.hive.keepers.postroom.run_once(Progress())


def letters(place: Path) -> list[tuple[str, str]]:
    found = [message_from_bytes(path.read_bytes()) for path in sorted((place / "mail").glob("*.eml"))]
    return [(letter["To"], letter["Subject"]) for letter in found]


async def test_each_crossing_is_told_and_written_once(hive: TestHive, tmp_path: Path) -> None:
    admin, ann = await hive.client("root", is_admin=True), await hive.client("ann")
    await admin.patch("/api/auth/users/ann", json={"email": "ann@example.com"})
    await admin.patch("/api/auth/users/ann/space", json={"quota_bytes": 1000})
    told = Told()
    for path, size in (("/a", 790), ("/b", 10), ("/c", 100), ("/d", 60)):
        await put(ann, path, size)
        for _ in range(2):
            await look(hive, told)
    assert [(kind, fields["what"], fields["percent"], fields["used"]) for kind, fields in told] == [
        ("quota-almost-used", "space", 80, 800),
        ("quota-almost-used", "space", 95, 960),
    ]
    said = (await ann.get(f"{CREDIT}/warnings")).json()["warnings"]
    assert said == [{"what": "space", "percent": 95}]
    assert sorted(letters(tmp_path)) == [
        ("ann@example.com", "Almost full: 80 percent used"),
        ("ann@example.com", "Almost full: 95 percent used"),
    ]
    await admin.patch("/api/auth/users/ann/space", json={"quota_bytes": 5000})
    await look(hive, told)
    assert (await ann.get(f"{CREDIT}/warnings")).json()["warnings"] == []
    await admin.patch("/api/auth/users/ann/space", json={"quota_bytes": 1000})
    await look(hive, told)
    assert len(told) == 3


async def test_others_do_not_see_ones_warnings(hive: TestHive) -> None:
    ann = await hive.client("ann")
    await hive.user("bob")
    assert (await ann.get(f"{CREDIT}/warnings", params={"account": "user:bob"})).status_code == 403


async def test_files_and_directories_are_limited(hive: TestHive) -> None:
    admin, ann = await hive.client("root", is_admin=True), await hive.client("ann")
    said = await admin.put(f"{CREDIT}/limits", json={"account": "user:ann", "objects_max": 5})
    assert said.json()["objects_max"] == 5
    assert await put(ann, "/a/b/c/d/e/f") == 507
    assert (await ann.get(INFO, params={"path": "/a"})).status_code == 404
    assert await put(ann, "/a/b") == 201
    found = await asyncio.gather(*(put(ann, f"/{number}") for number in range(20)))
    assert (found.count(201), found.count(507)) == (3, 17)
    assert await put(ann, "/a/b") == 200  # a new version is no new file
    assert (await ann.post("/api/chunk", files={"data": b"x"})).status_code == 507
    told = Told()
    await look(hive, told)
    assert [(fields["what"], fields["percent"]) for _, fields in told] == [("objects", 95)]
    await admin.put(f"{CREDIT}/limits", json={"account": "user:ann"})
    assert await put(ann, "/more") == 201


async def test_a_plan_limits_files(hive: TestHive) -> None:
    admin, ann = await hive.client("root", is_admin=True), await hive.client("ann")
    await admin.put(f"{CREDIT}/plans/small", json={"objects_max": 1, "is_open": True})
    await ann.put(f"{CREDIT}/subscriptions", json={"plan": "small"})
    assert [await put(ann, "/a"), await put(ann, "/b")] == [201, 507]


async def test_storage_hours_are_posted_once(hive: TestHive, clock: FakeClock) -> None:
    ann = await hive.client("ann")
    assert await put(ann, "/a", 1000) == 201
    db = hive.hive.db
    await db.write(storage_hours.post_page)
    for _ in range(3):
        clock.jump(1.5 * HOUR_S)
        for _ in range(3):  # the second and third find nothing to do
            await db.write(storage_hours.post_page)
    assert await hours(hive) == 4500
    clock.jump(HOUR_S)
    with pytest.raises(ZeroDivisionError):
        await db.write(lambda tx: (storage_hours.post_page(tx), 1 // 0))
    assert await hours(hive) == 4500
    await asyncio.gather(*(db.write(storage_hours.post_page) for _ in range(5)))
    assert await hours(hive) == 5500


async def test_hours_are_of_the_month_in_which_they_were(hive: TestHive, clock: FakeClock) -> None:
    ann = await hive.client("ann")
    await put(ann, "/a", 100)
    db, begins_us = hive.hive.db, next_month_us(clock.now_us())
    clock.jump((begins_us - clock.now_us()) / 1e6 - 2 * HOUR_S)
    await db.write(storage_hours.post_page)
    clock.jump(5 * HOUR_S)
    while await db.write(storage_hours.post_page):
        pass
    ann = await hive.login("ann")
    months = (await ann.get(f"{CREDIT}/usage")).json()["months"]
    assert [(one["month"], one["byte_hours"]) for one in months] == [
        (month_of(begins_us), 300),
        (month_of(begins_us - 1), 200),
    ]


async def hours(hive: TestHive) -> int:
    client = await hive.login("ann")  # the token of before is too old
    return int((await client.get(f"{CREDIT}/usage")).json()["months"][0]["byte_hours"])


def test_months_follow_each_other() -> None:
    at_us = 0
    seen = []
    for _ in range(14):
        seen.append(month_of(at_us))
        at_us = next_month_us(at_us)
        assert month_of(at_us - 1) == seen[-1]
    assert seen == [*range(197001, 197013), 197101, 197102]
