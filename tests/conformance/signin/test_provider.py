"""The hive as an identity provider, met by an OAuth client that somebody else wrote."""

from __future__ import annotations

import re
import warnings
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from authlib.integrations.httpx_client import AsyncOAuth2Client
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

from skep.auth import internal_principal
from skep.testing.clock import FakeClock
from skep.testing.hive import PASSWORD, URL, TestHive, open_test_hive

BACK = "https://app.example/callback"
VERIFIER = "v" * 50


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path, server__public_url=URL) as opened:
        await opened.user("ada")
        yield opened


async def program(hive: TestHive, *, public: bool = False, scopes: tuple[str, ...] = ()) -> tuple[str, str | None]:
    wanted = frozenset(scopes or ("openid", "profile", "email", "groups", "files:read"))
    info, secret = await hive.hive.auth.add_client(internal_principal(), "wiki", [BACK], wanted, public=public)
    return info.id, secret


def client_of(hive: TestHive, client_id: str, secret: str | None, **more: object) -> AsyncOAuth2Client:
    transport = httpx.ASGITransport(app=hive.hive.app)
    return AsyncOAuth2Client(client_id, secret, redirect_uri=BACK, transport=transport, base_url=URL, **more)


def form_of(text: str, action: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    part = text.split(f'action="{action}"', 1)[1].split("</form>", 1)[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', part)
    return {unescape(name): unescape(value) for name, value in found}


async def signed_in(hive: TestHive, url: str, name: str = "ada") -> tuple[httpx.AsyncClient, httpx.Response]:
    """A browser that has signed in on its way to a page, and that page."""
    browser = hive.anonymous
    first = await browser.get(url.removeprefix(URL))
    assert "frame-ancestors 'none'" in first.headers["content-security-policy"]
    fields = form_of(first.text, "/oauth/signin")
    on = await browser.post("/oauth/signin", data={**fields, "name": name, "password": PASSWORD})
    assert on.status_code == 302, on.text
    return browser, await browser.get(on.headers["location"])


async def allowed(hive: TestHive, url: str) -> str:
    """What a person does: sign in, allow. Where the browser is sent back to."""
    browser, page = await signed_in(hive, url)
    fields = form_of(page.text, "/oauth/authorize")
    back = await browser.post("/oauth/authorize", data={**fields, "decision": "allow"})
    assert back.status_code == 302, back.text
    return back.headers["location"]


def link(client: AsyncOAuth2Client, **more: str) -> tuple[str, str]:
    asked = {"scope": "openid profile groups", "nonce": "n-1", **more}
    return client.create_authorization_url(
        f"{URL}/oauth/authorize",
        code_challenge=create_s256_code_challenge(VERIFIER),
        code_challenge_method="S256",
        **asked,
    )


async def tokens(hive: TestHive, client: AsyncOAuth2Client) -> dict:
    url, state = link(client)
    back = await allowed(hive, url)
    assert parse_qs(urlsplit(back).query)["iss"] == [URL]
    return await client.fetch_token(
        f"{URL}/oauth/token", authorization_response=back, state=state, code_verifier=VERIFIER
    )


@pytest.mark.parametrize("public", [False, True])
async def test_a_program_gets_tokens_and_says_who_it_is(hive: TestHive, public: bool) -> None:
    client_id, secret = await program(hive, public=public)
    method = {"token_endpoint_auth_method": "none"} if public else {}
    client = client_of(hive, client_id, secret, **method)
    said = (await hive.anonymous.get("/.well-known/openid-configuration")).json()
    assert said["issuer"] == URL
    given = await tokens(hive, client)
    keys = KeySet.import_key_set((await hive.anonymous.get(said["jwks_uri"])).json())
    claims = jwt.decode(given["id_token"], keys, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (URL, client_id, "n-1")
    assert (claims["preferred_username"], claims["groups"]) == ("ada", [])
    info = (await client.get(said["userinfo_endpoint"])).json()
    assert (info["sub"], info["preferred_username"]) == (claims["sub"], "ada")
    again = await client.refresh_token(said["token_endpoint"])
    assert again["refresh_token"] != given["refresh_token"]
    me = await hive.anonymous.get("/api/filesystem/info", headers={"authorization": f"Bearer {again['access_token']}"})
    assert me.status_code == 403  # files were not asked for
    await client.revoke_token(said["revocation_endpoint"], again["refresh_token"])
    with pytest.raises(Exception, match="invalid_grant"):
        await client.refresh_token(said["token_endpoint"])


async def test_a_code_is_good_once_and_shown_again_it_ends_what_it_gave(hive: TestHive) -> None:
    client_id, secret = await program(hive)
    client = client_of(hive, client_id, secret)
    url, _ = link(client)
    code = parse_qs(urlsplit(await allowed(hive, url)).query)["code"][0]
    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER,
        "client_id": client_id, "client_secret": str(secret),
    }  # fmt: skip
    first = await hive.anonymous.post("/oauth/token", data=form)
    assert first.status_code == 200
    shown = {"authorization": f"Bearer {first.json()['access_token']}"}
    assert (await hive.anonymous.get("/oauth/userinfo", headers=shown)).status_code == 200
    second = await hive.anonymous.post("/oauth/token", data=form)
    assert (second.status_code, second.json()["error"]) == (400, "invalid_grant")
    assert (await hive.anonymous.get("/oauth/userinfo", headers=shown)).status_code == 401


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_verifier": "w" * 50}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"redirect_uri": "https://app.example/callback/"}, "invalid_grant"),
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "skep-cli", "client_secret": ""}, "invalid_grant"),
        ({"code": "skc_nothing"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
    ],
    ids=str,
)
async def test_what_does_not_fit_gets_no_tokens(hive: TestHive, change: dict[str, str], error: str) -> None:
    client_id, secret = await program(hive)
    url, _ = link(client_of(hive, client_id, secret))
    code = parse_qs(urlsplit(await allowed(hive, url)).query)["code"][0]
    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER,
        "client_id": client_id, "client_secret": str(secret),
    }  # fmt: skip
    answer = await hive.anonymous.post("/oauth/token", data={**form, **change})
    assert (answer.status_code in (400, 401), answer.json()["error"]) == (True, error)


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "https://app.example/callback?x"},
        {"redirect_uri": "https://app.example.evil.example/callback"},
        {"redirect_uri": ""},
        {"client_id": "nobody"},
    ],
    ids=str,
)
async def test_nobody_is_sent_to_where_the_program_is_not(hive: TestHive, change: dict[str, str]) -> None:
    client_id, secret = await program(hive)
    url, _ = link(client_of(hive, client_id, secret))
    fields = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    answer = await hive.anonymous.get("/oauth/authorize", params={**fields, **change})
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"scope": "openid admin"}, "invalid_scope"),
        ({"request": "x"}, "request_not_supported"),
        ({"prompt": "none"}, "interaction_required"),
    ],
    ids=str,
)
async def test_what_it_may_not_ask_is_told_to_the_program(hive: TestHive, change: dict[str, str], error: str) -> None:
    client_id, secret = await program(hive)
    url, state = link(client_of(hive, client_id, secret))
    fields = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    answer = await hive.anonymous.get("/oauth/authorize", params={**fields, **change})
    assert answer.status_code == 302
    told = parse_qs(urlsplit(answer.headers["location"]).query)
    assert answer.headers["location"].startswith(BACK)
    assert (told["error"], told["state"]) == ([error], [state])


