"""Linking cloud accounts over HTTP: app keys, the browser's way, what is refused; against a double of Dropbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from skep.testing.clouds.base import CLIENT_ID, CLIENT_SECRET, Rule
from skep.testing.clouds.dropbox import DropboxDouble
from skep.testing.hive import URL, TestHive, open_test_hive

COMPLETE = "/api/cloud/login/dropbox/complete"


@asynccontextmanager
async def linked_hive(place: Path, double: DropboxDouble) -> AsyncIterator[tuple[TestHive, httpx.AsyncClient]]:
    """A hive with app keys for the double, and an administrator's client."""
    async with open_test_hive(place, stores=1, storage__reserve_bytes=0) as test:
        admin = await test.client("root", is_admin=True)
        body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "base_url": double.base_url}
        answer = await admin.put("/api/cloud/providers/dropbox", json=body)
        assert answer.status_code == 200, answer.text
        assert CLIENT_SECRET not in answer.text
        yield test, admin


@pytest.fixture
async def linked(tmp_path: Path) -> AsyncIterator[tuple[TestHive, httpx.AsyncClient, DropboxDouble]]:
    double = DropboxDouble()
    with double.served():
        async with linked_hive(tmp_path, double) as (test, admin):
            yield test, admin, double


async def begin(admin: httpx.AsyncClient, **options: Any) -> dict[str, Any]:
    answer = await admin.post("/api/cloud/logins", json={"provider": "dropbox", **options})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def to_provider(browser: httpx.AsyncClient, link: str) -> str:
    """Open the link; where the provider sends the browser back to."""
    away = await browser.get(link.removeprefix(URL))
    assert away.status_code == 302, away.text
    async with httpx.AsyncClient() as outside:
        back = await outside.get(away.headers["location"])
    assert back.status_code == 302, back.text
    return str(back.headers["location"]).removeprefix(URL)


async def log_in(test: TestHive, admin: httpx.AsyncClient, **options: Any) -> dict[str, Any]:
    """The whole way; how the login ended."""
    login = await begin(admin, **options)
    browser = test.anonymous
    await browser.get(await to_provider(browser, login["link"]))
    return dict((await admin.get(f"/api/cloud/logins/{login['id']}")).json())


async def test_from_a_login_to_files_in_the_account_and_back(linked: Any) -> None:
    test, admin, double = linked
    login = await log_in(test, admin)
    assert (login["state"], login["grant"]["label"]) == ("granted", "ada@example.com")
    url = login["grant"]["url"]
    made = await admin.post("/api/admin/stores", json={"name": "dbx", "url": url, "zone": "dropbox"})
    assert made.status_code == 201, made.text
    marker = [path for path in double.files if path.endswith("skep-store.json")]
    assert marker == [f"/.skep/{test.hive.identity.hive_id.hex()[:8]}" + marker[0][15:]]
    assert (await admin.patch("/api/admin/stores/s0", json={"state": "readonly"})).status_code == 200
    ada = await test.client("ada")
    assert (await ada.put("/api/filesystem/data", params={"path": "/a"}, content=b"in Dropbox")).status_code == 201
    assert any(name.startswith("k-shards+") for name in (stored.name for stored in double.files.values()))
    assert all(b"in Dropbox" not in stored.content for stored in double.files.values())
    assert (await ada.get("/api/filesystem/data", params={"path": "/a"})).content == b"in Dropbox"

    listed = (await admin.get("/api/cloud/grants")).json()["grants"]
    assert (await admin.delete(f"/api/cloud/grants/{listed[0]['id']}")).status_code == 409
    held = await admin.delete("/api/admin/stores/dbx")
    assert (held.status_code, len(double.refresh)) == (409, 1)


async def test_removing_the_store_withdraws_the_grant(linked: Any) -> None:
    test, admin, double = linked
    login = await log_in(test, admin)
    await admin.post("/api/admin/stores", json={"name": "dbx", "url": login["grant"]["url"]})
    assert double.refresh
    assert (await admin.delete("/api/admin/stores/dbx")).status_code == 204
    assert not double.refresh
    assert not double.access
    assert (await admin.get("/api/cloud/grants")).json() == {"grants": []}


async def test_an_account_that_is_a_store_is_refused_and_can_be_relinked(linked: Any) -> None:
    test, admin, double = linked
    first = await log_in(test, admin)
    await admin.post("/api/admin/stores", json={"name": "dbx", "url": first["grant"]["url"]})
    again = await log_in(test, admin)
    assert (again["state"], again["code"]) == ("failed", "already-exists")
    double.withdraw()
    checked = (await admin.get("/api/admin/stores/dbx")).json()
    assert "log in" in (checked["error"] or "")
    assert (await log_in(test, admin, relink=True))["state"] == "granted"
    assert (await admin.get("/api/admin/stores/dbx")).json()["healthy"]


