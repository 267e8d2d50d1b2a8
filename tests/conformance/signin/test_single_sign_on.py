"""Signing in through an OpenID Connect provider that somebody else wrote, over real sockets, as a browser would."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from oidc_provider_mock import User, run_server_in_thread

from skep.testing.hive import PASSWORD, URL, TestHive, open_test_hive

ADMIN = "/api/admin/identity-providers"
BOB = {
    "preferred_username": "bob",
    "name": "Bob Builder",
    "email": "bob@example.org",
    "email_verified": True,
    "groups": ["staff", "unknown"],
}


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path) as opened:
        yield opened


@pytest.fixture
def issuer() -> Iterator[str]:
    users = [User(sub="b-1", claims=BOB), User(sub="eve", claims={"email": "ada@example.org", "groups": "staff"})]
    with run_server_in_thread(require_nonce=True, user_claims=users) as server:
        yield f"http://localhost:{server.server_port}"


RULES = {"create_users": True, "groups": {"staff": "Staff", "boss": "Bosses"}, "quotas": {"staff": 5000, "unknown": 7}}


async def added(hive: TestHive, issuer: str, **rules: object) -> httpx.AsyncClient:
    admin = await hive.client("root", is_admin=True)
    body = {"name": "work", "issuer": issuer, "client_id": "skep", "client_secret": "a secret", "rules": rules or RULES}
    answer = await admin.post(ADMIN, json=body)
    assert answer.status_code == 201, answer.text
    assert "a secret" not in answer.text
    return admin


async def departed(hive: TestHive, following: str = "/files") -> tuple[httpx.AsyncClient, str]:
    browser = hive.anonymous
    away = await browser.get("/api/auth/sso/work", params={"next": following})
    assert away.status_code == 302, away.text
    return browser, away.headers["location"]


async def at_provider(url: str, subject: str) -> str:
    """What a person does there; the URL of the way back."""
    async with httpx.AsyncClient() as browser:
        answer = await browser.post(url, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def path_of(url: str) -> str:
    assert url.startswith(URL)
    return url.removeprefix(URL)


async def test_a_stranger_becomes_a_user_with_groups_and_room(hive: TestHive, issuer: str) -> None:
    admin = await added(hive, issuer)
    ways = (await hive.anonymous.get("/api/auth/sso")).json()["providers"]
    assert ways == [{"name": "work", "url": f"{URL}/api/auth/sso/work"}]
    browser, url = await departed(hive)
    asked = parse_qs(urlsplit(url).query)
    assert asked["code_challenge_method"] == ["S256"]
    back = await browser.get(path_of(await at_provider(url, "b-1")))
    assert back.status_code == 302, back.text
    on, _, ticket = back.headers["location"].partition("#login=")
    assert on == "/files"
    pair = await hive.anonymous.post("/api/auth/login/sso", json={"ticket": ticket})
    shown = {"authorization": f"Bearer {pair.json()['access_token']}"}
    me = (await hive.anonymous.get("/api/auth/me", headers=shown)).json()
    assert (me["name"], me["full_name"], me["email"]) == ("bob", "Bob Builder", "bob@example.org")
    groups = (await hive.anonymous.get("/api/auth/groups", headers=shown)).json()["groups"]
    assert [group["name"] for group in groups] == ["Staff"]
    assert (await admin.get("/api/auth/users/bob/space")).json()["quota_bytes"] == 5000
    assert (await hive.anonymous.post("/api/auth/login/sso", json={"ticket": ticket})).status_code == 401
    assert (await browser.get(path_of(await at_provider(url, "b-1")))).status_code == 401  # the state is spent

    await admin.put("/api/auth/groups/Staff/members/bob", json={"role": "manager"})
    browser, url = await departed(hive)
    await browser.get(path_of(await at_provider(url, "b-1")))
    assert len((await admin.get("/api/auth/users")).json()["users"]) == 2  # the same bob
    members = (await admin.get("/api/auth/groups/Staff")).json()["members"]
    assert [(one["name"], one["role"]) for one in members] == [("bob", "manager")]
    actions = [entry["action"] for entry in (await admin.get("/api/admin/audit")).json()["entries"]]
    assert {"provider-added", "user-created", "identity-linked", "member-added"} <= set(actions)


async def test_the_way_back_belongs_to_the_browser_that_departed(hive: TestHive, issuer: str) -> None:
    await added(hive, issuer)
    _, url = await departed(hive)
    back = path_of(await at_provider(url, "b-1"))
    stranger = hive.anonymous
    assert (await stranger.get(back)).status_code == 401  # a login forced on somebody else
    other, _ = await departed(hive)
    assert (await other.get(back)).status_code == 401
    browser, url = await departed(hive)
    first, second = path_of(await at_provider(url, "b-1")), (await departed(hive))[1]
    mixed = f"{first.partition('code=')[0]}state={parse_qs(urlsplit(second).query)['state'][0]}&code=x"
    assert (await browser.get(mixed.replace("&&", "&"))).status_code in (400, 401)


async def test_an_address_links_only_where_the_rules_say_so_and_it_is_verified(hive: TestHive, issuer: str) -> None:
    admin = await added(hive, issuer, link_by_email=True)
    await admin.post("/api/auth/users", json={"name": "ada", "password": PASSWORD, "email": "ada@example.org"})
    await admin.post("/api/auth/users", json={"name": "robert", "password": PASSWORD, "email": "bob@example.org"})
    browser, url = await departed(hive)
    refused = await browser.get(path_of(await at_provider(url, "eve")))  # says ada's address, not verified
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    browser, url = await departed(hive)
    assert (await browser.get(path_of(await at_provider(url, "b-1")))).status_code == 302
    await admin.patch("/api/auth/users/robert", json={"is_active": False})
    browser, url = await departed(hive)
    assert (await browser.get(path_of(await at_provider(url, "b-1")))).status_code == 403


@pytest.mark.parametrize(
    "following", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"]
)
async def test_nobody_is_sent_elsewhere(hive: TestHive, issuer: str, following: str) -> None:
    await added(hive, issuer)
    answer = await hive.anonymous.get("/api/auth/sso/work", params={"next": following})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-input")


async def test_a_group_that_is_left_there_is_left_here(hive: TestHive, issuer: str) -> None:
    admin = await added(hive, issuer, create_users=True, groups={"staff": "Staff"}, admin_group="boss")
    browser, url = await departed(hive)
    await browser.get(path_of(await at_provider(url, "b-1")))
    httpx.put(f"{issuer}/users/b-1", json={**BOB, "groups": ["boss"]})
    browser, url = await departed(hive)
    await browser.get(path_of(await at_provider(url, "b-1")))
    assert (await admin.get("/api/auth/groups/Staff")).json()["members"] == []
    assert (await admin.get("/api/auth/users/bob")).json()["is_admin"]
    assert (await admin.delete(f"{ADMIN}/work")).status_code == 204
    assert (await hive.anonymous.get("/api/auth/sso/work")).status_code == 404


class Faulty(BaseHTTPRequestHandler):
    """A provider that goes wrong in the way its path says."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        match kind:
            case "endless":
                self.send_response(200)
                self.end_headers()
                for _ in range(64):
                    self.wfile.write(b" " * 65536)
                return
            case "short":
                self.send_response(200)
                self.send_header("content-length", "500")
                self.end_headers()
                self.wfile.write(b"{")
                return
            case "redirect":
                self.send_response(302)
                self.send_header("location", "http://127.0.0.1:1/")
                self.end_headers()
                return
        text = {"html": "<html>", "list": "[]", "other": '{"issuer": "https://evil.example"}'}.get(kind, "{}")
        self.send_response(500 if kind == "broken" else 200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def faulty() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def test_a_provider_that_is_none_is_not_kept(hive: TestHive) -> None:
    admin = await hive.client("root", is_admin=True)
    with faulty() as base:
        for kind, status in (
            ("endless", 503), ("short", 503), ("redirect", 503), ("html", 503), ("list", 503), ("broken", 503),
            ("other", 400), ("empty", 400),
        ):  # fmt: skip
            body = {"name": "work", "issuer": f"{base}/{kind}", "client_id": "skep"}
            answer = await admin.post(ADMIN, json=body)
            assert answer.status_code == status, (kind, answer.text)
    gone = await admin.post(ADMIN, json={"name": "work", "issuer": base, "client_id": "skep"})
    assert gone.status_code == 503
    for issuer in ("http://example.org", "ftp://example.org", "https://user:pw@example.org", "nonsense", "https://"):
        answer = await admin.post(ADMIN, json={"name": "work", "issuer": issuer, "client_id": "skep"})
        assert answer.status_code == 400, issuer
    assert (await admin.get(ADMIN)).json()["identity_providers"] == []
