"""Locks: taking, presenting and losing them, and that every door obeys them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from lxml import etree

from skep.base.workers import Progress
from skep.testing.clock import FakeClock
from skep.testing.hive import TestHive, open_test_hive

D = "{DAV:}"
NOBODYS = "urn:uuid:00000000-0000-7000-8000-000000000000"


async def lock(
    client: httpx.AsyncClient, path: str, scope: str = "exclusive", *, owner: str = "me", **headers: str
) -> httpx.Response:
    body = (
        f'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>'
        f"<D:owner>{owner}</D:owner></D:lockinfo>"
    )
    return await client.request("LOCK", path, content=body.encode(), headers=headers)


async def locked(client: httpx.AsyncClient, path: str, scope: str = "exclusive", **headers: str) -> str:
    """Lock a path; the token."""
    answer = await lock(client, path, scope, **headers)
    assert answer.status_code in (200, 201), answer.text
    return answer.headers["lock-token"].strip("<>")


def presenting(token: str, path: str = "") -> dict[str, str]:
    return {"if": f"{f'<{path}> ' if path else ''}(<{token}>)"}


async def discovered(client: httpx.AsyncClient, path: str) -> list[etree._Element]:
    body = b'<propfind xmlns="DAV:"><prop><lockdiscovery/></prop></propfind>'
    answer = await client.request("PROPFIND", path, content=body, headers={"depth": "0"})
    return list(etree.fromstring(answer.content).iter(f"{D}activelock"))


async def test_only_who_knows_the_token_may_write(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"old")
    token = await locked(ada, "/dav/a", timeout="Second-600")
    refused = await ada.put("/dav/a", content=b"new")
    assert refused.status_code == 423
    (needed,) = etree.fromstring(refused.content).iter(f"{D}lock-token-submitted")
    assert needed.findtext(f"{D}href") == "/dav/a"
    for method in ("DELETE", "PROPPATCH", "MOVE"):
        body = b'<propertyupdate xmlns="DAV:"><set><prop><x xmlns="u:"/></prop></set></propertyupdate>'
        answer = await ada.request(method, "/dav/a", content=body, headers={"destination": "/dav/b"})
        assert answer.status_code == 423, method
    assert (await ada.put("/dav/a", content=b"new", headers=presenting(token))).status_code == 204
    assert (await ada.request("UNLOCK", "/dav/a", headers={"lock-token": f"<{token}>"})).status_code == 204
    assert (await ada.put("/dav/a", content=b"newer")).status_code == 204


async def test_every_door_obeys(ada: httpx.AsyncClient) -> None:
    made = await ada.put("/api/filesystem/data", params={"path": "/a"}, content=b"old")
    node = made.json()["node"]["id"]
    token = await locked(ada, "/dav/a")
    calls = [
        ("PUT", "/api/filesystem/data?path=/a", {"content": b"new"}),
        ("PUT", f"/api/filesystem/data/{node}", {"content": b"new"}),
        ("POST", "/api/filesystem/move", {"json": {"id": node, "to_path": "/b"}}),
        ("POST", f"/api/filesystem/info/{node}", {"json": {"name": "b"}}),
        ("POST", f"/api/filesystem/info/{node}", {"json": {"attributes": {"x": 1}}}),
        ("DELETE", f"/api/filesystem/info/{node}", {}),
    ]
    for method, url, more in calls:
        refused = await ada.request(method, url, **more)
        assert (refused.status_code, refused.json().get("code")) == (423, "locked"), (method, url, refused.text)
    header = {"lock-token": f"<{token}>"}
    assert (await ada.put("/api/filesystem/data?path=/a", content=b"new", headers=header)).status_code == 200
    from skep.client.framing import BATCH_TYPE, encode_batch

    body = encode_batch([("/a", b"1", None), ("/b", b"2", None)])
    batch = await ada.post("/api/filesystem/batch", content=body, headers={"content-type": BATCH_TYPE})
    assert [one["status"] for one in batch.json()["results"]] == [423, 201]
    assert (await ada.delete(f"/api/filesystem/info/{node}", headers=header)).status_code == 204
    assert (await ada.put("/dav/a", content=b"again")).status_code == 201


async def test_a_token_is_of_no_use_to_others(hive: TestHive, ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    admin = await hive.client("root", is_admin=True)
    await admin.post("/api/auth/groups", json={"name": "club"})
    for name in ("ada", "bob"):
        await admin.put(f"/api/auth/groups/club/members/{name}", json={})
    token = await locked(ada, "/dav-spaces/club/a")
    (seen,) = await discovered(bob, "/dav-spaces/club/a")
    assert seen.findtext(f"{D}locktoken/{D}href") == token
    assert seen.findtext(f"{D}lockroot/{D}href") == "/dav-spaces/club/a"
    url = "/dav-spaces/club/a"
    assert (await bob.put(url, content=b"x", headers=presenting(token))).status_code == 423
    assert (await bob.request("UNLOCK", url, headers={"lock-token": f"<{token}>"})).status_code == 403
    assert (await bob.request("LOCK", url, headers=presenting(token))).status_code == 412
    assert (await lock(bob, url, "shared")).status_code == 423
    assert (await ada.put(url, content=b"x", headers=presenting(token))).status_code == 204


async def test_shared_locks_are_with_shared_ones(ada: httpx.AsyncClient) -> None:
    one, other = await locked(ada, "/dav/a", "shared"), await locked(ada, "/dav/a", "shared")
    assert one != other
    refused = await lock(ada, "/dav/a")
    assert refused.status_code == 423
    assert "no-conflicting-lock" in refused.text
    assert len(await discovered(ada, "/dav/a")) == 2
    assert (await ada.put("/dav/a", content=b"x")).status_code == 423
    assert (await ada.put("/dav/a", content=b"x", headers=presenting(other))).status_code == 204


async def test_a_deep_lock_covers_what_is_below_and_what_comes(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    await ada.put("/dav/d/a", content=b"")
    token = await locked(ada, "/dav/d/")
    assert (await ada.put("/dav/d/a", content=b"x")).status_code == 423
    assert (await ada.put("/dav/d/new", content=b"x")).status_code == 423
    assert (await ada.request("MKCOL", "/dav/d/e")).status_code == 423
    assert (await ada.request("COPY", "/dav/d/a", headers={"destination": "/dav/d/b"})).status_code == 423
    assert (await ada.request("COPY", "/dav/d/a", headers={"destination": "/dav/b"})).status_code == 201
    assert (await ada.put("/dav/d/new", content=b"x", headers=presenting(token, "/dav/d/"))).status_code == 201
    assert (await ada.put("/dav/d/new", content=b"x", headers=presenting(token))).status_code == 204
    assert [one.findtext(f"{D}depth") for one in await discovered(ada, "/dav/d/new")] == ["infinity"]
    assert (await lock(ada, "/dav/d/a")).status_code == 423
    refreshed = await ada.request("LOCK", "/dav/d/a", headers={**presenting(token), "timeout": "Second-77"})
    assert "Second-77" in refreshed.text or "Second-76" in refreshed.text


async def test_a_lock_of_depth_0_keeps_the_names_in_a_collection(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    await ada.put("/dav/d/a", content=b"")
    await locked(ada, "/dav/d", depth="0")
    assert (await ada.put("/dav/d/a", content=b"x")).status_code == 204
    assert (await ada.put("/dav/d/b", content=b"x")).status_code == 423
    assert (await ada.delete("/dav/d/a")).status_code == 423


async def test_a_locked_member_keeps_its_collection(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    token = await locked(ada, "/dav/d/a")
    for method in ("DELETE", "MOVE"):
        answer = await ada.request(method, "/dav/d", headers={"destination": "/dav/e"})
        assert answer.status_code == 207
        response = etree.fromstring(answer.content).find(f"{D}response")
        assert response is not None
        assert response.findtext(f"{D}href") == "/dav/d/a"
        assert "423" in str(response.findtext(f"{D}status"))
    deep = await lock(ada, "/dav/d")
    assert [href.text for href in etree.fromstring(deep.content).iterfind(f"{D}response/{D}href")] == [
        "/dav/d/a",
        "/dav/d",
    ]
    assert (await ada.delete("/dav/d", headers=presenting(token, "/dav/d/a"))).status_code == 204


async def test_locks_stay_where_they_are_when_things_move(ada: httpx.AsyncClient) -> None:
    token = await locked(ada, "/dav/a")
    moved = await ada.request("MOVE", "/dav/a", headers={"destination": "/dav/b", **presenting(token)})
    assert moved.status_code == 201
    assert await discovered(ada, "/dav/b") == []
    assert (await ada.put("/dav/b", content=b"x")).status_code == 204
    assert (await ada.put("/dav/a", content=b"x")).status_code == 201


async def test_nothing_there_becomes_an_empty_file(ada: httpx.AsyncClient) -> None:
    answer = await lock(ada, "/dav/new", owner="<D:href>mailto:ada</D:href>")
    assert answer.status_code == 201
    assert etree.fromstring(answer.content).findtext(f".//{D}owner/{D}href") == "mailto:ada"
    assert (await ada.get("/dav/new")).content == b""
    assert (await lock(ada, "/dav/no/new")).status_code == 409
    assert (await lock(ada, "/dav/new/below")).status_code == 409


async def test_what_lock_and_unlock_refuse(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    token = await locked(ada, "/dav/a")
    assert (await ada.request("LOCK", "/dav/a", content=b"<a/>")).status_code == 400
    assert (await ada.request("LOCK", "/dav/a")).status_code == 400
    assert (await ada.request("LOCK", "/dav/a", headers=presenting(NOBODYS))).status_code == 412
    assert (await lock(ada, "/dav/b", depth="1")).status_code == 400
    assert (await lock(ada, "/dav/b", "local")).status_code == 422
    assert (await ada.request("UNLOCK", "/dav/a")).status_code == 400
    assert (await ada.request("UNLOCK", "/dav/a", headers={"lock-token": f"<{NOBODYS}>"})).status_code == 409
    await ada.put("/dav/c", content=b"")
    wrong = await ada.request("UNLOCK", "/dav/c", headers={"lock-token": f"<{token}>"})
    assert (wrong.status_code, "lock-token-matches-request-uri" in wrong.text) == (409, True)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("(<{token}>)", 204),
        ('(<{token}> ["{etag}"])', 204),
        ('(["{etag}"])', 423),
        ('(<{token}> ["other"])', 412),
        ("(Not <{token}>)", 412),
        ("(Not <DAV:no-lock>) (<{token}>)", 204),
        ("(<DAV:no-lock>)", 412),
        ("</dav/a> (<{token}>)", 204),
        ("<http://hive.test/dav/a> (<{token}>)", 204),
        ("</dav/other> (<{token}>)", 412),
        ("</dav/other> (Not <{token}>)", 204),
        ("(", 400),
        ("<{token}>", 400),
        ("()", 400),
    ],
)
async def test_the_if_header(ada: httpx.AsyncClient, condition: str, status: int) -> None:
    await ada.put("/dav/a", content=b"")
    token = await locked(ada, "/dav/a")
    etag = (await ada.get("/dav/a")).headers["etag"].strip('"')
    answer = await ada.put("/dav/a", content=b"x", headers={"if": condition.format(token=token, etag=etag)})
    assert answer.status_code == status, answer.text


async def test_locks_end_with_their_time(tmp_path: Path) -> None:
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock, filesystem__lock_max_s="100s", auth__access_token_s="1d") as hive:
        ada = await hive.client("ada")
        await ada.put("/dav/a", content=b"")
        for timeout in ("Infinite", "Second-4100000000", "Second-100"):
            answer = await lock(ada, "/dav/a", timeout=timeout)
            assert "Second-100" in answer.text
            token = answer.headers["lock-token"].strip("<>")
            clock.jump(99)
            assert (await ada.put("/dav/a", content=b"x")).status_code == 423
            clock.jump(2)
            assert (await ada.put("/dav/a", content=b"x")).status_code == 204
            assert await discovered(ada, "/dav/a") == []
            assert (await ada.request("LOCK", "/dav/a", headers=presenting(token))).status_code == 412
        first = await lock(ada, "/dav/a", timeout="Second-50")
        token = first.headers["lock-token"].strip("<>")
        clock.jump(40)
        again = await ada.request("LOCK", "/dav/a", headers={**presenting(token), "timeout": "Extend, Second-90"})
        assert "Second-90" in again.text
        clock.jump(60)
        assert (await ada.put("/dav/a", content=b"x")).status_code == 423
        clock.jump(40)
        while (await hive.hive.keepers.retention.run_once(Progress())).more_work:
            pass
        import sqlalchemy as sa

        from skep.db import prepared
        from skep.db import schema as s

        count = prepared(sa.select(sa.func.count()).select_from(s.locks))
        assert await hive.hive.db.read(lambda tx: tx.value(count)) == 0


async def test_a_share_does_not_tell_of_locks_outside_it(
    hive: TestHive, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await ada.request("MKCOL", "/dav/d")
    await ada.request("MKCOL", "/dav/d/e")
    await ada.put("/dav/d/e/a", content=b"")
    await ada.put("/dav/secret", content=b"")
    await ada.post("/api/filesystem/shares", json={"path": "/d/e", "user": "bob", "rights": "write"})
    held = (await bob.get("/api/filesystem/shares/held")).json()["shares"][0]["id"]
    await bob.post(f"/api/filesystem/shares/held/{held}", json={"accept": True})
    await locked(ada, "/dav/secret")
    assert (await bob.put(f"/dav-spaces/{held}/a", content=b"x")).status_code == 204
    assert await discovered(bob, f"/dav-spaces/{held}/a") == []
    await locked(ada, "/dav/d")
    refused = await bob.put(f"/dav-spaces/{held}/a", content=b"x")
    assert refused.status_code == 423
    assert "/d" not in refused.text.replace("/d:", "").replace("/dav-spaces", "")
    (seen,) = await discovered(bob, f"/dav-spaces/{held}/a")
    assert seen.findtext(f"{D}lockroot/{D}href") == f"/dav-spaces/{held}/"
