"""Another program says who asks and what they may use; and this hive says so to others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from skep.auth import internal_principal
from skep.base.errors import InvalidSetting, Unavailable
from skep.frontends.blocks.accounting import ANSWER_BYTES_MAX, AccountingServer
from skep.frontends.blocks.counts import Counts
from skep.frontends.blocks.internal import NO_LIMIT_BYTES
from skep.frontends.common.asgi import Receive, Scope, Send
from skep.testing.blocks import AT, allow
from skep.testing.clock import FakeClock
from skep.testing.hive import PASSWORD, TestHive, open_test_hive
from skep.testing.serving import served_here

SECRET = "a secret of two servers"
ASK = f"{AT}/internal/user/"
KEY = {"apisecret": SECRET}


class Accounting:
    """An accounting server that says what a test wants."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, object]] = {}
        self.status = 200
        self.body: bytes | None = None
        self.hangs = asyncio.Event()
        self.hangs.set()
        self.asked: list[dict[str, object]] = []
        self.secrets: set[bytes] = set()

    def knows(self, token: str, number: int, **other: object) -> None:
        """Let it know a token."""
        terms = {"user_id": number, "active": True, "block_quota": 1000, "monthly_traffic_quota": 2000}
        self.users[f"Token {token}"] = {**terms, **other}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        question = json.loads(body)
        self.asked.append(question)
        self.secrets |= {value for name, value in scope["headers"] if name == b"apisecret"}
        await self.hangs.wait()
        found = self.users.get(question.get("auth")) or next(
            (one for one in self.users.values() if one["user_id"] == question.get("user_id")), None
        )
        status = 404 if found is None and self.status == 200 else self.status
        answer = json.dumps(found or {"error": "Invalid token"}).encode() if self.body is None else self.body
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture
async def accounting() -> Accounting:
    return Accounting()


@asynccontextmanager
async def hive_with(accounting: Accounting, place: Path, clock: FakeClock | None = None) -> AsyncIterator[TestHive]:
    async with served_here(accounting) as url:
        given = {"blocks__accounting_host": url, "blocks__apisecret": SECRET}
        async with open_test_hive(place, clock=clock, **given) as hive:
            yield hive


def sends(hive: TestHive, token: str) -> httpx.AsyncClient:
    client = hive.anonymous
    client.headers["authorization"] = f"Token {token}"
    return client


async def app_password(client: httpx.AsyncClient) -> str:
    made = await client.post("/api/auth/app-passwords", json={"name": "box", "scopes": ["files:write"]})
    return str(made.json()["secret"])


async def test_the_header_is_asked_about_once_a_minute(accounting: Accounting, tmp_path: Path) -> None:
    accounting.knows("ada", 7)
    clock = FakeClock()
    async with hive_with(accounting, tmp_path, clock) as hive:
        ada = sends(hive, "ada")
        prefix = (await ada.post(f"{AT}/prefix/")).json()["prefix"]
        assert (await ada.post(f"{AT}/files/{prefix}/a", content=b"x" * 10)).status_code == 204
        assert (await ada.get(f"{AT}/quota/")).json() == {"quota": 1000, "size": 10}
        assert (await hive.anonymous.get(f"{AT}/files/{prefix}/a")).content == b"x" * 10
        assert accounting.asked == [{"auth": "Token ada"}]
        assert accounting.secrets == {SECRET.encode()}
        accounting.knows("ada", 7, block_quota=500)
        assert (await ada.get(f"{AT}/quota/")).json()["quota"] == 1000
        await clock.advance(61)
        assert (await ada.get(f"{AT}/quota/")).json() == {"quota": 500, "size": 10}


async def test_the_owner_is_asked_about_by_number_when_others_read(accounting: Accounting, tmp_path: Path) -> None:
    accounting.knows("ada", 7)
    clock = FakeClock()
    async with hive_with(accounting, tmp_path, clock) as hive:
        ada = sends(hive, "ada")
        url = f"{AT}/files/{(await ada.post(f'{AT}/prefix/')).json()['prefix']}/a"
        await ada.post(url, content=b"x")
        await clock.advance(61)
        accounting.knows("ada", 7, monthly_traffic_quota=0)
        assert hive.hive.filesystem.meter is not None
        assert (await hive.anonymous.get(url)).status_code == 200
        assert accounting.asked[-1] == {"user_id": 7}
        await hive.hive.filesystem.meter.refresh()  # its worker does, within seconds
        await clock.advance(11)
        assert (await hive.anonymous.get(url)).status_code == 402
        await clock.advance(61)
        accounting.status = 500  # while it is away, what it said holds
        assert (await hive.anonymous.get(url)).status_code == 402
        accounting.status = 200
        accounting.knows("ada", 7, active=False)
        assert (await hive.anonymous.get(url)).status_code == 403


