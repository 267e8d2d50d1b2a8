"""Options: what users choose for new content of their space, within what the hive allows."""

from __future__ import annotations

import pytest

from skep.testing.hive import open_test_hive

MINE = "/api/auth/me/options"
DATA = "/api/filesystem/data"
INFO = "/api/filesystem/info"


@pytest.fixture
async def hive(tmp_path):
    allowed = ["raid1(2)", "raid5(3)", "none"]
    async with open_test_hive(tmp_path, stores=3, storage__user_schemes=allowed) as opened:
        yield opened


async def stores_of(client, path, space=None) -> int:
    info = await client.get(INFO, params={"path": path, **({"space": space} if space else {})})
    return len(info.json()["chunks"])


async def test_the_scheme_of_ones_own(hive):
    ada, ben = await hive.client("ada"), await hive.client("ben")
    options = (await ada.get(MINE)).json()
    assert options == {
        "scheme": "none", "chosen": None, "allowed": ["raid1(2)", "raid5(3)", "none"],
        "raid_level": 1, "raid_replicas": 0,
    }  # fmt: skip
    await ada.put(DATA, params={"path": "/before"}, content=b"before")
    chosen = (await ada.post(MINE, json={"scheme": "RAID1(2)"})).json()
    assert (chosen["scheme"], chosen["chosen"], chosen["raid_replicas"]) == ("raid1(2)", "raid1(2)", 1)
    await ada.put(DATA, params={"path": "/small"}, content=b"small")
    await ada.put(DATA, params={"path": "/large"}, content=bytes(range(256)) * 8192)
    assert [await stores_of(ada, path) for path in ("/before", "/small", "/large")] == [1, 2, 2]
    five = (await ada.post(MINE, json={"raid_level": 3})).json()
    assert (five["chosen"], five["raid_level"], five["raid_replicas"]) == ("raid5(3)", 3, 1)
    await ada.put(DATA, params={"path": "/five"}, content=b"five")
    assert await stores_of(ada, "/five") == 3
    await ben.put(DATA, params={"path": "/bens"}, content=b"bens")
    assert await stores_of(ben, "/bens") == 1
    share = (await ada.post("/api/filesystem/shares", json={"path": "/", "user": "ben", "rights": "write"})).json()
    await ben.post(f"/api/filesystem/shares/held/{share['id']}", json={"accept": True})
    await ben.put(DATA, params={"path": "/by-ben", "space": share["id"]}, content=b"in the space of ada")
    assert await stores_of(ada, "/by-ben") == 3
    url = f"/api/filesystem/spaces/{share['id']}/options"
    assert [(await ben.post(url, json={"scheme": None})).status_code, (await ben.get(url)).status_code] == [403, 403]
    assert (await ada.post(MINE, json={"scheme": None})).json()["chosen"] is None
    await ada.put(DATA, params={"path": "/after"}, content=b"after")
    assert await stores_of(ada, "/after") == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"scheme": "raid1(3)"}, 403, "forbidden"),
        ({"raid_level": 1, "raid_replicas": 2}, 403, "forbidden"),
        ({"scheme": "raid9(3)"}, 400, "invalid-scheme"),
        ({"raid_level": 2}, 400, "malformed-request"),
        ({}, 400, "malformed-request"),
        ({"scheme": "none", "raid_level": 1}, 400, "malformed-request"),
    ],
)
async def test_what_may_not_be_chosen(hive, body, status, code):
    answer = await (await hive.client("ada")).post(MINE, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_managers_choose_for_their_group(hive):
    admin = await hive.client("root", is_admin=True)
    ada, ben = await hive.client("ada"), await hive.client("ben")
    await admin.post("/api/auth/groups", json={"name": "club"})
    for user, role in (("ada", "manager"), ("ben", "member")):
        answer = await admin.put(f"/api/auth/groups/club/members/{user}", json={"role": role})
        assert answer.status_code < 300, answer.text
    ada, ben = await hive.login("ada"), await hive.login("ben")
    space = (await ben.get("/api/filesystem/spaces")).json()["spaces"][1]["id"]
    url = f"/api/filesystem/spaces/{space}/options"
    assert (await ben.post(url, json={"scheme": "raid1(2)"})).status_code == 403
    assert (await ada.post(url, json={"scheme": "raid1(2)"})).json()["chosen"] == "raid1(2)"
    assert (await ben.get(url)).json()["scheme"] == "raid1(2)"
    await ben.put(DATA, params={"path": "/f", "space": space}, content=b"x")
    assert await stores_of(ben, "/f", space) == 2


async def test_what_is_not_allowed_any_more_does_not_count(tmp_path):
    async with open_test_hive(tmp_path, stores=2) as hive:
        ada = await hive.client("ada")
        assert (await ada.post(MINE, json={"scheme": "raid1(2)"})).json()["code"] == "forbidden"
        files = hive.hive.filesystem
        from skep.filesystem import spaces

        who = await hive.hive.auth.authenticate_token(ada.headers["authorization"].removeprefix("Bearer "))
        home = await files.home(who)
        await hive.hive.db.write(lambda tx: spaces.set_scheme(tx, home.id, "raid1(2)"))
        assert (await ada.get(MINE)).json()["scheme"] == "none"
        await ada.put(DATA, params={"path": "/f"}, content=b"x")
        assert await stores_of(ada, "/f") == 1
