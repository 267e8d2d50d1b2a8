"""Every change of credit, plans, prices and codes is in the audit log, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.testing.hive import TestHive, open_test_hive

CREDIT = "/api/credit"


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path) as opened:
        yield opened


async def test_what_is_done_with_credit_is_noted(hive: TestHive) -> None:
    admin, ann = await hive.client("root", is_admin=True), await hive.client("ann")
    key = (await admin.post(f"{CREDIT}/keys", json={"name": "shop", "may": "both"})).json()["key"]
    for _ in range(2):  # the second is the same deposit
        await admin.post(f"{CREDIT}/deposits", json={"account": "user:ann", "amount": 900, "unit": "money", "key": "7"})
    taken = {"account": "user:ann", "amount": 100, "unit": "money"}
    await hive.anonymous.post(f"{CREDIT}/withdrawals", json=taken, headers={"authentication": key})
    price = (await admin.post(f"{CREDIT}/prices", json={"bytes": 100, "cost": 50})).json()
    assert (await ann.post(f"{CREDIT}/purchases", json={"price": price["id"], "count": 2})).is_success
    await admin.put(f"{CREDIT}/plans/plus", json={"cost": 10, "is_open": True})
    await ann.put(f"{CREDIT}/subscriptions", json={"plan": "plus"})
    await admin.post(f"{CREDIT}/promos", json={"code": "PLEASE", "bytes": 5})
    await admin.post(f"{CREDIT}/promos", json={"code": "PLEASE", "bytes": 5})
    assert (await ann.post(f"{CREDIT}/redeem", json={"code": "PLEASE"})).is_success
    await admin.put(f"{CREDIT}/limits", json={"account": "user:ann", "traffic_bytes": 5})
    refused = await ann.post(f"{CREDIT}/purchases", json={"price": price["id"], "count": 1_000})
    assert refused.status_code == 402
    entries = (await admin.get("/api/admin/audit", params={"limit": 100})).json()["entries"]
    found = [
        (entry["action"], entry["actor"], entry["subject"])
        for entry in reversed(entries)
        if entry["action"].partition("-")[0] in ("credit", "price", "plan", "promo", "limits")
    ]
    assert found == [
        ("credit-key-made", "root", ""),
        ("credit-deposited", "root", "ann"),
        ("credit-withdrawn", "", "ann"),
        ("price-added", "root", ""),
        ("credit-bought", "ann", "ann"),
        ("plan-set", "root", ""),
        ("plan-chosen", "ann", "ann"),
        ("promo-added", "root", ""),
        ("promo-redeemed", "ann", "ann"),
        ("limits-set", "root", "ann"),
    ]
    withdrawn = next(entry for entry in entries if entry["action"] == "credit-withdrawn")
    assert (withdrawn["facts"]["program"], withdrawn["facts"]["amount"]) == ("shop", 100)
    assert (await admin.post("/api/admin/audit/verify", json={})).json()["whole"]
