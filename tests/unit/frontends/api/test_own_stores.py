"""Stores with owners over the API: who may do what to whose, what users may name, what becomes of it all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from skep.base.workers import Progress
from skep.db import prepared
from skep.db import schema as s
from skep.testing.hive import TestHive, open_test_hive


@dataclass
class World:
    hive: TestHive
    clients: dict[str, httpx.AsyncClient]
    place: Path

    async def add(self, who: str, name: str, at: str = "", **more: Any) -> httpx.Response:
        directory = self.place / (at or name)
        directory.mkdir(exist_ok=True)
        return await self.clients[who].post("/api/stores", json={"name": name, "url": f"fs://{directory}", **more})

    async def owners(self) -> dict[str, str | None]:
        found = (await self.clients["root"].get("/api/stores")).json()["stores"]
        return {each["name"]: each["owner"] for each in found}

    async def stores_of_packs(self) -> set[str]:
        """Where the shards of packs that live are."""
        query = sa.select(s.stores.c.name).join_from(s.shards, s.stores, s.stores.c.id == s.shards.c.store_id)
        return {row[0] for row in await self.hive.hive.db.read(lambda tx: tx.rows(prepared(query.distinct())))}


@asynccontextmanager
async def world(tmp_path: Path, **settings: Any) -> AsyncIterator[World]:
    place = tmp_path / "disks"
    place.mkdir()
    allowed = {"ownership__drivers": ("fs", "s3", "webdav+https", "dropbox"), "ownership__directories": (str(place),)}
    async with open_test_hive(tmp_path, **{**allowed, **settings}) as hive:
        clients = {name: await hive.client(name, is_admin=name == "root") for name in ("root", "ada", "bob")}
        clients["nobody"] = hive.anonymous
        yield World(hive, clients, place)


ROLES = ("nobody", "bob", "ada", "root")
EXPECTED: list[tuple[str, str, dict[str, int]]] = [
    # what:                      the administrator, the owner, another user, nobody
    ("list", "ada1", {"root": 200, "ada": 200, "bob": 200, "nobody": 401}),
    ("show", "ada1", {"root": 200, "ada": 200, "bob": 404, "nobody": 401}),
    ("show", "s0", {"root": 200, "ada": 404, "bob": 404, "nobody": 401}),
    ("price", "ada1", {"root": 200, "ada": 200, "bob": 404, "nobody": 401}),
    ("price", "s0", {"root": 200, "ada": 404, "bob": 404, "nobody": 401}),
    ("drain", "ada1", {"root": 200, "ada": 200, "bob": 404, "nobody": 401}),
    ("drain", "s0", {"root": 200, "ada": 404, "bob": 404, "nobody": 401}),
    ("check", "ada1", {"ada": 200, "bob": 404, "nobody": 401}),
    ("check", "s0", {"ada": 404, "bob": 404, "nobody": 401}),
    ("remove", "ada1", {"root": 204, "ada": 204, "bob": 404, "nobody": 401}),
    ("remove", "s0", {"root": 409, "ada": 404, "bob": 404, "nobody": 401}),
    ("costs", "", {"root": 200, "ada": 200, "bob": 200, "nobody": 401}),
    ("lint", "", {"root": 200, "ada": 200, "bob": 200, "nobody": 401}),
    ("say of ada", "", {"root": 200, "ada": 403, "bob": 403, "nobody": 401}),
    ("say of all", "", {"root": 200, "ada": 403, "bob": 403, "nobody": 401}),
    ("choose", "", {"root": 200, "ada": 200, "bob": 200, "nobody": 401}),
    ("add for ada", "", {"root": 201, "ada": 403, "bob": 403, "nobody": 401}),
    ("add by force", "", {"root": 201, "ada": 403, "bob": 403, "nobody": 401}),
]


async def test_who_may_do_what(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.clients["root"].put("/api/filesystem/data", params={"path": "/f"}, content=b"x")
        for number, (verb, whose, expected) in enumerate(EXPECTED):
            for role in (each for each in ROLES if each in expected):
                if "ada1" not in await here.owners():
                    made = await here.add("ada", "ada1", at=f"ada1-{number}-{role}")
                    assert made.status_code == 201, made.text
                answer = await tried(here, role, verb, f"/api/stores/{whose}")
                assert (verb, whose, role, answer.status_code) == (verb, whose, role, expected[role]), answer.text


async def tried(here: World, role: str, verb: str, store: str) -> httpx.Response:
    client = here.clients[role]
    match verb:
        case "list":
            answer = await client.get("/api/stores")
            if answer.status_code == 200:
                names = {each["name"] for each in answer.json()["stores"]}
                assert names == {"root": {"s0", "ada1"}, "ada": {"ada1"}, "bob": set()}[role]
            return answer
        case "show":
            return await client.get(store)
        case "price":
            return await client.patch(store, json={"terms": {"price_stored": "0.01"}})
        case "drain":
            answer = await client.patch(store, json={"state": "draining"})
            await client.patch(store, json={"state": "active"})
            return answer
        case "check":
            return await client.post(f"{store}/check")
        case "remove":
            return await client.delete(store)
        case "costs" | "lint":
            return await client.get(f"/api/stores/{verb}")
        case "say of ada":
            return await client.put("/api/auth/users/ada/placement", json={"placement": "own"})
        case "say of all":
            return await client.put("/api/admin/placement", json={"forbidden": ["US"]})
        case "choose":
            return await client.put("/api/auth/me/placement", json={"placement": "mixed" if role != "ada" else None})
        case "add for ada":
            return await here.add(role, f"x-{role}", owner="ada")
        case _:
            return await here.add(role, f"y-{role}", force=True)


async def test_whose_a_new_store_is(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.add("ada", "a")
        await here.add("root", "b")
        await here.add("root", "c", mine=True)
        await here.add("root", "d", owner="bob")
        assert await here.owners() == {"s0": None, "a": "ada", "b": None, "c": "root", "d": "bob"}
        mine = (await here.clients["root"].get("/api/stores", params={"mine": "true"})).json()["stores"]
        assert [each["name"] for each in mine] == ["c"]


REFUSED: list[tuple[str, str | None, str, str]] = [
    ("fs:///etc", None, "forbidden", "that directory"),
    ("fs:///PLACE/../../etc", None, "forbidden", "that directory"),
    ("memory:x", None, "forbidden", "does not let users add memory"),
    ("array://0197c9f2-8a3b-7c1d-9e4f-5a6b7c8d9e0f", None, "forbidden", "does not let users add array"),
    ("webdav+http://ada@dav.example/x", "pw", "forbidden", "does not let users add webdav+http"),
    ("s3://bucket/p?endpoint=https://127.0.0.1", "K:s", "forbidden", "public internet"),
    ("s3://bucket/p?endpoint=https://[::1]:9000", "K:s", "forbidden", "public internet"),
    ("s3://bucket/p?endpoint=https://169.254.169.254", "K:s", "forbidden", "public internet"),
    ("s3://bucket/p?endpoint=https://localhost", "K:s", "forbidden", "public internet"),
    ("s3://bucket/p?endpoint=https://2130706433", "K:s", "forbidden", "public internet"),
    ("s3://bucket/p?endpoint=http://s3.example", "K:s", "forbidden", "https:// alone"),
    ("s3://bucket/p", None, "forbidden", "keys of the bucket"),
    ("webdav+https://ada@10.0.0.1/dav", "pw", "forbidden", "public internet"),
    ("webdav+https://ada@localhost:8443/dav", "pw", "forbidden", "public internet"),
    ("dropbox:dbid:AAA", None, "forbidden", "not let the hive use that account"),
    (
        "dropbox:dbid:AAA",
        '{"client_id":"x","refresh_token":"y","base_url":"http://127.0.0.1"}',
        "forbidden",
        "log in",
    ),
    ("nonsense", None, "invalid-store-url", "store URL"),
]


async def test_what_users_may_not_name(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for url, secret, code, says in REFUSED:
            shown = url.replace("/PLACE", str(here.place))
            answer = await here.clients["ada"].post("/api/stores", json={"name": "x", "url": shown, "secret": secret})
            assert (url, answer.json()["code"], says in answer.text) == (url, code, True), answer.text
            assert answer.status_code in (400, 403)
        assert await here.owners() == {"s0": None}


async def test_a_link_out_of_the_directory_leads_nowhere(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        (here.place / "out").symlink_to("/tmp")
        assert (await here.add("ada", "out/x")).json()["code"] == "forbidden"
        assert (await here.add("ada", ".")).json()["code"] in ("forbidden", "invalid-store-url")


async def test_by_default_users_get_no_directories_and_a_number_of_stores(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada = await hive.client("ada")
        refused = await ada.post("/api/stores", json={"name": "x", "url": f"fs://{tmp_path}/x"})
        assert refused.json()["code"] == "forbidden"
    (tmp_path / "second").mkdir()
    async with world(tmp_path / "second", ownership__stores_max=1) as here:
        assert (await here.add("ada", "a")).status_code == 201
        assert (await here.add("ada", "b")).json()["code"] == "limit-reached"
        assert (await here.add("bob", "c")).status_code == 201


async def test_own_content_on_own_stores_and_quotas_that_do_not_count(tmp_path: Path) -> None:
    async with world(tmp_path, filesystem__quota_bytes=1000) as here:
        root, ada = here.clients["root"], here.clients["ada"]
        await root.put("/api/filesystem/data", params={"path": "/f"}, content=b"x" * 900)
        await here.add("ada", "a")
        assert (await ada.get("/api/auth/me/placement")).json()["placement"] == "own-first"
        big = {"params": {"path": "/big"}, "content": b"y" * 5000}
        assert (await ada.put("/api/filesystem/data", **big)).json()[
            "code"
        ] == "quota-exceeded"  # may lie on the hive's
        chosen = (await ada.put("/api/auth/me/placement", json={"placement": "own"})).json()
        assert (chosen["placement"], chosen["own_stores"], chosen["shares_packs"]) == ("own", 1, False)
        assert (await ada.put("/api/filesystem/data", **big)).status_code == 201
        assert await here.stores_of_packs() == {"s0", "a"}
        assert (await ada.get("/api/filesystem/data", params={"path": "/big"})).content == b"y" * 5000
        await ada.put("/api/auth/me/placement", json={"placement": None})
        small = await ada.put("/api/filesystem/data", params={"path": "/small"}, content=b"z")
        assert small.json()["code"] == "quota-exceeded"  # what lies on one's own stores counts again


async def test_the_last_own_store(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        ada = here.clients["ada"]
        await here.add("ada", "a")
        await ada.put("/api/auth/me/placement", json={"placement": "own"})
        await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"y" * 5000)
        await here.hive.hive.stores.probe()
        kept = await ada.patch("/api/stores/a", json={"state": "draining"})
        assert (kept.json()["code"], "last store" in kept.text) == ("conflict", True)
        assert (await ada.delete("/api/stores/a")).json()["code"] == "in-use"
        await here.add("ada", "b")
        assert (await ada.patch("/api/stores/a", json={"state": "draining"})).status_code == 200
        await here.hive.hive.keepers.repairer.run()
        assert (await ada.delete("/api/stores/a")).status_code == 204
        assert (await ada.get("/api/filesystem/data", params={"path": "/f"})).content == b"y" * 5000
        assert await here.stores_of_packs() == {"b"}


async def test_an_administrator_decides_and_users_choose_within(tmp_path: Path) -> None:
    async with world(tmp_path, ownership__placements=("mixed",)) as here:
        root, ada = here.clients["root"], here.clients["ada"]
        assert (await ada.put("/api/auth/me/placement", json={"placement": "own"})).json()["code"] == "forbidden"
        assert (await ada.put("/api/auth/me/placement", json={"placement": "mixed"})).json()["placement"] == "mixed"
        await root.put("/api/auth/users/ada/placement", json={"placement": "hive", "allowed": ["DE"]})
        shown = (await ada.get("/api/auth/me/placement")).json()
        assert (shown["placement"], shown["choices"], shown["allowed"]) == ("hive", [], [["de"]])
        assert (await ada.put("/api/auth/me/placement", json={"placement": "mixed"})).json()["code"] == "forbidden"
        said = (await root.get("/api/auth/users/ada/placement")).json()
        assert said == {"placement": "hive", "allowed": ["DE"], "forbidden": [], "chosen": "mixed"}
        nowhere = await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"y")
        assert (nowhere.status_code, nowhere.json()["code"]) == (503, "quorum-not-reached")
        await root.patch("/api/stores/s0", json={"terms": {"jurisdiction": "de"}})
        assert (await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"y")).status_code == 201


async def test_what_is_said_of_a_group_holds_for_its_members_and_its_space(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        root, ada = here.clients["root"], here.clients["ada"]
        await here.add("ada", "a")
        await root.post("/api/auth/groups", json={"name": "crew"})
        await root.put("/api/auth/groups/crew/placement", json={"placement": "own", "forbidden": ["US"]})
        joined = await root.put("/api/auth/groups/crew/members/ada", json={})
        assert joined.is_success, joined.text
        here.hive.hive.chunks.pools._members_at_s = float("-inf")  # some seconds later
        await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"y")
        assert (await ada.get("/api/auth/me/placement")).json()["forbidden"] == ["us"]
        assert await here.stores_of_packs() == {"a"}
        spaces = (await ada.get("/api/filesystem/spaces")).json()["spaces"]
        crew = next(each["id"] for each in spaces if each["name"] == "crew")
        where = {"path": "/g", "space": crew}
        assert (await ada.put("/api/filesystem/data", params=where, content=b"ours")).status_code == 201
        assert await here.stores_of_packs() == {"a", "s0"}  # a group has no stores of its own


async def test_shared_dedup_leaves_no_choice(tmp_path: Path) -> None:
    async with world(tmp_path, storage__dedup="hive") as here:
        refused = await here.clients["ada"].put("/api/auth/me/placement", json={"placement": "own"})
        assert (refused.status_code, "shares its chunks" in refused.text) == (409, True)


async def test_a_deleted_users_stores_take_nothing_and_go_when_they_are_empty(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        root, ada, hive = here.clients["root"], here.clients["ada"], here.hive.hive
        await here.add("ada", "a")
        file = (await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"y" * 5000)).json()
        assert file
        assert (await root.delete("/api/auth/users/ada")).json()["code"] == "in-use"
        await ada.delete("/api/filesystem/info", params={"path": "/f"})
        emptied = await ada.delete("/api/filesystem/trash")
        assert emptied.is_success, emptied.text
        await hive.keepers.retention.run_once(Progress())
        assert (await root.delete("/api/auth/users/ada")).status_code == 204
        await hive.keepers.stores.run_once(Progress())
        (left,) = [each for each in (await root.get("/api/stores")).json()["stores"] if each["name"] == "a"]
        assert (left["state"], left["owner"], left["owner_id"] is not None) == ("readonly", None, True)
        await hive.keepers.collector.run(grace_s=0.0)
        await hive.keepers.stores.run_once(Progress())
        assert await here.owners() == {"s0": None}


async def test_costs_and_lint_are_ones_own(tmp_path: Path) -> None:
    async with world(tmp_path, storage__user_schemes=("raid1(2)",)) as here:
        root, ada = here.clients["root"], here.clients["ada"]
        await here.add("ada", "a")
        await ada.post("/api/auth/me/options", json={"scheme": "raid1(2)"})
        await ada.put("/api/auth/me/placement", json={"placement": "own"})
        second = (await here.add("ada", "b")).json()
        assert any("a, b lie on one disk" in text for text in second["warnings"]), second
        await ada.put("/api/filesystem/data", params={"path": "/f"}, content=b"y" * 5000)
        lint = (await ada.get("/api/stores/lint")).json()
        (found,) = lint["findings"]
        assert (lint["clean"], found["kind"], found["packs"], found["owner"]) == (False, "disk", 1, "ada")
        assert [each["owner"] for each in (await root.get("/api/stores/lint")).json()["findings"]] == ["ada"]
        assert (await here.clients["bob"].get("/api/stores/lint")).json()["clean"]
        names = [each["name"] for each in (await ada.get("/api/stores/costs")).json()["stores"]]
        assert names == ["a", "b"]
        await root.put("/api/auth/users/ada/placement", json={"placement": "hive"})
        outside = [each for each in (await ada.get("/api/stores/lint")).json()["findings"] if each["kind"] == "outside"]
        assert {name for each in outside for name in each["stores"]} == {"a", "b"}


async def test_a_layout_that_loses_data_is_refused_where_the_hive_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, storage__layout_lint="refuse") as here:
        root = here.clients["root"]
        assert (await here.add("root", "d1")).status_code == 201
        assert (await here.add("root", "d2")).status_code == 201  # without parity there is nothing to lose by it
        await root.patch("/api/stores/s0", json={"state": "draining"})
        refused = await root.put("/api/admin/scheme", json={"scheme": "raid1(2)"})
        assert (refused.status_code, refused.json()["code"]) == (409, "unsafe-layout")
        assert "d1, d2 lie on one disk" in refused.json()["detail"]
        assert (await root.get("/api/admin/scheme")).json()["scheme"] == "none"
        forced = await root.put("/api/admin/scheme", json={"scheme": "raid1(2)", "force": True})
        assert forced.json()["findings"]
        assert (await here.add("root", "d3")).status_code == 201  # the finding is there already
        same_zone = await here.add("root", "d4", zone="d1")
        assert same_zone.status_code == 201