async def test_a_grant_outlives_the_process_and_is_sealed(tmp_path: Path) -> None:
    double = DropboxDouble()
    with double.served():
        async with linked_hive(tmp_path, double) as (test, admin):
            await log_in(test, admin)
            (refresh,) = double.refresh
            grants = test.hive.services.clouds.grants
            await grants.load()
            access = grants.access("dropbox", double.account_id)
            token = await access.token()
            assert token in double.access
            assert await access.token(refused=token) != token
        raw = b"".join(path.read_bytes() for path in tmp_path.glob("skep.db*"))
        for secret in (refresh, token, CLIENT_SECRET):
            assert secret.encode() not in raw


async def test_no_state_a_used_one_and_another_browser_are_refused(linked: Any) -> None:
    test, admin, _ = linked
    browser = test.anonymous
    assert (await browser.get(COMPLETE)).json()["detail"] == "Missing state"
    assert (await browser.get(COMPLETE, params={"state": "made up", "code": "x"})).status_code == 400
    login = await begin(admin)
    back = await to_provider(browser, login["link"])
    stolen = await test.anonymous.get(back)
    assert stolen.status_code == 403
    assert (await browser.get(back)).status_code == 400, "the state was used up by the other browser"
    login = await begin(admin)
    back = await to_provider(browser, login["link"])
    assert (await browser.get(back)).status_code == 200
    assert (await browser.get(back)).status_code == 400
    assert (await browser.get(login["link"].removeprefix(URL))).status_code == 403, "the link was used"


async def test_a_login_that_is_denied_says_so(linked: Any) -> None:
    test, admin, double = linked
    double.deny = True
    ended = await log_in(test, admin)
    assert (ended["state"], ended["code"]) == ("failed", "denied")
    assert "access_denied" in ended["error"]


async def test_a_code_that_the_provider_does_not_take(linked: Any) -> None:
    test, admin, double = linked
    login = await begin(admin)
    browser = test.anonymous
    back = await to_provider(browser, login["link"])
    double.codes.clear()
    page = await browser.get(back)
    assert (page.status_code, "invalid_grant" in page.text) == (400, True)
    double.fail(Rule("oauth2/token", status=500))
    failed = await log_in(test, admin)
    assert (failed["state"], failed["code"]) == ("failed", "store-unavailable")


async def test_it_ends_after_ten_minutes(tmp_path: Path) -> None:
    from skep.testing.clock import FakeClock

    double = DropboxDouble()
    clock = FakeClock()
    with double.served():
        async with open_test_hive(tmp_path, clock=clock) as test:
            admin = await test.client("root", is_admin=True)
            body = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "base_url": double.base_url}
            await admin.put("/api/cloud/providers/dropbox", json=body)
            login, late = await begin(admin), await begin(admin)
            browser = test.anonymous
            back = await to_provider(browser, login["link"])
            await clock.advance(601)
            assert (await browser.get(back)).status_code == 400
            assert (await browser.get(late["link"].removeprefix(URL))).status_code == 403
            looked = (await admin.get(f"/api/cloud/logins/{login['id']}")).json()
            assert (looked["state"], looked["code"]) == ("failed", "conflict")


@pytest.mark.parametrize("following", ["https://evil.example", "//evil.example", "/\\evil", "app", "/a\nb", "/%0d\\x"])
async def test_open_redirects_are_refused(linked: Any, following: str) -> None:
    _, admin, _ = linked
    answer = await admin.post("/api/cloud/logins", json={"provider": "dropbox", "next": following})
    assert answer.status_code == 400
    direct = await admin.get("/api/cloud/login/dropbox", params={"next": following})
    assert direct.status_code == 400


async def test_it_goes_on_to_a_path_of_the_hive(linked: Any) -> None:
    test, admin, _ = linked
    login = await begin(admin, next="/app/#clouds")
    browser = test.anonymous
    page = await browser.get(await to_provider(browser, login["link"]))
    assert (page.status_code, page.headers["location"]) == (302, "/app/#clouds")


