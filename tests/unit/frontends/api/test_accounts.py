from __future__ import annotations

import base64

import httpx
import pytest

from skep.testing.hive import PASSWORD, TestHive

AUTH = "/api/auth"
NEW = "another quiet meadow 77"


async def test_register_login_refresh_logout(hive: TestHive) -> None:
    client = hive.anonymous
    user = await client.post(f"{AUTH}/register", json={"name": "eve", "password": PASSWORD, "email": "eve@example.org"})
    assert (user.status_code, user.json()["name"], user.json()["is_admin"]) == (201, "eve", False)
    again = await client.post(f"{AUTH}/register", json={"name": "Eve", "password": PASSWORD})
    assert (again.status_code, again.json()["code"]) == (409, "already-exists")
    pair = (await client.post(f"{AUTH}/login", json={"name": "eve@example.org", "password": PASSWORD})).json()
    assert pair["token_type"] == "Bearer"
    fresh = (await client.post(f"{AUTH}/refresh", json={"refresh_token": pair["refresh_token"]})).json()
    shown = {"authorization": f"Bearer {fresh['access_token']}"}
    assert (await client.get(f"{AUTH}/me", headers=shown)).json()["email"] == "eve@example.org"
    assert (await client.post(f"{AUTH}/logout", headers=shown)).status_code == 204
    assert (await client.get(f"{AUTH}/me", headers=shown)).status_code == 401
    assert (await client.post(f"{AUTH}/refresh", json={"refresh_token": fresh["refresh_token"]})).status_code == 401


async def test_wrong_credentials_all_look_alike(hive: TestHive) -> None:
    await hive.user("ada")
    client = hive.anonymous
    answers = [
        await client.post(f"{AUTH}/login", json={"name": name, "password": "wrong password 1"})
        for name in ("ada", "nobody")
    ]
    assert [(a.status_code, a.json()["code"]) for a in answers] == [(401, "bad-credentials")] * 2
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


@pytest.mark.parametrize(
    ("site", "taken"), [("cross-site", False), ("same-site", False), ("same-origin", True), ("none", True)]
)
async def test_a_remembered_password_is_not_taken_from_pages_of_other_sites(
    hive: TestHive, site: str, taken: bool
) -> None:
    await hive.user("ada")
    shown = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    sent = {"authorization": shown, "sec-fetch-site": site}
    answer = await hive.anonymous.post("/api/filesystem/mkdir", json={"path": "/x", "exist_ok": True}, headers=sent)
    assert answer.status_code == (201 if taken else 403)


OTHER_PAGES = ["http://evil.example", "http://hive.test.evil.example", "null", "http://hive.test:81"]


@pytest.mark.parametrize("origin", [*OTHER_PAGES, "http://hive.test", "http://HIVE.test:80"])
async def test_nor_where_browsers_tell_of_them_by_origin_alone(hive: TestHive, origin: str) -> None:
    """Without TLS they leave Sec-Fetch-Site out; a form of another page could upload then."""
    await hive.user("ada")
    shown = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    answer = await hive.anonymous.post(
        "/api/filesystem/data",
        params={"directory": "/"},
        files={"file": ("x.txt", b"planted")},
        headers={"authorization": shown, "origin": origin},
    )
    assert answer.status_code == (403 if origin in OTHER_PAGES else 201), answer.text


async def test_guessing_is_slowed_down(hive: TestHive) -> None:
    await hive.user("ada")
    for _ in range(12):
        answer = await hive.anonymous.post(f"{AUTH}/login", json={"name": "ada", "password": "wrong password 1"})
    assert (answer.status_code, answer.json()["code"]) == (429, "rate-limited")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "value",
    [None, "Bearer nonsense", "Bearer", "Token x", "Basic !!!", "Basic " + base64.b64encode(b"no colon").decode()],
)
async def test_without_a_good_credential_it_is_401_with_a_challenge(hive: TestHive, value: str | None) -> None:
    headers = {} if value is None else {"authorization": value}
    answer = await hive.anonymous.get("/api/filesystem/info", headers=headers)
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]
    assert answer.headers["content-type"] == "application/problem+json"


async def test_app_passwords_open_what_their_scopes_say(hive: TestHive, ada: httpx.AsyncClient) -> None:
    made = await ada.post(f"{AUTH}/app-passwords", json={"name": "phone", "scopes": ["files:read"]})
    assert made.status_code == 201
    basic = base64.b64encode(f"ada:{made.json()['secret']}".encode()).decode()
    shown = {"authorization": f"Basic {basic}"}
    assert (await hive.anonymous.get("/api/filesystem/info", headers=shown)).status_code == 200
    refused = await hive.anonymous.put("/api/filesystem/data?path=/x", content=b"x", headers=shown)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    (listed,) = (await ada.get(f"{AUTH}/app-passwords")).json()["app_passwords"]
    assert "secret" not in listed
    assert (await ada.delete(f"{AUTH}/app-passwords/{listed['id']}")).status_code == 204
    assert (await hive.anonymous.get("/api/filesystem/info", headers=shown)).status_code == 401


async def test_a_new_password_ends_the_sessions(hive: TestHive, ada: httpx.AsyncClient) -> None:
    assert len((await ada.get(f"{AUTH}/sessions")).json()["sessions"]) == 1
    wrong = await ada.post(f"{AUTH}/password", json={"old_password": "x", "new_password": NEW})
    assert wrong.status_code == 401
    done = await ada.post(f"{AUTH}/password", json={"old_password": PASSWORD, "new_password": NEW})
    assert (await ada.get(f"{AUTH}/me")).status_code == 401
    shown = {"authorization": f"Bearer {done.json()['access_token']}"}
    assert (await hive.anonymous.get(f"{AUTH}/me", headers=shown)).status_code == 200


