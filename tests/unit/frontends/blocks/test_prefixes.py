"""Prefixes: made, listed, never anybody else's."""

from __future__ import annotations

import uuid

import httpx

from skep.testing.blocks import AT, Owner, owner_of
from skep.testing.hive import TestHive


async def test_prefixes_are_made_and_listed(hive: TestHive) -> None:
    ada = await hive.client("ada")
    assert (await ada.get(f"{AT}/prefix/")).json() == {"prefixes": []}
    made = [await ada.post(f"{AT}/prefix/") for _ in range(3)]
    assert {answer.status_code for answer in made} == {201}
    names = [answer.json()["prefix"] for answer in made]
    assert {uuid.UUID(name).version for name in names} == {4}
    listed = await ada.get(f"{AT}/prefix/")
    assert listed.headers["content-type"] == "application/json"
    assert sorted(listed.json()["prefixes"]) == sorted(names)


async def test_prefixes_are_ones_own(hive: TestHive, ada: Owner) -> None:
    bob = await owner_of(hive, "bob")
    assert (await bob.client.get(f"{AT}/prefix/")).json() == {"prefixes": [bob.prefix]}


async def test_a_prefix_needs_a_login(anyone: httpx.AsyncClient) -> None:
    for path in ("prefix", "quota"):
        none = await anyone.get(f"{AT}/{path}/")
        assert (none.status_code, "403: No authorization given" in none.text) == (403, True)
        wrong = await anyone.get(f"{AT}/{path}/", headers={"authorization": "Token wrong"})
        assert (wrong.status_code, "403: User not found" in wrong.text) == (403, True)


async def test_the_slash_at_the_end_is_needed(ada: Owner) -> None:
    assert (await ada.client.get(f"{AT}/prefix")).status_code == 404


async def test_prefixes_cannot_be_deleted(ada: Owner) -> None:
    assert (await ada.client.delete(f"{AT}/prefix/")).status_code == 405


async def test_objects_are_files_of_the_space(ada: Owner) -> None:
    await ada.client.post(ada.at("blocks/one"), content=b"sealed")
    found = await ada.client.get("/api/filesystem/data", params={"path": f"/prefixes/{ada.prefix}/blocks/one"})
    assert found.content == b"sealed"


async def test_a_deleted_object_leaves_no_trash_and_no_empty_directory(ada: Owner) -> None:
    await ada.client.post(ada.at("blocks/one"), content=b"sealed")
    await ada.client.delete(ada.at("blocks/one"))
    assert (await ada.client.get("/api/filesystem/info", params={"path": f"/prefixes/{ada.prefix}"})).status_code == 404
    assert (await ada.client.get(f"{AT}/quota/")).json()["size"] == 0
    assert (await ada.client.post(ada.at("blocks/one"), content=b"again")).status_code == 204