async def test_who_is_not_known_or_not_active_is_refused(accounting: Accounting, tmp_path: Path) -> None:
    accounting.knows("eve", 8, active=False)
    accounting.users["Token half"] = {"user_id": 9, "active": True}
    async with hive_with(accounting, tmp_path) as hive:
        for token, reason in (("nobody", "User not found"), ("half", "User not found"), ("eve", "Forbidden")):
            answer = await sends(hive, token).post(f"{AT}/prefix/")
            assert (answer.status_code, reason in answer.text) == (403, True), token


async def test_one_account_is_one_user_whatever_it_is_called_by(accounting: Accounting, tmp_path: Path) -> None:
    accounting.knows("first", 7)
    accounting.knows("second", 7)
    async with hive_with(accounting, tmp_path) as hive:
        await hive.user("outside-7")  # somebody else has the name
        first, second = sends(hive, "first"), sends(hive, "second")
        made = [(await client.post(f"{AT}/prefix/")).json()["prefix"] for client in (first, second)]
        assert sorted((await first.get(f"{AT}/prefix/")).json()["prefixes"]) == sorted(made)
        async with asyncio.timeout(5):
            accounting.knows("third", 8)
            third = sends(hive, "third")
            both = await asyncio.gather(*(third.get(f"{AT}/prefix/") for _ in range(4)))
        assert {answer.status_code for answer in both} == {200}
        names = [user.name for user in await hive.hive.auth.list_users(internal_principal())]
        assert sorted(name for name in names if name.startswith("outside")) == ["outside-7", "outside-7-2", "outside-8"]


FAILURES = [(500, b""), (403, b""), (400, b"{}"), (302, b""), (200, b"no JSON"), (200, b"x" * (ANSWER_BYTES_MAX + 1))]


async def test_a_failing_accounting_server_is_a_passing_failure(accounting: Accounting, tmp_path: Path) -> None:
    accounting.knows("ada", 7)
    async with hive_with(accounting, tmp_path) as hive:
        ada = sends(hive, "ada")
        for accounting.status, accounting.body in FAILURES:
            answer = await ada.get(f"{AT}/prefix/")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), accounting.status
        accounting.status, accounting.body = 200, None
        assert (await ada.get(f"{AT}/prefix/")).status_code == 200


async def test_a_slow_or_dead_accounting_server_keeps_nobody_waiting_for_ever(accounting: Accounting) -> None:
    accounting.knows("ada", 7)
    async with served_here(accounting) as url:
        server = AccountingServer(url, SECRET, FakeClock(), Counts(), timeout_s=0.2)
        accounting.hangs.clear()
        with pytest.raises(Unavailable):
            await server.of_header("Token ada")
        cancelled = asyncio.create_task(server.of_header("Token ada"))
        await asyncio.sleep(0)  # let it begin
        cancelled.cancel()
        await asyncio.wait((cancelled,))
        accounting.hangs.set()
    with pytest.raises(Unavailable):
        await server.of_header("Token ada")


@pytest.mark.parametrize(("host", "secret"), [("localhost:8000", SECRET), ("http://localhost:8000", "")])
async def test_an_accounting_server_needs_a_url_and_a_secret(tmp_path: Path, host: str, secret: str) -> None:
    with pytest.raises(InvalidSetting):
        async with open_test_hive(tmp_path, blocks__accounting_host=host, blocks__apisecret=secret):
            pass


# --- this hive as the accounting server ---------------------------------------------------------


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path, blocks__apisecret=SECRET) as hive:
        yield hive


