"""Files and collections: what each verb answers, also to what cannot be."""

from __future__ import annotations

import base64
import hashlib
import unicodedata

import httpx
import pytest
from lxml import etree

from skep.testing.hive import PASSWORD, TestHive, open_test_hive

D = "{DAV:}"


async def put(client: httpx.AsyncClient, path: str, body: bytes = b"hello", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.put(path, content=body, headers=named)


def condition(answer: httpx.Response) -> str:
    """The first condition element of an error."""
    return str(etree.fromstring(answer.content)[0].tag).removeprefix(D)


async def test_options_needs_no_login_and_tells_the_classes(hive: TestHive) -> None:
    for path in ("/dav/", "/dav/a/b", "/dav-spaces/"):
        answer = await hive.anonymous.options(path)
        assert (answer.status_code, answer.headers["dav"], answer.headers["ms-author-via"]) == (200, "1, 2, 3", "DAV")
        assert {"PROPFIND", "LOCK", "REPORT", "PUT"} <= set(answer.headers["allow"].split(", "))


async def test_the_root_of_the_host_answers_the_options_of_windows(hive: TestHive) -> None:
    answer = await hive.anonymous.options("/")
    assert (answer.status_code, answer.headers["dav"], answer.headers["ms-author-via"]) == (200, "1, 2, 3", "DAV")


async def test_everything_else_needs_a_login(hive: TestHive) -> None:
    for method in ("GET", "PUT", "PROPFIND", "LOCK", "DELETE", "MKCOL", "REPORT", "COPY"):
        answer = await hive.anonymous.request(method, "/dav/a")
        assert answer.status_code == 401
        assert answer.headers.get_list("www-authenticate")[0].startswith("Basic ")


async def test_basic_with_the_login_or_an_app_password(hive: TestHive, ada: httpx.AsyncClient) -> None:
    made = await ada.post("/api/auth/app-passwords", json={"name": "phone", "scopes": ["files:read"]})
    for password, status in ((PASSWORD, 201), (made.json()["secret"], 403), ("wrong", 401)):
        answer = await hive.anonymous.put("/dav/a", content=b"", auth=("ada", password))
        assert answer.status_code == status
    assert (await hive.anonymous.get("/dav/a", auth=("ada", made.json()["secret"]))).status_code == 200


async def test_a_file_goes_in_and_comes_out(ada: httpx.AsyncClient) -> None:
    made = await put(ada, "/dav/a.txt", b"hello")
    assert made.status_code == 201
    again = await put(ada, "/dav/a.txt", b"hello world")
    assert again.status_code == 204
    read = await ada.get("/dav/a.txt")
    assert (read.content, read.headers["etag"], read.headers["content-type"]) == (
        b"hello world",
        again.headers["etag"],
        "text/plain",
    )
    head = await ada.head("/dav/a.txt")
    assert (head.content, head.headers["content-length"]) == (b"", "11")
    info = await ada.get("/api/filesystem/info", params={"path": "/a.txt"})
    assert f'"{info.json()["info"]["etag"]}"' == again.headers["etag"]


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=99-100", 416, None),
        ("bytes=5-2", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
async def test_ranges(ada: httpx.AsyncClient, asked: str, status: int, content: bytes | None) -> None:
    await put(ada, "/dav/ten", b"0123456789")
    answer = await ada.get("/dav/ten", headers={"range": asked})
    assert answer.status_code == status
    if content is None:
        assert answer.headers["content-range"] == "bytes */10"
    else:
        assert answer.content == content


async def test_conditions_of_http(ada: httpx.AsyncClient) -> None:
    etag = (await put(ada, "/dav/a", b"one")).headers["etag"]
    assert (await ada.get("/dav/a", headers={"if-none-match": etag})).status_code == 304
    assert (await put(ada, "/dav/a", b"two", if_none_match="*")).status_code == 412
    assert (await put(ada, "/dav/a", b"two", if_match='"other"')).status_code == 412
    assert (await put(ada, "/dav/a", b"two", if_match=etag)).status_code == 204
    assert (await ada.delete("/dav/a", headers={"if-match": etag})).status_code == 412
    assert (await ada.get("/dav/a")).content == b"two"
    assert (await put(ada, "/dav/new", b"", if_match="*")).status_code == 412


async def test_what_put_refuses(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    await put(ada, "/dav/f")
    assert (await put(ada, "/dav/no/a")).status_code == 409
    assert (await put(ada, "/dav/d")).status_code == 405
    assert (await put(ada, "/dav/d/")).status_code == 405
    assert (await put(ada, "/dav/")).status_code == 405
    assert (await put(ada, "/dav/f/below")).status_code == 409
    assert (await put(ada, "/dav/a", content_range="bytes 0-1/5")).status_code == 400
    assert (await put(ada, "/dav/a", content_md5=base64.b64encode(bytes(16)).decode())).status_code == 400
    assert (await put(ada, "/dav/a", oc_checksum="SHA1:" + "0" * 40)).status_code == 400
    assert (await put(ada, "/dav/a", x_oc_mtime="yesterday")).status_code == 400
    assert (await put(ada, "/dav/a", x_expected_entity_length="5", transfer_encoding="chunked")).status_code in (
        201,
        400,
    )


async def test_the_clients_own_time_and_checksum(ada: httpx.AsyncClient) -> None:
    sha1 = hashlib.sha1(b"hello").hexdigest()
    answer = await put(ada, "/dav/a", x_oc_mtime="1234567890.75", oc_checksum=f"SHA1:{sha1}")
    assert answer.headers["x-oc-mtime"] == "accepted"
    assert (await ada.get("/dav/a")).headers["last-modified"] == "Fri, 13 Feb 2009 23:31:30 GMT"
    assert (await put(ada, "/dav/old", x_oc_mtime="-86400")).status_code == 201
    assert (await ada.get("/dav/old")).headers["last-modified"] == "Wed, 31 Dec 1969 00:00:00 GMT"


async def test_a_body_that_stops_half_way_leaves_the_old_version(ada: httpx.AsyncClient) -> None:
    await put(ada, "/dav/a", b"old")
    torn = await ada.put("/dav/a", content=b"half", headers={"content-length": "8"})
    assert torn.status_code == 400
    assert (await ada.get("/dav/a")).content == b"old"


async def test_a_full_space_is_507_with_the_condition_of_rfc_4331(hive: TestHive, ada: httpx.AsyncClient) -> None:
    admin = await hive.client("root", is_admin=True)
    await admin.patch("/api/auth/users/ada/space", json={"quota_bytes": 10})
    full = await put(ada, "/dav/a", b"x" * 11)
    assert (full.status_code, condition(full)) == (507, "quota-not-exceeded")

    async def parts():
        yield b"x" * 6
        yield b"x" * 6

    assert (await ada.put("/dav/a", content=parts())).status_code == 507
    assert (await ada.get("/dav/a")).status_code == 404
    assert (await put(ada, "/dav/a", b"x" * 10)).status_code == 201


async def test_mkcol(ada: httpx.AsyncClient) -> None:
    await put(ada, "/dav/f")
    assert (await ada.request("MKCOL", "/dav/d/")).status_code == 201
    assert (await ada.request("MKCOL", "/dav/d")).status_code == 405
    assert (await ada.request("MKCOL", "/dav/f")).status_code == 405
    assert (await ada.request("MKCOL", "/dav/")).status_code == 405
    assert (await ada.request("MKCOL", "/dav/no/d")).status_code == 409
    assert (await ada.request("MKCOL", "/dav/f/d")).status_code == 409
    assert (await ada.request("MKCOL", "/dav/e", content=b"<x/>")).status_code == 415


async def test_delete_goes_to_the_trash(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    await put(ada, "/dav/d/a")
    assert (await ada.delete("/dav/d", headers={"depth": "0"})).status_code == 400
    assert (await ada.delete("/dav/d/")).status_code == 204
    assert (await ada.delete("/dav/d/")).status_code == 404
    assert (await ada.delete("/dav/")).status_code == 403
    assert [one["path"] for one in (await ada.get("/api/filesystem/trash")).json()["items"]] == ["/d"]


@pytest.mark.parametrize(
    "path",
    ["/dav/../secret", "/dav/%2e%2e/secret", "/dav/a%2Fb", "/dav/a/./b", "/dav/%2e", "/dav/a%00b", "/dav/" + "n" * 256],
)
async def test_paths_that_escape_are_refused(hive: TestHive, ada: httpx.AsyncClient, path: str) -> None:
    raw = httpx.URL(scheme="http", host="hive.test", raw_path=path.encode())
    answer = await ada.request("PUT", raw, content=b"x")
    assert answer.status_code in (400, 403, 404, 409)
    listed = await ada.get("/api/filesystem/info", params={"path": "/"})
    assert listed.json()["files"] == []


@pytest.mark.parametrize("path", ["/dav/%ff%fe", "/dav/%c3%28"])
async def test_names_that_are_not_utf8_are_refused(ada: httpx.AsyncClient, path: str) -> None:
    raw = httpx.URL(scheme="http", host="hive.test", raw_path=path.encode())
    assert (await ada.request("PUT", raw, content=b"x")).status_code == 403


async def test_names_that_differ_by_normalisation_are_two(ada: httpx.AsyncClient) -> None:
    composed, apart = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    assert (await put(ada, f"/dav/{composed}", b"1")).status_code == 201
    assert (await put(ada, f"/dav/{apart}", b"2")).status_code == 201
    assert (await ada.get(f"/dav/{composed}")).content == b"1"
    assert (await ada.get(f"/dav/{apart}")).content == b"2"


@pytest.mark.parametrize(
    "name", ["a b", "100%", "q?x=1", "tag#1", "a&b<c>", "ü/".strip("/"), "+;=,", "[x]", "._a", "~"]
)
async def test_names_come_back_as_they_were_given(ada: httpx.AsyncClient, name: str) -> None:
    from urllib.parse import quote, unquote

    assert (await put(ada, "/dav/" + quote(name, safe=""))).status_code == 201
    answer = await ada.request("PROPFIND", "/dav/", headers={"depth": "1"})
    hrefs = [href.text for href in etree.fromstring(answer.content).iter(f"{D}href")]
    names = [element.text for element in etree.fromstring(answer.content).iter(f"{D}displayname")]
    assert [unquote(href or "") for href in hrefs] == ["/dav/", f"/dav/{name}"]
    assert names[1] == name
    assert (await ada.get(hrefs[1] or "")).content == b"hello"


async def test_copy_and_move(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    await put(ada, "/dav/d/a", b"1")

    async def go(method: str, source: str, target: str, **headers: str) -> int:
        return (await ada.request(method, source, headers={"destination": target, **headers})).status_code

    assert await go("COPY", "/dav/d/a", "/dav/b") == 201
    assert await go("COPY", "/dav/d/a", "http://hive.test/dav/b") == 204
    assert await go("COPY", "/dav/d/a", "/dav/b", overwrite="F") == 412
    assert await go("COPY", "/dav/d/a", "/dav/no/b") == 409
    assert await go("COPY", "/dav/d/a", "/dav/d/a") == 403
    assert await go("COPY", "/dav/d", "/dav/d/inner") == 403
    assert await go("COPY", "/dav/no", "/dav/b") == 404
    assert await go("COPY", "/dav/d/a", "http://elsewhere.test/dav/b") == 502
    assert await go("COPY", "/dav/d/a", "b") == 400
    assert await go("COPY", "/dav/d/a", "/api/b") == 403
    assert await go("COPY", "/dav/d/a", "/dav/b", overwrite="maybe") == 400
    assert await go("COPY", "/dav/d", "/dav/shallow", depth="0") == 201
    assert (await ada.get("/dav/shallow/a")).status_code == 404
    assert await go("COPY", "/dav/d", "/dav/deep") == 201
    assert (await ada.get("/dav/deep/a")).content == b"1"
    assert await go("MOVE", "/dav/deep", "/dav/b") == 204
    assert (await ada.get("/dav/b/a")).content == b"1"
    assert await go("MOVE", "/dav/b", "/dav/moved", depth="0") == 400
    assert await go("MOVE", "/dav/", "/dav/moved") == 403
    assert (await ada.request("MOVE", "/dav/b")).status_code == 400


async def test_a_collection_is_a_page_for_browsers(ada: httpx.AsyncClient) -> None:
    await put(ada, "/dav/<script>")
    page = await ada.get("/dav/")
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    assert (await ada.get("/dav/no/")).status_code == 404


async def test_other_methods_are_refused(ada: httpx.AsyncClient) -> None:
    answer = await ada.request("PATCH", "/dav/a")
    assert (answer.status_code, "PROPFIND" in answer.headers["allow"]) == (405, True)


async def test_groups_and_shares_have_urls_of_their_own(
    hive: TestHive, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    admin = await hive.client("root", is_admin=True)
    await admin.post("/api/auth/groups", json={"name": "club"})
    await admin.put("/api/auth/groups/club/members/ada", json={})
    await admin.put("/api/auth/groups/club/members/bob", json={})
    assert (await put(ada, "/dav-spaces/club/a", b"of all")).status_code == 201
    assert (await bob.get("/dav-spaces/club/a")).content == b"of all"
    assert (await put(ada, "/dav/mine", b"x")).status_code == 201
    moved = await ada.request("MOVE", "/dav/mine", headers={"destination": "/dav-spaces/club/mine"})
    assert moved.status_code == 201
    assert (await bob.get("/dav-spaces/club/mine")).content == b"x"

    await ada.request("MKCOL", "/dav/photos")
    await put(ada, "/dav/photos/p", b"pp")
    given = await ada.post("/api/filesystem/shares", json={"path": "/photos", "user": "bob", "rights": "read"})
    assert given.status_code == 201, given.text
    held = (await bob.get("/api/filesystem/shares/held")).json()["shares"][0]["id"]
    await bob.post(f"/api/filesystem/shares/held/{held}", json={"accept": True})
    for url in (f"/dav-spaces/{held}/p", "/dav-spaces/photos/p"):
        assert (await bob.get(url)).content == b"pp"
        assert (await put(bob, url, b"no")).status_code == 403
    listed = await bob.request("PROPFIND", "/dav-spaces/", headers={"depth": "1"})
    hrefs = [href.text for href in etree.fromstring(listed.content).iter(f"{D}href")]
    assert hrefs == ["/dav-spaces/", "/dav-spaces/bob/", "/dav-spaces/club/", "/dav-spaces/photos/"]
    assert (await bob.get("/dav-spaces/ada/")).status_code == 404
    assert "photos" in (await bob.get("/dav-spaces/")).text


async def test_a_quiet_body_is_given_up(tmp_path) -> None:
    async with open_test_hive(tmp_path, server__idle_timeout_s="1s") as quick:
        ada = await quick.client("ada")

        async def slow():
            import asyncio

            yield b"x"
            await asyncio.Event().wait()

        assert (await ada.put("/dav/a", content=slow())).status_code == 503
        assert (await ada.get("/dav/a")).status_code == 404