async def test_forms_of_other_sites_allow_nothing(hive: TestHive) -> None:
    client_id, secret = await program(hive)
    url, _ = link(client_of(hive, client_id, secret))
    browser, page = await signed_in(hive, url)
    fields = {**form_of(page.text, "/oauth/authorize"), "decision": "allow"}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        assert (await browser.post("/oauth/authorize", data=fields, headers=headers)).status_code == 403
    for form in ("", "x", "ü"):
        assert (await browser.post("/oauth/authorize", data={**fields, "form": form})).status_code == 403
    stranger = hive.anonymous
    assert (await stranger.post("/oauth/authorize", data=fields)).status_code == 403
    denied = await browser.post("/oauth/authorize", data={**fields, "decision": "deny"})
    assert parse_qs(urlsplit(denied.headers["location"]).query)["error"] == ["access_denied"]


async def test_sign_in_goes_on_inside_the_door_alone(hive: TestHive) -> None:
    for following in ("https://evil.example", "//evil.example", "/oauth/../x", "/oauth/authorize\\x", "javascript:1"):
        form = {"name": "ada", "password": PASSWORD, "next": following}
        on = await hive.anonymous.post("/oauth/signin", data=form)
        assert on.headers["location"] == "/oauth/device"
    wrong = await hive.anonymous.post("/oauth/signin", data={"name": "<b>", "password": "no", "next": '"><script>'})
    assert wrong.status_code == 401
    assert "&lt;b&gt;" in wrong.text
    assert '"><script>' not in wrong.text


