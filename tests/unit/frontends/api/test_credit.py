"""Credit over the API: who, what goes in, what is refused."""

from __future__ import annotations

import csv
import io

import httpx
import pytest

from skep.credit.payments import sign
from skep.testing.hive import TestHive, open_test_hive

CREDIT = "/api/credit"
SECRET = "a secret of payments"


async def has(client: httpx.AsyncClient, unit: str = "bytes", account: str = "") -> int:
    answer = await client.get(CREDIT, params={"account": account})
    return int(answer.json()[unit]["amount"])


async def test_credit_comes_goes_and_is_told(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    assert await has(ada) == 0
    order = {"account": "user:ada", "amount": 100, "key": "order 1", "note": "=1+1"}
    first = (await admin.post(f"{CREDIT}/deposits", json=order)).json()
    again = (await admin.post(f"{CREDIT}/deposits", json=order)).json()
    assert (first["repeated"], again["repeated"], first["id"]) == (False, True, again["id"])
    assert (await admin.post(f"{CREDIT}/deposits", json={**order, "amount": 5})).status_code == 409
    short = await admin.post(f"{CREDIT}/withdrawals", json={"account": "user:ada", "amount": 101})
    assert (short.status_code, short.json()["code"]) == (402, "credit-exhausted")
    await admin.post(f"{CREDIT}/withdrawals", json={"account": "user:ada", "amount": 30})
    page = (await ada.get(f"{CREDIT}/statement", params={"limit": 1})).json()
    assert [(line["number"], line["amount"], line["balance"]) for line in page["lines"]] == [(2, -30, 70)]
    rest = (await ada.get(f"{CREDIT}/statement", params={"before": page["next"]})).json()
    assert [(line["number"], line["amount"]) for line in rest["lines"]] == [(1, 100)]
    sheet = await ada.get(f"{CREDIT}/statement.csv")
    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert [(row["amount"], row["balance"], row["note"]) for row in rows] == [
        ("-30", "70", ""),
        ("100", "100", "'=1+1"),
    ]
    assert (await admin.post(f"{CREDIT}/transfers/{first['id']}/refunds", json={"amount": 70})).status_code == 200
    assert await has(ada) == 0
    assert (await admin.get(f"{CREDIT}/audit")).json() == {"findings": []}


async def test_the_accounts_of_others_are_theirs(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    assert (await ada.get(CREDIT, params={"account": "user:bob"})).status_code == 403
    assert (await ada.get(f"{CREDIT}/statement.csv", params={"account": "user:bob"})).status_code == 403
    assert (await ada.post(f"{CREDIT}/deposits", json={"account": "user:ada", "amount": 1})).status_code == 403
    for path in ("audit", "promos", "keys", "prices/all"):
        assert (await ada.get(f"{CREDIT}/{path}")).status_code == 403


@pytest.mark.parametrize("amount", ["-5", "0", "1.5", '"10"', "1e3", "9223372036854775808", "null", "true", "[1]"])
async def test_what_is_no_amount_is_refused(admin: httpx.AsyncClient, ada: httpx.AsyncClient, amount: str) -> None:
    body = f'{{"account": "user:ada", "amount": {amount}}}'
    answer = await admin.post(f"{CREDIT}/deposits", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert await has(ada) == 0


async def test_plans_give_room(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    terms = {"space_bytes": 1000, "is_open": True}
    assert (await admin.put(f"{CREDIT}/plans/small", json=terms)).json()["space_bytes"] == 1000
    assert (await admin.put(f"{CREDIT}/plans/bad", json={"space_bytes": -1})).status_code == 400
    chosen = (await ada.put(f"{CREDIT}/subscriptions", json={"plan": "small"})).json()
    assert [one["state"] for one in chosen["subscriptions"]] == ["standing"]
    too_much = await ada.put("/api/filesystem/data", params={"path": "/a"}, content=b"x" * 1001)
    assert (too_much.status_code, too_much.json()["code"]) == (507, "quota-exceeded")
    assert (await admin.put(f"{CREDIT}/plans/small", json={"space_bytes": 2000})).status_code == 200
    assert (await ada.put("/api/filesystem/data", params={"path": "/a"}, content=b"x" * 1001)).status_code == 201
    assert (await admin.delete(f"{CREDIT}/plans/small")).status_code == 409
    assert (await ada.put(f"{CREDIT}/subscriptions", json={"plan": None})).status_code == 200
    assert (await admin.delete(f"{CREDIT}/plans/small")).status_code == 204


async def test_codes_and_prices(hive: TestHive, ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    made = await admin.post(f"{CREDIT}/promos", json={"code": "PLEASE", "bytes": 1 << 30})
    assert made.status_code == 201
    assert (await ada.post(f"{CREDIT}/redeem", json={"code": "PLEASE"})).status_code == 201
    again = await ada.post(f"{CREDIT}/redeem", json={"code": "PLEASE"})
    assert (again.status_code, again.json()["code"]) == (403, "promo-refused")
    price = (await admin.post(f"{CREDIT}/prices", json={"bytes": 1 << 40, "cost": 500})).json()
    listed = (await hive.anonymous.get(f"{CREDIT}/prices")).json()
    assert [one["id"] for one in listed["prices"]] == [price["id"]]
    assert (await ada.post(f"{CREDIT}/purchases", json={"price": price["id"]})).status_code == 402
    await admin.post(f"{CREDIT}/deposits", json={"account": "user:ada", "amount": 500, "unit": "money"})
    assert (await ada.post(f"{CREDIT}/purchases", json={"price": price["id"]})).status_code == 200
    assert await has(ada) == (1 << 40) + (1 << 30)
    assert (await admin.delete(f"{CREDIT}/prices/{price['id']}")).status_code == 200
    assert (await hive.anonymous.get(f"{CREDIT}/prices")).json()["prices"] == []


async def test_programs_deposit_with_a_key(hive: TestHive, ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    key = (await admin.post(f"{CREDIT}/keys", json={"name": "shop", "may": "deposit"})).json()["key"]
    order, shop = {"account": "user:ada", "amount": 9, "key": "1"}, {"authentication": key}
    assert (await hive.anonymous.post(f"{CREDIT}/deposits", json=order)).status_code == 401
    assert (await hive.anonymous.post(f"{CREDIT}/deposits", json=order, headers=shop)).status_code == 200
    assert (await hive.anonymous.post(f"{CREDIT}/withdrawals", json=order, headers=shop)).status_code == 403
    wrong = await hive.anonymous.post(f"{CREDIT}/deposits", json=order, headers={"authentication": "x" * 40})
    assert wrong.status_code == 401
    assert await has(ada) == 9
    listed = (await admin.get(f"{CREDIT}/keys")).json()["keys"]
    assert [(one["name"], "key" in one) for one in listed] == [("shop", False)]
    assert (await admin.delete(f"{CREDIT}/keys/shop")).status_code == 204
    assert (await hive.anonymous.post(f"{CREDIT}/deposits", json=order, headers=shop)).status_code == 401


async def test_payments_come_signed(tmp_path) -> None:
    async with open_test_hive(tmp_path, credit__payment_secret=SECRET) as hive:
        ada = await hive.client("ada")
        body = b'{"id": "evt 1", "account": "user:ada", "amount": 500, "more": {}}'
        now_s = hive.hive.clock.now_us() // 1_000_000

        async def send(raw: bytes, header: str) -> httpx.Response:
            return await hive.anonymous.post(f"{CREDIT}/payments", content=raw, headers={"skep-signature": header})

        good = sign(SECRET, now_s, body)
        assert (await send(body, good)).json()["moved"]["repeated"] is False
        assert (await send(body, good)).json()["moved"]["repeated"] is True
        forged = await send(body.replace(b"500", b"900"), good)
        assert (forged.status_code, forged.json()["code"]) == (401, "bad-signature")
        assert (await send(body, sign(SECRET, now_s - 400, body))).status_code == 401
        changed = body.replace(b"500", b"900")
        assert (await send(changed, sign(SECRET, now_s, changed))).status_code == 409
        for bad in (b"", b"[]", b'{"id": "2", "amount": 5}', b'{"id": "2", "amount": -5, "account": "user:ada"}'):
            assert (await send(bad, sign(SECRET, now_s, bad))).status_code == 400
        assert await has(ada, "money") == 500


async def test_no_payments_without_a_secret(hive: TestHive) -> None:
    header = {"skep-signature": sign("", hive.hive.clock.now_us() // 1_000_000, b"{}")}
    assert (await hive.anonymous.post(f"{CREDIT}/payments", content=b"{}", headers=header)).status_code == 401


async def test_what_a_deleted_user_had_is_gone_with_them(hive: TestHive, admin: httpx.AsyncClient) -> None:
    eve = await hive.client("eve")
    await admin.post(f"{CREDIT}/deposits", json={"account": "user:eve", "amount": 5})
    assert (await admin.delete("/api/auth/users/eve")).status_code == 204
    assert (await eve.get(CREDIT)).status_code == 401
    assert (await eve.post(f"{CREDIT}/gifts", json={"to": "user:root", "amount": 5})).status_code == 401
    assert (await admin.post(f"{CREDIT}/deposits", json={"account": "user:eve", "amount": 5})).status_code == 404
    assert (await admin.get(f"{CREDIT}/audit")).json() == {"findings": []}