async def test_who_may(linked: Any) -> None:
    test, _, _ = linked
    ada = await test.client("ada")
    assert (await ada.post("/api/cloud/logins", json={"provider": "dropbox"})).status_code == 201
    assert (await ada.put("/api/cloud/providers/box", json={"client_id": "x"})).status_code == 403
    assert (await ada.get("/api/cloud/login/dropbox")).status_code == 302
    assert (await test.anonymous.post("/api/cloud/logins", json={"provider": "dropbox"})).status_code == 401
    assert (await test.anonymous.get("/api/cloud/login/dropbox")).status_code == 401
    assert (await test.anonymous.get("/api/cloud/providers")).status_code == 401
    found = (await ada.get("/api/cloud/providers")).json()["providers"]
    assert next((each["name"], each["configured"], each["client_id"]) for each in found) == ("dropbox", True, None)


async def test_users_log_in_where_the_hive_lets_them_have_such_stores(linked: Any) -> None:
    test, _, _ = linked
    ada = await test.client("ada")
    object.__setattr__(test.hive.services.owning.rules, "drivers", ("s3",))
    refused = await ada.post("/api/cloud/logins", json={"provider": "dropbox"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await ada.get("/api/cloud/login/dropbox")).status_code == 403


async def test_a_users_account_is_theirs_alone(linked: Any) -> None:
    test, admin, double = linked
    ada, bob = await test.client("ada"), await test.client("bob")
    login = await log_in(test, ada)
    url = login["grant"]["url"]
    assert (await bob.get("/api/cloud/grants")).json() == {"grants": []}
    assert (await bob.delete(f"/api/cloud/grants/{login['grant']['id']}")).status_code == 404
    stolen = await bob.post("/api/stores", json={"name": "mine", "url": url})
    assert (stolen.status_code, stolen.json()["code"]) == (403, "forbidden")
    made = await ada.post("/api/stores", json={"name": "dbx", "url": url})
    assert (made.status_code, made.json()["owner"]) == (201, "ada"), made.text
    await ada.put("/api/filesystem/data", params={"path": "/a"}, content=b"in Dropbox")
    await bob.put("/api/filesystem/data", params={"path": "/b"}, content=b"not there")
    held = [stored.name for stored in double.files.values() if stored.name.startswith("k-shards+")]
    assert len(held) == 1
    taken = await log_in(test, bob, relink=True)  # the same account: it is a store of another user
    assert (taken["state"], taken["code"]) == ("failed", "already-exists")
    assert (await log_in(test, ada, relink=True))["state"] == "granted"
    assert [each["user_id"] for each in (await admin.get("/api/cloud/grants")).json()["grants"]] == [
        made.json()["owner_id"]
    ]


async def test_unknown_providers_and_missing_keys(linked: Any) -> None:
    _, admin, _ = linked
    assert (await admin.post("/api/cloud/logins", json={"provider": "icloud"})).status_code == 404
    assert (await admin.get("/api/cloud/login/icloud")).status_code == 404
    missing = await admin.post("/api/cloud/logins", json={"provider": "box"})
    assert (missing.status_code, missing.json()["code"]) == (409, "conflict")
    assert "skep cloud provider set box" in missing.json()["detail"]
    assert (await admin.post("/api/cloud/logins", json={"provider": "DropBox"})).status_code == 201
    bare = await admin.post("/api/admin/stores", json={"name": "dbx", "url": "dropbox:"})
    assert (bare.status_code, bare.json()["code"]) == (400, "invalid-store-url")


async def test_the_authorization_url_has_what_the_provider_wants(linked: Any) -> None:
    test, admin, double = linked
    login = await begin(admin)
    away = await test.anonymous.get(login["link"].removeprefix(URL))
    where = urlsplit(away.headers["location"])
    query = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert f"{where.scheme}://{where.netloc}" == double.base_url
    assert where.path == "/www.dropbox.com/oauth2/authorize"
    assert query["redirect_uri"] == f"{URL}{COMPLETE}"
    assert (query["code_challenge_method"], query["token_access_type"]) == ("S256", "offline")
    assert len(query["state"]) >= 40
    assert "HttpOnly" in away.headers["set-cookie"]
    assert "SameSite=Lax" in away.headers["set-cookie"]


async def test_app_keys_of_the_settings_count_until_an_administrator_gives_others(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, cloud__dropbox_client_id="from settings") as test:
        admin = await test.client("root", is_admin=True)

        async def shown() -> tuple[str, str]:
            found = (await admin.get("/api/cloud/providers")).json()["providers"][0]
            return found["client_id"], found["source"]

        assert await shown() == ("from settings", "settings")
        await admin.put("/api/cloud/providers/dropbox", json={"client_id": "own"})
        assert await shown() == ("own", "hive")
        await admin.delete("/api/cloud/providers/dropbox")
        assert await shown() == ("from settings", "settings")
