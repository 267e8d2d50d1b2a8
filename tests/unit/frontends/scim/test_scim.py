"""Directories keep users and groups in step over SCIM."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.auth import internal_principal
from skep.frontends.scim.filters import DEPTH_MAX, BadFilter, parse_filter
from skep.testing.hive import PASSWORD, URL, TestHive, open_test_hive

ROOT = "/scim/v2"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
ADA = {
    "schemas": [USER],
    "userName": "ada",
    "externalId": "ext-1",
    "name": {"givenName": "Ada", "familyName": "Lovelace"},
    "emails": [{"value": "old@example.org"}, {"value": "ada@example.org", "primary": True}],
    "active": True,
}


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[TestHive]:
    async with open_test_hive(tmp_path) as opened:
        yield opened


@pytest.fixture
async def scim(hive: TestHive) -> httpx.AsyncClient:
    """A directory with an app password of an administrator as its bearer token."""
    await hive.user("root", is_admin=True)
    auth = hive.hive.auth
    root = await auth.authenticate_token((await auth.login("root", PASSWORD)).access_token)
    made = await auth.create_app_password(root, "directory", scopes=("admin", "account"))
    client = hive.anonymous
    client.headers["authorization"] = f"Bearer {made.secret}"
    return client


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(operations)}


async def test_a_user_is_made_found_changed_shut_and_goes(hive: TestHive, scim: httpx.AsyncClient) -> None:
    made = await scim.post(f"{ROOT}/Users", json=ADA)
    assert made.status_code == 201, made.text
    assert made.headers["content-type"] == "application/scim+json"
    user = made.json()
    assert (user["userName"], user["externalId"], user["active"]) == ("ada", "ext-1", True)
    assert user["emails"][0]["value"] == "ada@example.org"
    assert user["name"]["formatted"] == "Ada Lovelace"
    assert made.headers["location"] == f"{URL}{ROOT}/Users/{user['id']}" == user["meta"]["location"]
    again = await scim.post(f"{ROOT}/Users", json=ADA)
    assert (again.status_code, again.json()["scimType"], again.json()["status"]) == (409, "uniqueness", "409")
    one = f"{ROOT}/Users/{user['id']}"
    assert (await scim.get(one)).json() == user
    shut = await scim.patch(one, json=patch({"op": "Replace", "path": "active", "value": "False"}))
    assert shut.json()["active"] is False
    open_again = await scim.patch(
        one, json=patch({"op": "replace", "value": {"active": True, "displayName": "Ada L."}})
    )
    assert (open_again.json()["active"], open_again.json()["displayName"]) == (True, "Ada L.")
    operations = [
        {"op": "replace", "path": 'emails[type eq "work"].value', "value": "new@example.org"},
        {"op": "add", "path": "externalId", "value": "ext-2"},
        {"op": "replace", "path": f"{USER}:userName", "value": "augusta"},
    ]
    changed = (await scim.patch(one, json=patch(*operations))).json()
    assert (changed["userName"], changed["externalId"]) == ("augusta", "ext-2")
    assert changed["emails"][0]["value"] == "new@example.org"
    removed = await scim.patch(one, json=patch({"op": "remove", "path": "emails"}))
    assert removed.json()["emails"] == []
    put = await scim.put(one, json={**ADA, "userName": "ada"})
    assert put.json()["userName"] == "ada"
    assert (await scim.delete(one)).status_code == 204
    assert (await scim.get(one)).status_code == 404
    assert (await scim.delete(one)).status_code == 404
    assert (await scim.get(f"{ROOT}/Users", params={"filter": 'userName eq "ada"'})).json()["totalResults"] == 0
    found = await hive.hive.auth.get_user(internal_principal(), "ada")  # it can still be brought back
    assert found.state == "suspended"


async def test_groups_and_members(hive: TestHive, scim: httpx.AsyncClient) -> None:
    made = [await scim.post(f"{ROOT}/Users", json={"userName": name}) for name in ("ada", "bob", "eve")]
    ids = [one.json()["id"] for one in made]
    body = {"schemas": [GROUP], "displayName": "Engines", "externalId": "g-1", "members": [{"value": ids[0]}]}
    group = (await scim.post(f"{ROOT}/Groups", json=body)).json()
    one = f"{ROOT}/Groups/{group['id']}"

    def members(answer: httpx.Response) -> set[str]:
        assert answer.status_code == 200, answer.text
        return {member["display"] for member in answer.json()["members"]}

    add = {"op": "add", "path": "members", "value": [{"value": ids[1]}, {"value": ids[2]}]}
    assert members(await scim.patch(one, json=patch(add))) == {"ada", "bob", "eve"}
    by_filter = {"op": "remove", "path": f'members[value eq "{ids[0]}"]'}
    assert members(await scim.patch(one, json=patch(by_filter))) == {"bob", "eve"}
    by_value = {"op": "remove", "path": "members", "value": [{"value": ids[1]}]}
    assert members(await scim.patch(one, json=patch(by_value))) == {"eve"}
    assert members(await scim.patch(one, json=patch({"op": "remove", "path": "members"}))) == set()
    assert members(await scim.patch(one, json=patch({"op": "replace", "value": body}))) == {"ada"}
    renamed = await scim.put(one, json={**body, "displayName": "Motors", "members": [{"value": ids[2]}]})
    assert (renamed.json()["displayName"], members(renamed)) == ("Motors", {"eve"})
    asked = {"filter": f'displayName eq "motors" and members[value eq "{ids[2]}"]'}
    assert (await scim.get(f"{ROOT}/Groups", params=asked)).json()["totalResults"] == 1
    stranger = {"op": "add", "path": "members", "value": [{"value": "0" * 36}]}
    assert (await scim.patch(one, json=patch(stranger))).status_code == 404
    assert (await scim.delete(one)).status_code == 204
    assert (await scim.get(one)).status_code == 404


async def test_pages_and_filters(scim: httpx.AsyncClient) -> None:
    for number in range(7):
        user = {"userName": f"user{number}", "externalId": f"E{number}", "active": number % 2 == 0}
        assert (await scim.post(f"{ROOT}/Users", json=user)).status_code == 201

    async def found(**asked: object) -> tuple[int, list[str]]:
        answer = (await scim.get(f"{ROOT}/Users", params=asked)).json()
        assert answer["itemsPerPage"] == len(answer["Resources"])
        return answer["totalResults"], [one["userName"] for one in answer["Resources"]]

    assert await found(count=3) == (8, ["root", "user0", "user1"])
    assert await found(count=3, startIndex=7) == (8, ["user5", "user6"])
    assert await found(count=0) == (8, [])
    assert await found(startIndex=-5, count=1) == (8, ["root"])
    assert await found(filter='USERNAME eq "USER3"') == (1, ["user3"])
    assert await found(filter='externalId eq "e3"') == (0, [])  # an id is compared as it is
    assert await found(filter='externalId eq "E3" or userName ew "5"') == (2, ["user3", "user5"])
    assert await found(filter='active eq false and userName sw "user"') == (3, ["user1", "user3", "user5"])
    assert await found(filter='not (userName co "user")') == (1, ["root"])
    assert await found(filter="externalId pr", count=1, startIndex=2) == (7, ["user1"])
    assert await found(filter='userName eq "x\\" or userName pr or \\""') == (0, [])
    assert await found(filter='userName eq "\' OR 1=1 --"') == (0, [])
    for query in ({"startIndex": "x"}, {"count": "1e9"}, {"filter": "userName"}):
        answer = await scim.get(f"{ROOT}/Users", params=query)
        assert answer.status_code == 400, query


@pytest.mark.parametrize(
    "text",
    [
        "x" * 2000,
        "(" * 500 + "a pr" + ")" * 500,
        "not " * 50 + "(a pr)",
        "a pr and " * 60 + "a pr",
        "a[" * (DEPTH_MAX + 1) + "b pr" + "]" * (DEPTH_MAX + 1),
        'a eq "' + "\\" * 501 + '"',
        'a eq "unfinished',
        "a eq",
        "a zz 1",
        "eq eq",
        "a eq 'x'",
        'a eq "x" b',
        "a eq 1; DROP TABLE users",
        'a[b eq "x"',
        ")",
        "and",
        'a eq "\\u00"',
        "\x00",
    ],
)
def test_hostile_filters_are_refused(text: str) -> None:
    with pytest.raises(BadFilter):
        parse_filter(text)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"a":' * 5000,
        b'{"Operations": []}',
        b'{"Operations": [{"op": "move"}]}',
        b'{"Operations": [{"op": "remove", "path": "userName"}]}',
        b'{"Operations": [{"op": "remove"}]}',
        b'{"Operations": [{"op": "replace", "path": "active", "value": "maybe"}]}',
        b'{"Operations": [{"op": "replace", "value": 7}]}',
        b'{"Operations": [{"op": "replace", "path": 7, "value": 7}]}',
        b'{"Operations": [{"op": "replace", "path": "userName", "value": {"x": 1}}]}',
        b'{"Operations": [{"op": "replace", "path": "userName", "value": "a b"}]}',
    ],
)
async def test_patches_that_make_no_sense_change_nothing(scim: httpx.AsyncClient, body: bytes) -> None:
    one = f"{ROOT}/Users/{(await scim.post(f'{ROOT}/Users', json=ADA)).json()['id']}"
    before = (await scim.get(one)).json()
    answer = await scim.patch(one, content=body, headers={"content-type": "application/scim+json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert (await scim.get(one)).json() == before


async def test_only_administrators_programs_get_in(hive: TestHive, scim: httpx.AsyncClient) -> None:
    assert (await hive.anonymous.get(f"{ROOT}/Users")).status_code == 401
    ordinary = await hive.client("ann")
    assert (await ordinary.get(f"{ROOT}/Users")).status_code == 403
    auth = hive.hive.auth
    root = await auth.authenticate_token((await auth.login("root", PASSWORD)).access_token)
    files_only = await auth.create_app_password(root, "files")
    client = hive.anonymous
    client.headers["authorization"] = f"Bearer {files_only.secret}"
    assert (await client.get(f"{ROOT}/Users")).status_code == 403
    client.headers["authorization"] = "Bearer skep-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa"
    assert (await client.get(f"{ROOT}/Users")).status_code == 401
    listed = await auth.list_app_passwords(root)
    directory = next(one for one in listed if one.name == "directory")
    assert (await scim.get(f"{ROOT}/Users")).status_code == 200
    await auth.revoke_app_password(root, directory.id)
    assert (await scim.get(f"{ROOT}/Users")).status_code == 401


async def test_it_says_what_it_is(scim: httpx.AsyncClient) -> None:
    config = (await scim.get(f"{ROOT}/ServiceProviderConfig")).json()
    assert (config["patch"]["supported"], config["bulk"]["supported"]) == (True, False)
    types = (await scim.get(f"{ROOT}/ResourceTypes")).json()["Resources"]
    assert [one["endpoint"] for one in types] == ["/Users", "/Groups"]
    assert {one["id"] for one in (await scim.get(f"{ROOT}/Schemas")).json()["Resources"]} == {USER, GROUP}
    assert (await scim.get(f"{ROOT}/Bulk")).status_code == 404
    assert (await scim.request("PATCH", f"{ROOT}/Users", json={})).status_code == 405
    assert (await scim.get(f"{ROOT}/Users/nonsense")).status_code == 404
