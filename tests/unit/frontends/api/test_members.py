"""Chunks on members: stored under the client's ids on agents or clouds, read from any, verified, counted, collected."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from skep.base.ids import Id, id_text, new_id
from skep.db import prepared
from skep.db import schema as s
from skep.stores.wrappers.fault import Fault, FaultStore, Kind
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.stores import faulty_store, memory_store

BODY = random.Random(7).randbytes(700_000)


@dataclass
class World:
    hive: TestHive
    ada: httpx.AsyncClient
    bob: httpx.AsyncClient
    faults: dict[str, FaultStore] = field(default_factory=dict)

    async def rows(self, statement: sa.Executable) -> list[tuple[Any, ...]]:
        return await self.hive.hive.db.read(lambda tx: tx.rows(prepared(statement)))

    async def on_members(self) -> dict[str, int]:
        """How many shards each store has."""
        query = sa.select(s.stores.c.name, sa.func.count()).join_from(
            s.shards, s.stores, s.stores.c.id == s.shards.c.store_id
        )
        return dict(await self.rows(query.group_by(s.stores.c.name)))  # type: ignore[arg-type]


@asynccontextmanager
async def world(tmp_path: Path, agents: int = 3, clouds: int = 2, **settings: Any) -> AsyncIterator[World]:
    """Ada has agents and clouds of her own, Bob nothing, the hive a disk."""
    urls = {f"desk{n}": f"array://{id_text(new_id())}" for n in range(agents)}
    urls |= {f"cloud{n}": f"s3://bucket{n}?endpoint=https://s3.example" for n in range(clouds)}
    faults = {name: faulty_store(inner=memory_store()) for name in urls}
    drivers = {"s0": memory_store(), **{urls[name]: fault for name, fault in faults.items()}}
    async with open_test_hive(tmp_path, drivers=drivers, **settings) as hive:
        ada_id: Id = await hive.user("ada")
        for name, url in urls.items():
            await hive.hive.stores.add(name, url, name, owner_id=ada_id)
        yield World(hive, await hive.login("ada"), await hive.client("bob"), faults)


@pytest.mark.parametrize(("service", "prefix"), [("array", "desk"), ("cloud", "cloud")])
async def test_stored_on_members_of_its_kind_read_and_forgotten(tmp_path: Path, service: str, prefix: str) -> None:
    async with world(tmp_path) as here:
        url = f"/api/{service}/my-chunk.01"
        made = await here.ada.post(url, params={"replicas": 2}, content=BODY)
        assert (made.status_code, made.headers["location"]) == (201, url), made.text
        assert made.json() | {"created_us": 0} == {
            "chunk_id": "my-chunk.01", "size_bytes": len(BODY), "replicas": 2, "created_us": 0,
            "members": made.json()["members"], "missing": [],
        }  # fmt: skip
        assert len(made.json()["members"]) == 2
        assert set(await here.on_members()) == set(made.json()["members"])
        assert all(name.startswith(prefix) for name in made.json()["members"])
        assert (await here.ada.get(url)).content == BODY
        part = await here.ada.get(url, headers={"range": "bytes=300000-300009"})
        assert (part.status_code, part.content) == (206, BODY[300_000:300_010])
        assert (await here.ada.get(f"{url}/info")).json() == made.json()
        assert (await here.ada.get(f"/api/{service}")).json() == {
            "chunks": [{key: made.json()[key] for key in ("chunk_id", "size_bytes", "replicas", "created_us")}],
            "more": False,
        }
        assert (await here.ada.delete(url)).status_code == 204
        gone = await here.ada.get(url)
        assert (gone.status_code, gone.json()["code"]) == (404, "chunk-not-found")
        assert (await here.ada.delete(url)).status_code == 404
        await here.hive.hive.keepers.collector.run(grace_s=0.0)
        assert await here.on_members() == {}


async def test_sent_again_it_is_the_same_and_may_get_more_replicas(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        url = "/api/array/a"
        first = await here.ada.post(url, content=BODY)
        used = await here.rows(sa.select(s.spaces.c.used_bytes).where(s.spaces.c.kind == "personal"))
        again = await here.ada.post(url, content=BODY)
        assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
        assert await here.rows(sa.select(s.spaces.c.used_bytes).where(s.spaces.c.kind == "personal")) == used
        more = await here.ada.post(url, params={"replicas": 3}, content=BODY)
        assert (more.status_code, more.json()["replicas"], len(more.json()["members"])) == (200, 3, 3)
        fewer = await here.ada.post(url, params={"replicas": 1}, content=BODY)
        assert (fewer.status_code, fewer.json()["replicas"]) == (200, 3)  # what is there is enough
        other = await here.ada.post(url, content=b"something else")
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        assert (await here.ada.get(url)).content == BODY
        await here.hive.hive.keepers.collector.run(grace_s=0.0)
        assert await here.on_members() == {"desk0": 1, "desk1": 1, "desk2": 1}


async def test_what_files_and_others_have_is_another_matter(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.ada.put("/api/filesystem/data", params={"path": "/same"}, content=BODY)
        await here.ada.post("/api/array/same", content=BODY)
        await here.ada.post("/api/cloud/same", content=BODY)
        assert (await here.bob.get("/api/array/same")).status_code == 404
        assert (await here.bob.delete("/api/cloud/same")).status_code == 404
        assert (await here.bob.get("/api/array")).json()["chunks"] == []
        await here.ada.delete("/api/array/same")
        await here.hive.hive.keepers.collector.run(grace_s=0.0)
        assert (await here.ada.get("/api/cloud/same")).content == BODY
        assert (await here.ada.get("/api/filesystem/data", params={"path": "/same"})).content == BODY


@pytest.mark.parametrize("liars", [1, 2])
async def test_any_holder_will_do_and_none_can_lie(tmp_path: Path, liars: int) -> None:
    async with world(tmp_path) as here:
        made = (await here.ada.post("/api/array/a", params={"replicas": 2}, content=BODY)).json()
        for name in made["members"][:liars]:
            behind = here.faults[name].inner
            for key in [info.key async for info in behind.list("shards/")]:
                raw = bytearray(await behind.get(key))
                raw[len(raw) // 2] ^= 1
                await behind.put(key, [raw])
        got = b""
        try:
            answer = await here.ada.get("/api/array/a")
            got = answer.content if answer.status_code == 200 else b""
        except httpx.HTTPError:
            pass  # it broke off before the first wrong byte
        assert got == BODY if liars == 1 else got != BODY and BODY.startswith(got)


async def test_too_few_members_is_said(tmp_path: Path) -> None:
    async with world(tmp_path, agents=2, clouds=0) as here:
        for client, service, replicas in ((here.ada, "array", 3), (here.ada, "cloud", 1), (here.bob, "array", 1)):
            answer = await client.post(f"/api/{service}/a", params={"replicas": replicas}, content=b"x")
            assert (answer.status_code, answer.json()["code"]) == (409, "too-few-members"), answer.text
            assert "skep store add --mine" in answer.json()["detail"]


async def test_members_that_fail_are_passed_by_while_there_are_enough(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        here.faults["desk0"].script(Fault("put", Kind.GONE, times=None))
        made = await here.ada.post("/api/array/a", params={"replicas": 2}, content=BODY)
        assert (made.status_code, made.json()["members"]) == (201, ["desk1", "desk2"]), made.text
        here.faults["desk1"].script(Fault("put", Kind.GONE, times=None))
        few = await here.ada.post("/api/array/b", params={"replicas": 3}, content=b"other")
        assert (few.status_code, few.json()["code"]) == (503, "quorum-not-reached")
        assert (await here.ada.get("/api/array/b")).status_code == 404


async def test_limits_quotas_names_and_scopes(tmp_path: Path) -> None:
    async with world(tmp_path, filesystem__quota_bytes=1_000_000) as here:
        assert (await here.ada.post("/api/array/a", content=BODY)).status_code == 201
        assert (await here.ada.post("/api/array/b", content=BODY[::-1])).json()["code"] == "quota-exceeded"
        assert (await here.ada.post("/api/array/b", content=b"x" * (65 << 20))).status_code == 413
        for name in ("x" * 65, "a b", "%C3%A9", "a%2Fb", "..."[:2]):
            answer = await here.ada.post(f"/api/array/{name}", content=b"x")
            assert answer.status_code in (400, 404, 405), (name, answer.text)
        for count in ("0", "17", "-1", "two"):
            assert (await here.ada.post("/api/array/c", params={"replicas": count}, content=b"x")).status_code == 400
        made = await here.ada.post("/api/auth/app-passwords", json={"name": "reader", "scopes": ["chunks:read"]})
        secret = made.json().get("password") or made.json().get("secret")
        reader = httpx.BasicAuth("ada", secret)
        stranger = here.hive.anonymous
        assert (await stranger.get("/api/array/a", auth=reader)).status_code == 200
        assert (await stranger.post("/api/array/d", content=b"x", auth=reader)).status_code == 403
        assert (await stranger.get("/api/array/a")).status_code == 401


async def test_pages_of_ids(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        for name in ("c", "a", "b"):
            await here.ada.post(f"/api/cloud/{name}", content=name.encode())
        first = (await here.ada.get("/api/cloud", params={"limit": 2})).json()
        assert ([each["chunk_id"] for each in first["chunks"]], first["more"]) == (["a", "b"], True)
        rest = (await here.ada.get("/api/cloud", params={"limit": 2, "after": "b"})).json()
        assert ([each["chunk_id"] for each in rest["chunks"]], rest["more"]) == (["c"], False)


async def test_the_front_over_both(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        form = {"encryption": (None, "aes256-md5"), "durability": (None, "raid1(3)"), "over": (None, "array")}
        made = await here.ada.post("/api/chunk/", files={**form, "data": ("c", BODY)})
        assert (made.status_code, made.json()["replicas"]) == (201, ["desk0", "desk1", "desk2"]), made.text
        chunk_id = made.json()["chunk_id"]
        assert (await here.ada.get(f"/api/array/{chunk_id}")).content == BODY
        assert (await here.ada.get(f"/api/chunk/{chunk_id}")).content == BODY
        both = await here.ada.put("/api/chunk", params={"over": "both", "replicas": 5}, content=BODY)
        assert both.json()["replicas"] == ["cloud0", "cloud1", "desk0", "desk1", "desk2"]
        plain = await here.ada.put("/api/chunk", content=BODY, params={"over": "stores"})
        assert plain.status_code == 201
        assert (await here.ada.delete(f"/api/chunk/{chunk_id}")).status_code == 204
        assert (await here.ada.get(f"/api/array/{chunk_id}")).status_code == 404  # its association went too
        for wrong in ({"over": "moon"}, {"over": "cloud", "durability": "ec(2,1)"}, {"over": "stores", "replicas": "2"},
                      {"over": "cloud", "durability": "raid1(2)", "replicas": "3"}):  # fmt: skip
            assert (await here.ada.put("/api/chunk", params=wrong, content=b"x")).status_code == 400


async def test_the_hive_says_where_the_front_keeps_things(tmp_path: Path) -> None:
    async with world(tmp_path, ownership__chunks_over="cloud") as here:
        made = await here.ada.put("/api/chunk", content=BODY, params={"durability": "raid1(2)"})
        assert made.json()["replicas"] == ["cloud0", "cloud1"]
        assert (await here.bob.put("/api/chunk", content=BODY)).json()["code"] == "too-few-members"


async def test_a_lost_member_is_made_good_from_the_others(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        made = (await here.ada.post("/api/array/a", params={"replicas": 2}, content=BODY)).json()
        lost = made["members"][0]
        await here.ada.patch(f"/api/stores/{lost}", json={"state": "lost"})
        assert await here.hive.hive.keepers.repairer.run() == 1
        now = (await here.ada.get("/api/array/a/info")).json()["members"]
        assert lost not in now
        assert len(now) == 2
        assert all(name.startswith("desk") for name in now)
        assert (await here.ada.get("/api/array/a")).content == BODY


async def test_fsck_finds_nothing_and_deleting_the_user_leaves_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.ada.post("/api/array/a", params={"replicas": 2}, content=BODY)
        await here.ada.post("/api/cloud/a", content=BODY)
        report = await here.hive.hive.keepers.checker.run(read_data=True)
        assert report.clean, report.findings
        root = await here.hive.client("root", is_admin=True)
        assert (await root.delete("/api/auth/users/ada")).status_code == 204
        assert await here.rows(sa.select(s.held_chunks.c.chunk_id)) == []
        await here.hive.hive.keepers.collector.run(grace_s=0.0)
        assert await here.on_members() == {}