async def test_administrators_keep_users_and_others_do_not(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    made = await admin.post(f"{AUTH}/users", json={"name": "carl", "password": PASSWORD, "full_name": "Carl van Dam"})
    assert (made.status_code, made.json()["first_name"], made.json()["last_name"]) == (201, "Carl", "van Dam")
    names = [user["name"] for user in (await admin.get(f"{AUTH}/users")).json()["users"]]
    assert names == ["ada", "carl", "root"]
    assert (await ada.get(f"{AUTH}/users")).status_code == 403
    assert (await ada.post(f"{AUTH}/users", json={"name": "x"})).status_code == 403
    assert (await ada.get(f"{AUTH}/users/carl")).status_code == 404
    assert (await ada.patch(f"{AUTH}/users/ada", json={"is_admin": True})).status_code == 403
    suspended = await admin.patch(f"{AUTH}/users/ada", json={"is_active": False})
    assert suspended.json()["is_active"] is False
    assert (await ada.get(f"{AUTH}/me")).status_code in (401, 403)
    assert (await admin.delete(f"{AUTH}/users/{made.json()['id']}")).status_code == 204
    assert (await admin.delete(f"{AUTH}/users/root")).json()["code"] == "in-use"


async def test_groups_share_a_space(ada: httpx.AsyncClient, bob: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    assert (await admin.post(f"{AUTH}/groups", json={"name": "club"})).status_code == 201
    for name in ("ada", "bob"):
        await admin.put(f"{AUTH}/groups/club/members/{name}", json={"role": "member"})
    group = (await ada.get(f"{AUTH}/groups/club")).json()
    assert [member["name"] for member in group["members"]] == ["ada", "bob"]
    spaces = (await ada.get("/api/filesystem/spaces")).json()["spaces"]
    shared = next(space["id"] for space in spaces if space["kind"] == "group")
    await ada.put("/api/filesystem/data", params={"path": "/all.txt", "space": shared}, content=b"for all")
    seen = await bob.get("/api/filesystem/data", params={"path": "/all.txt", "space": shared})
    assert seen.content == b"for all"
    assert (await admin.delete(f"{AUTH}/groups/club/members/bob")).status_code == 204
    assert (await bob.get("/api/filesystem/data", params={"path": "/all.txt", "space": shared})).status_code == 404
    assert (await admin.delete(f"{AUTH}/groups/club")).status_code == 409


async def test_invites_let_people_in(hive: TestHive, admin: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
    made = (await admin.post(f"{AUTH}/invites", json={"uses": 1})).json()
    body = {"name": "guest", "password": PASSWORD, "invite": made["token"]}
    assert (await hive.anonymous.post(f"{AUTH}/register", json=body)).status_code == 201
    assert (await hive.anonymous.post(f"{AUTH}/register", json={**body, "name": "second"})).status_code == 403
    assert (await ada.get(f"{AUTH}/invites")).status_code == 403
    other = (await admin.post(f"{AUTH}/invites", json={})).json()
    assert [one["id"] for one in (await admin.get(f"{AUTH}/invites")).json()["invites"]] == [other["id"]]
    assert (await admin.delete(f"{AUTH}/invites/{other['id']}")).status_code == 204


async def test_the_public_keys_are_at_both_places(hive: TestHive) -> None:
    keys = (await hive.anonymous.get(f"{AUTH}/jwks")).json()
    assert keys["keys"][0]["crv"] == "Ed25519"
    assert "d" not in keys["keys"][0]
    assert (await hive.anonymous.get("/.well-known/jwks.json")).json() == keys


async def test_a_group_and_its_space_get_another_name(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    await admin.post(f"{AUTH}/groups", json={"name": "club"})
    await admin.put(f"{AUTH}/groups/club/members/ada", json={"role": "manager"})
    assert (await ada.patch(f"{AUTH}/groups/club", json={"name": "mine"})).status_code == 403
    assert (await admin.patch(f"{AUTH}/groups/club", json={"name": "choir"})).json()["name"] == "choir"
    assert (await admin.patch(f"{AUTH}/groups/club", json={"name": "x"})).status_code == 404
    assert (await admin.patch(f"{AUTH}/users/ada", json={"name": "countess"})).status_code == 200
    spaces = (await ada.get("/api/filesystem/spaces")).json()["spaces"]
    assert [space["name"] for space in spaces] == ["countess", "choir"]


async def test_quotas_of_users_and_groups_are_set_by_name(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    await admin.post(f"{AUTH}/groups", json={"name": "club"})
    await admin.put(f"{AUTH}/groups/club/members/ada", json={})
    for url in (f"{AUTH}/users/ada/space", f"{AUTH}/groups/club/space"):
        assert (await ada.get(url)).status_code == 403
        assert (await ada.patch(url, json={"quota_bytes": None})).status_code == 403
        assert (await admin.get(url)).json()["quota_bytes"] is None
        assert (await admin.patch(url, json={"quota_bytes": 3})).json()["quota_bytes"] == 3
        assert (await admin.patch(url, json={"quota_bytes": -1})).status_code == 400
    assert (await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"1234")).status_code == 507
    assert (await admin.get(f"{AUTH}/users/nobody/space")).status_code == 404
    await admin.patch(f"{AUTH}/users/ada/space", json={"quota_bytes": None})
    assert (await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"1234")).status_code == 201
