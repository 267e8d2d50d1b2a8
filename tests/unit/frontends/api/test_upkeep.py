from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from skep.base.clock import SystemClock
from skep.base.errors import InUse
from skep.base.ids import parse_id
from skep.db import prepared, schema
from skep.frontends.api.jobs import KEPT_MAX, Job, Jobs
from skep.testing.hive import TestHive, open_test_hive
from skep.testing.stores import memory_store

ADMIN = "/api/admin"


async def finished(hive: TestHive, admin: httpx.AsyncClient, kind: str, **options: object) -> dict[str, object]:
    started = await admin.post(f"{ADMIN}/jobs", json={"kind": kind, "options": options})
    assert started.status_code == 202
    task = hive.hive.jobs.get(parse_id(started.json()["id"])).task
    assert task is not None
    await task
    job: dict[str, object] = (await admin.get(f"{ADMIN}/jobs/{started.json()['id']}")).json()
    return job


async def test_all_of_it_is_for_administrators(ada: httpx.AsyncClient) -> None:
    for method, url in (("GET", "stores"), ("POST", "stores"), ("GET", "workers"), ("GET", "status"), ("POST", "jobs"),
                        ("PUT", "scheme"), ("DELETE", "stores/s0"), ("POST", "workers/gc/pause")):  # fmt: skip
        answer = await ada.request(method, f"{ADMIN}/{url}", json={})
        assert (answer.status_code, url) == (403, url)


async def test_stores_are_listed_changed_and_kept_while_needed(admin: httpx.AsyncClient) -> None:
    await admin.put("/api/filesystem/data", params={"path": "/f"}, content=b"x")
    (store,) = (await admin.get(f"{ADMIN}/stores")).json()["stores"]
    assert (store["name"], store["state"], store["healthy"]) == ("s0", "active", True)
    assert (await admin.delete(f"{ADMIN}/stores/s0")).json()["code"] == "in-use"
    assert (await admin.patch(f"{ADMIN}/stores/{store['id']}", json={"state": "readonly"})).json()[
        "state"
    ] == "readonly"
    assert (await admin.patch(f"{ADMIN}/stores/s0", json={"state": "upside down"})).status_code == 400
    full = await admin.put("/api/filesystem/data", params={"path": "/g"}, content=b"y")
    assert full.status_code in (503, 507)
    assert (await admin.get(f"{ADMIN}/stores/nope")).status_code == 404


async def test_a_store_is_added_and_the_scheme_set(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, drivers={"s0": memory_store(), "s1": memory_store()}) as hive:
        admin = await hive.client("root", is_admin=True)
        again = await admin.post(f"{ADMIN}/stores", json={"name": "s1", "url": "memory:s1"})
        assert again.json()["code"] == "already-exists"
        scheme = (await admin.put(f"{ADMIN}/scheme", json={"scheme": "raid1(2)"})).json()
        counts = {"data_shards": 1, "parity_shards": 1, "write_quorum": 2}
        thresholds = {"needed": 1, "repair_at": 2, "wanted": 2, "total": 2, "others": [], "findings": []}
        assert scheme == {"scheme": "raid1(2)", **counts, **thresholds, "warning": None}
        assert (await admin.get(f"{ADMIN}/scheme")).json() == scheme
        assert (await admin.put(f"{ADMIN}/scheme", json={"scheme": "raid1(0)"})).json()["code"] == "invalid-scheme"
        crowded = (await admin.put(f"{ADMIN}/scheme", json={"scheme": "ec(2,1)"})).json()
        assert "wants 3 zones and 2 take writes" in crowded["warning"]
        await admin.put(f"{ADMIN}/scheme", json={"scheme": "raid1(2)"})
        node = (await admin.put("/api/filesystem/data", params={"path": "/f"}, content=b"x")).json()["node"]
        info = (await admin.get(f"/api/filesystem/info/{node['id']}")).json()
        assert info["chunks"] == {"s0": 1, "s1": 1}


async def test_thresholds_of_a_scheme_are_chosen_shown_and_put_back(admin: httpx.AsyncClient) -> None:
    async def choose(**body: object) -> dict[str, object]:
        answer = await admin.put(f"{ADMIN}/scheme", json=body)
        return dict(answer.json(), status=answer.status_code)

    before = (await admin.get(f"{ADMIN}/scheme")).json()
    aside = await choose(scheme="ec(4,4)", repair_at=5, wanted=7, thresholds_only=True)
    assert aside["scheme"] == before["scheme"]
    assert aside["others"] == [{"scheme": "ec(4,4)", "needed": 4, "repair_at": 5, "wanted": 7, "total": 8}]
    taken = await choose(scheme="ec(4,4)", wanted=8)
    assert (taken["repair_at"], taken["wanted"], taken["write_quorum"], taken["others"]) == (5, 8, 8, [])
    usual = await choose(scheme="ec(4,4)", repair_at=None, wanted=None)
    assert (usual["repair_at"], usual["wanted"]) == (6, 6)
    for wrong in ({"repair_at": 4}, {"repair_at": 7, "wanted": 6}, {"wanted": 9}, {"repair_at": -1}):
        refused = await choose(scheme="ec(4,4)", **wrong)
        assert (refused["code"], refused["status"]) == ("invalid-scheme", 400)
    assert (await choose(scheme="raid0(3)", wanted=2))["code"] == "invalid-scheme"
    assert (await choose(scheme="ec(4,4)", wanted="six"))["status"] == 400


