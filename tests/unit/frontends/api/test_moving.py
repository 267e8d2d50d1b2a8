"""Accounts that come over, are taken along, or go."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from skep.auth.leaving import checked_hash
from skep.base.errors import BadInput
from skep.base.workers import Progress
from skep.testing.clock import FakeClock
from skep.testing.hive import PASSWORD, TestHive, open_test_hive

AUTH = "/api/auth"


async def test_users_come_over_with_groups_and_passwords(hive: TestHive, admin: httpx.AsyncClient) -> None:
    await hive.user("ada")
    await admin.post(f"{AUTH}/groups", json={"name": "Engines"})
    await admin.put(f"{AUTH}/groups/Engines/members/ada", json={"role": "member"})
    plain = (await admin.get("/api/admin/users/export")).json()
    assert [one["name"] for one in plain["users"]] == ["ada", "root"]
    assert "password_hash" not in str(plain)
    exported = (await admin.get("/api/admin/users/export", params={"hashes": "true"})).json()["users"]
    ada = exported[0]
    assert ada["groups"] == ["Engines"]
    come = [{**ada, "name": "ada2", "groups": ["Engines", "New"]}, {**ada, "name": "ada"}, {"name": "x y"}]
    come += [{"name": "shut", "is_active": False}, {"name": "bad", "password_hash": "$2b$12$notargon"}]
    answer = await admin.post("/api/admin/users/import", json={"users": come})
    assert [one.get("code") for one in answer.json()["users"]] == [
        None, "already-exists", "invalid-name", None, "bad-input",
    ]  # fmt: skip
    await hive.login("ada2")
    assert (await admin.get(f"{AUTH}/groups/New")).json()["members"][0]["name"] == "ada2"
    assert not (await admin.get(f"{AUTH}/users/shut")).json()["is_active"]
    ordinary = await hive.login("ada2")
    assert (await ordinary.get("/api/admin/users/export")).status_code == 403
    assert (await ordinary.post("/api/admin/users/import", json={"users": []})).status_code == 403


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2g",
        "$argon2id$v=19$m=1024,t=99,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2g",
        "$argon2id$v=19$m=1024,t=2,p=0$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2g",
        "$argon2i$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2g",
        "$argon2id$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2g\n",
    ],
)
def test_a_hash_that_is_none_or_too_dear_does_not_come_over(text: str) -> None:
    checked_hash("$argon2id$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2g")
    with pytest.raises(BadInput):
        checked_hash(text)


async def test_one_takes_all_that_is_known_along_and_no_secret(hive: TestHive, ada: httpx.AsyncClient) -> None:
    made = (await ada.post(f"{AUTH}/app-passwords", json={"name": "phone"})).json()
    key = (await ada.post(f"{AUTH}/access-keys", json={"name": "backup"})).json()
    answer = await ada.get(f"{AUTH}/me/data")
    data = answer.json()
    assert (data["user"]["name"], data["app_passwords"][0]["name"]) == ("ada", "phone")
    assert {entry["action"] for entry in data["audit"]} >= {"user-created", "login", "app-password-made"}
    for secret in (made["secret"], key["secret"], PASSWORD, "argon2"):
        assert secret not in answer.text


async def test_an_account_goes_after_its_time_with_its_files(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock) as hive:
        admin, ada = await hive.client("root", is_admin=True), await hive.client("ada")
        for path in ("/a/b/c.txt", "/d.txt"):
            await ada.post("/api/filesystem/mkdir", json={"path": "/a/b", "parents": True, "exist_ok": True})
            assert (await ada.put("/api/filesystem/data", params={"path": path}, content=b"x")).status_code == 201
        assert (await admin.delete(f"{AUTH}/users/ada")).status_code == 409
        assert (await ada.post(f"{AUTH}/me/leave", json={"password": "wrong password"})).status_code == 401
        assert (await ada.post(f"{AUTH}/users/root/deletion", json={"grace_s": 1})).status_code == 403
        for grace_s in (-1, 1e12):
            body = {"grace_s": grace_s}
            assert (await admin.post(f"{AUTH}/users/ada/deletion", json=body)).status_code == 400
        assert (await admin.post(f"{AUTH}/users/root/deletion", json={"grace_s": 1})).status_code == 409
        assert (await ada.post(f"{AUTH}/me/leave", json={"password": PASSWORD})).status_code == 200
        assert (await ada.get(f"{AUTH}/me")).status_code == 401
        departures = hive.hive.keepers.departures
        assert (await departures.run_once(Progress())).done_units == 0
        await admin.patch(f"{AUTH}/users/ada", json={"is_active": True})
        clock.jump(31 * 86_400)
        assert (await departures.run_once(Progress())).done_units == 0  # called off
        admin, ada = await hive.login("root"), await hive.login("ada")
        assert (await admin.post(f"{AUTH}/users/ada/deletion", json={"grace_s": 60})).status_code == 200
        clock.jump(61)
        assert (await departures.run_once(Progress())).done_units == 1
        assert (await departures.run_once(Progress())).done_units == 0
        assert (await admin.get(f"{AUTH}/users/ada")).status_code == 404
        assert (await ada.get(f"{AUTH}/me")).status_code == 401
        actions = [entry["action"] for entry in (await admin.get("/api/admin/audit")).json()["entries"]]
        assert actions.count("deletion-scheduled") == 2
        assert actions[0] == "user-deleted"