async def test_who_was_shut_out_allows_nothing(hive: TestHive) -> None:
    client_id, secret = await program(hive)
    url, _ = link(client_of(hive, client_id, secret))
    browser, page = await signed_in(hive, url)
    await hive.hive.auth.suspend_user(internal_principal(), "ada")
    fields = {**form_of(page.text, "/oauth/authorize"), "decision": "allow"}
    assert (await browser.post("/oauth/authorize", data=fields)).status_code == 401


async def test_programs_end_with_their_sessions(hive: TestHive) -> None:
    client_id, secret = await program(hive)
    given = await tokens(hive, client_of(hive, client_id, secret))
    shown = {"authorization": f"Bearer {given['access_token']}"}
    assert (await hive.anonymous.get("/oauth/userinfo", headers=shown)).status_code == 200
    admin = await hive.client("root", is_admin=True)
    assert [one["id"] for one in (await admin.get("/api/admin/programs")).json()["programs"]] == [client_id]
    assert (await admin.delete(f"/api/admin/programs/{client_id}")).status_code == 204
    assert (await hive.anonymous.get("/oauth/userinfo", headers=shown)).status_code == 401
    for uri in ("http://app.example/x", "javascript:alert(1)", "data:x", "https://a:b@c/", "https://a/#b", "*", "/x"):
        body = {"name": "x", "redirect_uris": [uri]}
        assert (await admin.post("/api/admin/programs", json=body)).status_code == 400, uri


async def test_a_refresh_token_of_a_program_is_no_other_programs(hive: TestHive) -> None:
    first, second = await program(hive), await program(hive)
    given = await tokens(hive, client_of(hive, *first))
    form = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
    stolen = await hive.anonymous.post(
        "/oauth/token", data={**form, "client_id": second[0], "client_secret": str(second[1])}
    )
    assert stolen.json()["error"] == "invalid_grant"
    own = (await hive.hive.auth.login("ada", PASSWORD)).refresh_token
    form = {"grant_type": "refresh_token", "refresh_token": own, "client_id": first[0], "client_secret": str(first[1])}
    assert (await hive.anonymous.post("/oauth/token", data=form)).json()["error"] == "invalid_grant"


# --- devices --------------------------------------------------------------------------------------

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


async def begun(hive: TestHive) -> tuple[dict, dict]:
    codes = (await hive.anonymous.post("/oauth/device_authorization", data={"client_id": "skep-cli"})).json()
    return codes, {"grant_type": GRANT, "device_code": codes["device_code"], "client_id": "skep-cli"}


async def test_a_device_is_let_in_by_whoever_types_its_code(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock) as hive:
        await hive.user("ada")
        codes, form = await begun(hive)
        assert codes["verification_uri"] == f"{URL}/oauth/device"

        async def poll() -> dict:
            return (await hive.anonymous.post("/oauth/token", data=form)).json()

        assert (await poll())["error"] == "authorization_pending"
        assert (await poll())["error"] == "slow_down"
        typed = codes["user_code"].lower().replace("-", " ")
        browser, page = await signed_in(hive, f"/oauth/device?user_code={typed}")
        fields = form_of(page.text, "/oauth/device")
        assert "skep, the command line" in page.text
        done = await browser.post("/oauth/device", data={**fields, "decision": "allow"})
        assert done.status_code == 200
        again = await browser.post("/oauth/device", data={**fields, "decision": "allow"})
        assert again.status_code == 400
        await clock.advance(6)
        given = await poll()
        shown = {"authorization": f"Bearer {given['access_token']}"}
        assert (await hive.anonymous.get("/api/auth/me", headers=shown)).json()["name"] == "ada"
        assert (await poll())["error"] == "expired_token"

        _, form = await begun(hive)
        other = await hive.anonymous.post("/oauth/token", data={**form, "client_id": "other"})
        assert other.json()["error"] == "invalid_client"
        await clock.advance(601)
        assert (await poll())["error"] == "expired_token"


async def test_a_device_that_is_denied_hears_so_and_codes_cannot_be_guessed(hive: TestHive) -> None:
    codes, form = await begun(hive)
    browser, page = await signed_in(hive, f"/oauth/device?user_code={codes['user_code']}")
    fields = form_of(page.text, "/oauth/device")
    await browser.post("/oauth/device", data={**fields, "decision": "deny"})
    assert (await hive.anonymous.post("/oauth/token", data=form)).json()["error"] == "access_denied"
    for _ in range(10):
        assert (await browser.get("/oauth/device", params={"user_code": "BCDF-GHJK"})).status_code == 400
    assert (await browser.get("/oauth/device", params={"user_code": "BCDF-GHJK"})).status_code == 429