async def test_workers_are_seen_and_steered(admin: httpx.AsyncClient) -> None:
    names = {worker["name"] for worker in (await admin.get(f"{ADMIN}/workers")).json()["workers"]}
    assert {"scrub", "repair", "gc", "snapshot", "retention", "stores"} <= names
    assert (await admin.post(f"{ADMIN}/workers/gc/pause")).status_code == 200
    assert (await admin.post(f"{ADMIN}/workers/gc/resume")).status_code == 200
    assert (await admin.post(f"{ADMIN}/workers/gc/trigger")).json()["name"] == "gc"
    assert (await admin.post(f"{ADMIN}/workers/nobody/pause")).status_code == 404


@pytest.mark.parametrize("kind", ["scrub", "repair", "gc", "fsck", "snapshot"])
async def test_jobs_run_to_their_end(hive: TestHive, admin: httpx.AsyncClient, kind: str) -> None:
    await admin.put("/api/filesystem/data", params={"path": "/f"}, content=b"x" * 5000)
    await admin.put("/api/chunk", content=b"y" * 5000)
    options = {"fsck": {"read_data": True}, "gc": {"repack": True, "sweep": True, "grace_s": 0}}.get(kind, {})
    job = await finished(hive, admin, kind, **options)
    assert (job["state"], job["message"]) == ("done", job["message"])
    if kind == "fsck":
        assert isinstance(job["result"], dict)
        checked = job["result"].pop("checked")
        assert job["result"] == {"clean": True, "findings": [], "corrected": 0}
        assert checked.pop("read_bytes") > 0
        assert checked == {"manifests": 2, "chunks": 2, "packs": 2, "shards": 2}
    assert (await admin.get("/api/filesystem/data", params={"path": "/f"})).content == b"x" * 5000


async def test_jobs_that_cannot_start(admin: httpx.AsyncClient) -> None:
    assert (await admin.post(f"{ADMIN}/jobs", json={"kind": "polish"})).status_code == 400
    assert (await admin.get(f"{ADMIN}/jobs/{'0' * 32}")).status_code == 404
    first = (await admin.post(f"{ADMIN}/jobs", json={"kind": "scrub"})).json()
    second = await admin.post(f"{ADMIN}/jobs", json={"kind": "scrub"})
    assert (second.status_code, second.json()["details"]["job_id"]) == (409, first["id"])
    assert [job["id"] for job in (await admin.get(f"{ADMIN}/jobs")).json()["jobs"]] == [first["id"]]


async def test_a_job_ended_before_its_first_step_has_ended_and_another_may_begin() -> None:
    jobs = Jobs(SystemClock())
    jobs.register("rest", _rest)
    first = jobs.start("rest", {})
    jobs.cancel(first.id)
    assert first.task is not None
    await asyncio.wait([first.task])
    await asyncio.sleep(0)
    assert (first.state, first.ended_us is not None) == ("cancelled", True)
    assert jobs.start("rest", {}).state == "running"
    await jobs.close()


async def test_a_running_job_is_not_forgotten_for_many_short_ones() -> None:
    jobs = Jobs(SystemClock())
    jobs.register("rest", _rest)
    jobs.register("nothing", _nothing)
    long = jobs.start("rest", {})
    for _ in range(KEPT_MAX + 5):
        task = jobs.start("nothing", {}).task
        assert task is not None
        await task
    assert jobs.get(long.id) is long
    assert len(jobs.all()) == KEPT_MAX
    with pytest.raises(InUse):
        jobs.start("rest", {})
    await jobs.close()


async def _rest(job: Job) -> None:
    await asyncio.Event().wait()


async def _nothing(job: Job) -> None:
    return None


async def test_fsck_corrects_sums_when_it_is_told_to(hive: TestHive, admin: httpx.AsyncClient) -> None:
    await admin.put("/api/filesystem/data", params={"path": "/f"}, content=b"x" * 5000)
    await hive.hive.db.write(lambda tx: tx.run(prepared(sa.update(schema.spaces).values(used_bytes=7))))
    seen = []
    for repair in (False, True, False):
        result = (await finished(hive, admin, "fsck", repair=repair))["result"]
        assert isinstance(result, dict)
        seen.append((result["clean"], result["corrected"]))
    assert seen == [(False, 0), (True, 1), (True, 0)]


async def test_a_grace_beyond_all_time_is_refused(hive: TestHive, admin: httpx.AsyncClient) -> None:
    job = await finished(hive, admin, "gc", grace_s=1e300)
    assert (job["state"], "number of seconds" in str(job["message"])) == ("failed", True)


