"""Second factors, sessions and the audit log over HTTP."""

from __future__ import annotations

import base64
import time

import httpx

from skep.auth.totp import code_of, step_at
from skep.testing.hive import PASSWORD, TestHive

AUTH = "/api/auth"


async def added(client: httpx.AsyncClient) -> tuple[bytes, list[str]]:
    made = (await client.post(f"{AUTH}/factors/totp", json={"password": PASSWORD, "name": "phone"})).json()
    secret = base64.b32decode(made["secret"])
    code = code_of(secret, step_at(time.time_ns() // 1000))  # noqa: TID251 - an app has the real time
    answer = await client.post(f"{AUTH}/factors/{made['factor']['id']}/confirm", json={"code": code})
    assert answer.status_code == 200, answer.text
    return secret, answer.json()["recovery_codes"]


async def test_a_login_in_two_steps(hive: TestHive, ada: httpx.AsyncClient) -> None:
    _, codes = await added(ada)
    listed = (await ada.get(f"{AUTH}/factors")).json()
    assert [(one["kind"], one["name"]) for one in listed["factors"]] == [("totp", "phone")]
    assert listed["recovery_codes_left"] == 10
    credentials = {"name": "ada", "password": PASSWORD}
    first = await hive.anonymous.post(f"{AUTH}/login", json=credentials)
    assert (first.status_code, first.json()["code"]) == (401, "second-factor-needed")
    assert first.json()["details"]["methods"] == ["totp", "recovery"]
    question = first.json()["details"]["question"]
    wrong = await hive.anonymous.post(f"{AUTH}/login/second", json={"question": question, "code": "000000"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad-credentials")
    right = await hive.anonymous.post(f"{AUTH}/login/second", json={"question": question, "code": codes[0]})
    assert right.json()["token_type"] == "Bearer"
    one_step = await hive.anonymous.post(f"{AUTH}/login", json={**credentials, "code": codes[1]})
    assert one_step.status_code == 200
    basic = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    refused = await hive.anonymous.get(f"{AUTH}/me", headers={"authorization": f"Basic {basic}"})
    assert (refused.status_code, refused.json()["code"]) == (401, "second-factor-needed")


async def test_factors_are_removed_with_the_password_alone_or_by_administrators(
    hive: TestHive, ada: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    await added(ada)
    factor = (await ada.get(f"{AUTH}/factors")).json()["factors"][0]["id"]
    path = f"{AUTH}/factors/{factor}"
    assert (await ada.request("DELETE", path, json={})).status_code == 401
    renewed = await ada.post(f"{AUTH}/recovery-codes", json={"password": PASSWORD})
    assert len(renewed.json()["recovery_codes"]) == 10
    assert (await ada.request("DELETE", path, json={"password": PASSWORD})).status_code == 204
    assert (await ada.get(f"{AUTH}/users/root/factors")).status_code == 403
    assert (await admin.get(f"{AUTH}/users/ada/factors")).json()["factors"] == []
    assert (await ada.delete(f"{AUTH}/users/ada/factors")).status_code == 403
    assert (await admin.delete(f"{AUTH}/users/ada/factors")).json()["name"] == "ada"


async def test_sessions_are_seen_and_ended(hive: TestHive, ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    await hive.login("ada")
    sessions = (await ada.get(f"{AUTH}/sessions")).json()["sessions"]
    assert [one["is_current"] for one in sessions].count(True) == 1
    assert len(sessions) == 2
    assert (await ada.get(f"{AUTH}/sessions", params={"user": "root"})).status_code == 404
    assert len((await admin.get(f"{AUTH}/sessions", params={"user": "ada"})).json()["sessions"]) == 2
    assert (await ada.delete(f"{AUTH}/sessions")).json() == {"sessions": 1}
    assert (await admin.delete(f"{AUTH}/sessions", params={"user": "ada"})).json() == {"sessions": 1}
    assert (await ada.get(f"{AUTH}/me")).status_code == 401


async def test_the_audit_log_over_http(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    page = (await admin.get("/api/admin/audit", params={"limit": 2})).json()
    assert [entry["action"] for entry in page["entries"]] == ["login", "user-created"]
    rest = (await admin.get("/api/admin/audit", params={"before": page["next"]})).json()
    assert {entry["subject"] for entry in rest["entries"]} == {"ada"}
    assert rest["next"] is None
    verdict = (await admin.post("/api/admin/audit/verify", json={})).json()
    assert (verdict["whole"], verdict["number"]) == (True, 4)
    noted = {"number": verdict["number"], "hash": verdict["hash"]}
    assert (await admin.post("/api/admin/audit/verify", json=noted)).json()["whole"]
    other = {**noted, "hash": "00" * 32}
    assert (await admin.post("/api/admin/audit/verify", json=other)).json()["broken_at"] == 4
    assert (await admin.post("/api/admin/audit/verify", json={"number": 4})).status_code == 400
    assert {entry["subject"] for entry in (await ada.get("/api/admin/audit")).json()["entries"]} == {"ada"}
    assert (await ada.get("/api/admin/audit", params={"user": "root"})).status_code == 403
    assert (await ada.post("/api/admin/audit/verify", json={})).status_code == 403