async def test_other_servers_are_told_who_somebody_is(own: TestHive) -> None:
    ada = await own.client("ada")
    secret = (await ada.post("/api/auth/app-passwords", json={"name": "box", "scopes": ["files:write"]})).json()[
        "secret"
    ]
    token = ada.headers["authorization"].removeprefix("Bearer ")
    nothing = {"block_quota": NO_LIMIT_BYTES, "monthly_traffic_quota": NO_LIMIT_BYTES}
    for shown in (f"Token {secret}", f"Token {token}", f"Bearer {token}"):
        answer = await own.anonymous.post(ASK, json={"auth": shown}, headers=KEY)
        assert (answer.status_code, answer.json()) == (200, {"user_id": 1, "active": True, **nothing})
    root = await own.client("root", is_admin=True)
    await root.put("/api/credit/limits", json={"account": "user:ada", "traffic_bytes": 5000})
    await allow(own, "ada", 100)
    told = {"block_quota": 100, "monthly_traffic_quota": 5000}
    answer = await own.anonymous.post(ASK, json={"user_id": 1}, headers=KEY)
    assert answer.json() == {"user_id": 1, "active": True, **told}
    await root.patch("/api/auth/users/ada", json={"is_active": False})
    answer = await own.anonymous.post(ASK, json={"user_id": 1}, headers=KEY)
    assert answer.json() == {"user_id": 1, "active": False, **told}


BAD_QUESTIONS: list[tuple[dict[str, str], object, int, str]] = [
    ({}, {"user_id": 1}, 403, "Invalid API key"),
    ({"apisecret": "wrong"}, {"user_id": 1}, 403, "Invalid API key"),
    (KEY, {"auth": "Token x", "user_id": 1}, 400, "Pass *either* an auth token *or* an user ID"),
    (KEY, {"auth": "Digest x"}, 400, "Invalid auth type"),
    (KEY, {"auth": 7}, 400, "Invalid auth type"),
    (KEY, {"auth": "Token wrong"}, 404, "Invalid token"),
    (KEY, {"auth": "Token a.b.c"}, 404, "Invalid token"),
    (KEY, {"user_id": "x"}, 400, "Malformed user ID"),
    (KEY, {"user_id": -1}, 400, "Malformed user ID"),
    (KEY, {"user_id": 1.5}, 400, "Malformed user ID"),
    (KEY, {"user_id": True}, 400, "Malformed user ID"),
    (KEY, {"user_id": 99}, 404, "Invalid user ID"),
    (KEY, {}, 400, "No user identification supplied"),
    (KEY, [], 400, "No user identification supplied"),
]


async def test_bad_questions_have_their_answers(own: TestHive) -> None:
    for headers, body, status, error in BAD_QUESTIONS:
        answer = await own.anonymous.post(ASK, json=body, headers=headers)
        assert (answer.status_code, answer.json()) == (status, {"error": error}), body


async def test_without_a_secret_nobody_is_told_anything(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        assert (await hive.anonymous.post(ASK, json={"user_id": 1}, headers={"apisecret": ""})).status_code == 404


async def test_one_hive_is_the_accounting_server_of_another(own: TestHive, tmp_path: Path) -> None:
    ada = await own.client("ada")
    secret = (await ada.post("/api/auth/app-passwords", json={"name": "box", "scopes": ["files:write"]})).json()[
        "secret"
    ]
    await allow(own, "ada", 4000)
    place = tmp_path / "second"
    place.mkdir()
    async with served_here(own.hive.app) as url:
        given = {"blocks__accounting_host": url, "blocks__apisecret": SECRET}
        async with open_test_hive(place, **given) as second:
            client = sends(second, secret)
            prefix = (await client.post(f"{AT}/prefix/")).json()["prefix"]
            assert (await client.post(f"{AT}/files/{prefix}/a", content=b"x" * 3000)).status_code == 204
            assert (await client.get(f"{AT}/quota/")).json() == {"quota": 4000, "size": 3000}
            assert (await client.post(f"{AT}/files/{prefix}/blocks/b", content=b"x" * 1001)).status_code == 507


async def test_the_dummy_token_writes_any_prefix(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, blocks__dummy_auth="MAGICFARYDUST") as hive:
        dummy = sends(hive, "MAGICFARYDUST")
        await hive.user("ada")
        ada = await hive.hive.auth.authenticate_password("ada", PASSWORD)
        for prefix in ("test", "another", await hive.hive.filesystem.make_prefix(ada)):
            assert (await dummy.post(f"{AT}/files/{prefix}/a", content=b"x")).status_code == 204
            assert (await hive.anonymous.get(f"{AT}/files/{prefix}/a")).content == b"x"
            assert (await dummy.delete(f"{AT}/files/{prefix}/a")).status_code == 204
        assert (await dummy.get(f"{AT}/quota/")).json() == {"quota": 2 << 30, "size": 0}
        for shown in ("Token wrong", "token MAGICFARYDUST", "Bearer MAGICFARYDUST"):
            answer = await hive.anonymous.post(f"{AT}/files/test/a", headers={"authorization": shown})
            assert (answer.status_code, "User not found" in answer.text) == (403, True)