async def test_fsck_finds_a_lost_shard(hive: TestHive, admin: httpx.AsyncClient) -> None:
    await admin.put("/api/filesystem/data", params={"path": "/f"}, content=b"x" * 5000)
    store = hive.drivers["s0"]
    for key in [info.key async for info in store.list("shards/")]:
        await store.delete(key)
    first = (await finished(hive, admin, "fsck"))["result"]
    job = await finished(hive, admin, "fsck")
    assert isinstance(first, dict)
    result = job["result"]
    assert isinstance(result, dict)
    assert result["clean"] is False
    assert len(result["findings"]) == len(first["findings"]), "a second check must not repeat what the first one found"
    assert {finding["kind"] for finding in result["findings"]} & {"lost", "damaged"}
    broken = await admin.get("/api/filesystem/data", params={"path": "/f"})
    assert broken.status_code in (500, 503)
    assert broken.headers["content-type"] == "application/problem+json"


async def test_the_status_counts(admin: httpx.AsyncClient) -> None:
    await admin.put("/api/filesystem/data", params={"path": "/f"}, content=b"x" * 5000)
    status = (await admin.get(f"{ADMIN}/status")).json()
    assert status["facts"]["users"] == 1
    assert status["facts"]["versions_bytes"] == 5000
    assert [store["name"] for store in status["stores"]] == ["s0"]


async def test_fsck_names_the_files_that_need_what_is_lost(tmp_path: Path) -> None:
    store = memory_store()
    async with open_test_hive(tmp_path, drivers={"s0": store}) as hive:
        admin = await hive.client("root", is_admin=True)
        for path, body in {"/d/a": b"a" * 5000, "/b": b"b" * 5000, "/c": b"c" * 5000}.items():
            await admin.put("/api/filesystem/data", params={"path": path}, content=body)
        await admin.put("/api/chunk", content=b"a" * 5000)
        await admin.delete("/api/filesystem/info", params={"path": "/b"})
        assert (await finished(hive, admin, "fsck"))["result"]["clean"] is True
        for info in [each async for each in store.list("shards/")]:
            await store.delete(info.key)
        findings = (await finished(hive, admin, "fsck"))["result"]["findings"]
        needy = [each["subject"] for each in findings if each["message"] == "needs content that is lost"]
        files = sorted(each.partition(":")[2] for each in needy if not each.startswith("object"))
        assert files == ["/b (version 1, in the trash)", "/c (version 1)", "/d/a (version 1)"]
        assert len([each for each in needy if each.startswith("object ")]) == 1
        for path, body in {"/again/a": b"a" * 5000, "/again/b": b"b" * 5000, "/again/c": b"c" * 5000}.items():
            await finished(hive, admin, "repair")
            await admin.put("/api/filesystem/data", params={"path": path}, content=body)
        assert (await finished(hive, admin, "fsck", read_data=True))["result"]["clean"] is True
        assert (await admin.get("/api/filesystem/data", params={"path": "/d/a"})).content == b"a" * 5000


async def test_a_store_that_forgets_is_refused(tmp_path: Path) -> None:
    async with open_test_hive(tmp_path, drivers={"s0": memory_store(), "s1": memory_store()}) as hive:
        admin = await hive.client("root", is_admin=True)
        member = hive.hive.stores.by_name("s1")
        await hive.hive.stores.remove(member)
        refused = await admin.post(f"{ADMIN}/stores", json={"name": "s1", "url": "memory:s1"})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid-store-url")
        assert [one["name"] for one in (await admin.get(f"{ADMIN}/stores")).json()["stores"]] == ["s0"]


async def test_the_signing_key_is_rotated_by_hand(hive: TestHive, admin: httpx.AsyncClient) -> None:
    jwks = "/api/auth/jwks"
    before = {key["kid"] for key in (await admin.get(jwks)).json()["keys"]}
    made = await admin.post(f"{ADMIN}/signing-keys")
    assert made.status_code == 201
    after = [key["kid"] for key in (await admin.get(jwks)).json()["keys"]]
    assert made.json()["key_id"] not in before
    assert set(after) == before | {made.json()["key_id"]}
    assert (await admin.get("/api/auth/me")).status_code == 200  # a token of the old key is still good
    ada = await hive.client("carol")
    assert (await ada.get("/api/auth/me")).status_code == 200
    assert (await ada.post(f"{ADMIN}/signing-keys")).status_code == 403


async def test_a_quick_fsck_reads_what_files_are_now(hive: TestHive, admin: httpx.AsyncClient) -> None:
    for body in (b"one" * 1000, b"two" * 1000):
        await admin.put("/api/filesystem/data", params={"path": "/f"}, content=body)
    await admin.put("/api/chunk", content=b"an object")
    counts = {}
    for name, options in (("now", {"quick": True}), ("all", {"quick": True, "versions": True})):
        job = await finished(hive, admin, "fsck", **options)
        assert (job["state"], job["result"]["clean"]) == ("done", True)
        counts[name] = job["result"]["checked"]["manifests"]
    assert counts == {"now": 2, "all": 3}
    store = hive.drivers["s0"]
    for info in [each async for each in store.list("shards/")]:
        await store.delete(info.key)
    job = await finished(hive, admin, "fsck", quick=True)
    findings = job["result"]["findings"]
    assert not job["result"]["clean"]
    assert any("/f" in finding["subject"] for finding in findings)
