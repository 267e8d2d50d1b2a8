"""The token API as its programs use it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from skep.testing.hive import TestHive, open_test_hive

KEY = {"authentication": "secret-key"}
TOKEN = "oiFyR2NcMvaSiNDf"
AT = "/accounts/token"


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path) as opened:
        admin = await opened.client("root", is_admin=True)
        await admin.post("/api/credit/keys", json={"name": "web-core", "key": "secret-key"})
        await admin.post("/api/credit/promos", json={"code": "PLEASE", "bytes": 1 << 30})
        await admin.post("/api/credit/prices", json={"bytes": 100 << 30, "cost": 500})
        yield opened


@pytest.fixture
def anyone(hive: TestHive) -> httpx.AsyncClient:
    return hive.anonymous


async def has(anyone: httpx.AsyncClient, token: str = TOKEN) -> int:
    return int((await anyone.get(f"{AT}/balance/{token}")).json()["balance"])


async def test_a_token_is_thought_of_given_and_spent(anyone: httpx.AsyncClient) -> None:
    token = (await anyone.post(f"{AT}/new")).json()["token"]
    assert re.fullmatch(r"[0-9A-Za-z]{16}", token)
    assert await has(anyone, token) == 0
    for amount in (1000, "24"):
        answer = await anyone.post(f"{AT}/deposit/{token}", json={"bytes": amount}, headers=KEY)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    answer = await anyone.post(f"{AT}/withdraw/{token}", json={"bytes": 1024}, headers=KEY)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    answer = await anyone.post(f"{AT}/withdraw/{token}", json={"bytes": 1}, headers=KEY)
    assert (answer.status_code, answer.json()) == (402, {"error": "balance-insufficient"})
    assert await has(anyone, token) == 0


async def test_prices_are_told(anyone: httpx.AsyncClient) -> None:
    assert (await anyone.get(f"{AT}/prices")).json() == {"prices": [{"amount": 100 << 30, "cost": 500}]}


async def test_a_code_is_redeemed_once_for_each_token(anyone: httpx.AsyncClient) -> None:
    tries = [anyone.post(f"{AT}/redeem/{TOKEN}", json={"promocode": "PLEASE"}) for _ in range(2)]
    found = {(answer.status_code, answer.json()["status"]) for answer in await asyncio.gather(*tries)}
    assert found == {(201, "ok"), (403, "error")}
    for body in ({}, {"promocode": None}, {"promocode": "NOTHING"}):
        assert (await anyone.post(f"{AT}/redeem/{TOKEN}", json=body)).status_code == 403
    assert await has(anyone) == 1 << 30
    assert (await anyone.post(f"{AT}/redeem/0000000000000000", json={"promocode": "PLEASE"})).status_code == 201


@pytest.mark.parametrize("verb", ["deposit", "withdraw"])
async def test_only_programs_deposit_and_withdraw(anyone: httpx.AsyncClient, verb: str) -> None:
    for headers in ({}, {"authentication": "wrong-key"}, {"authorization": "Bearer secret-key"}):
        answer = await anyone.post(f"{AT}/{verb}/{TOKEN}", json={"bytes": 5}, headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"status": "invalid-authentication"})
    assert await has(anyone) == 0


@pytest.mark.parametrize("amount", [-5, 0, 1.5, "1.5", "-5", "x", "", None, True, [], 10**30, "9" * 19, "9" * 30, "٣"])
@pytest.mark.parametrize("verb", ["deposit", "withdraw"])
async def test_what_is_no_byte_count_is_refused(anyone: httpx.AsyncClient, verb: str, amount: object) -> None:
    answer = await anyone.post(f"{AT}/{verb}/{TOKEN}", json={"bytes": amount}, headers=KEY)
    assert (answer.status_code, answer.json()) == (400, {"status": "bad-request"})
    assert await has(anyone) == 0


async def test_withdrawals_at_once_never_overdraw(anyone: httpx.AsyncClient) -> None:
    await anyone.post(f"{AT}/deposit/{TOKEN}", json={"bytes": 100}, headers=KEY)
    tries = [anyone.post(f"{AT}/withdraw/{TOKEN}", json={"bytes": 30}, headers=KEY) for _ in range(20)]
    found = [answer.status_code for answer in await asyncio.gather(*tries)]
    assert (found.count(200), found.count(402)) == (3, 17)
    assert await has(anyone) == 10


async def test_payments_come_with_the_key_in_the_url(anyone: httpx.AsyncClient) -> None:
    order = {"order": {"custom": TOKEN, "id": "7"}}
    for _ in range(2):
        answer = await anyone.post("/accounts/coinbase/success/secret-key/500", json=order)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert await has(anyone) == 500
    assert (await anyone.post("/accounts/coinbase/success/wrong-key/500", json=order)).status_code == 401
    for bad in ({}, {"order": {}}, {"order": 5}, {"order": {"custom": "no token"}}):
        answer = await anyone.post("/accounts/coinbase/success/secret-key/500", json=bad)
        assert (answer.status_code, answer.json()) == (400, {"status": "bad-request"})
    assert (await anyone.post("/accounts/coinbase/success/secret-key/-500", json=order)).status_code == 400


async def test_what_is_not_there_is_not_there(anyone: httpx.AsyncClient) -> None:
    assert (await anyone.get("/accounts/token/balance/not-a-token")).json() == {"balance": 0}
    assert (await anyone.get("/accounts/nothing")).status_code == 404
    assert (await anyone.get("/accounts/token/new")).status_code == 405
    assert (await anyone.post(f"{AT}/redeem/{TOKEN}", content=b"{")).status_code == 400
