from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from skep.testing.hive import TestHive

DATA = "/api/filesystem/data"
CONTENT = bytes(range(256)) * 40


async def put(client: httpx.AsyncClient, path: str, content: Any = CONTENT, **headers: str) -> httpx.Response:
    return await client.put(DATA, params={"path": path}, content=content, headers=headers)


async def put_id(client: httpx.AsyncClient, path: str, content: bytes = CONTENT) -> str:
    node_id: str = (await put(client, path, content)).json()["node"]["id"]
    return node_id


async def test_a_file_goes_in_and_comes_out(ada: httpx.AsyncClient) -> None:
    answer = await put(ada, "/a/b.txt", **{"content-type": "text/plain"})
    assert answer.status_code == 201
    node = answer.json()["node"]
    assert (node["path"], node["size_bytes"], node["mime"]) == ("/a/b.txt", len(CONTENT), "text/plain")
    assert node["md5"] == hashlib.md5(CONTENT).hexdigest()
    assert node["sha1"] == hashlib.sha1(CONTENT).hexdigest()
    back = await ada.get(f"{DATA}/{node['id']}")
    assert back.content == CONTENT
    assert back.headers["etag"] == answer.headers["etag"]
    assert (await ada.get(DATA, params={"path": "/a/b.txt"})).content == CONTENT
    head = await ada.head(f"{DATA}/{node['id']}")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(CONTENT)), b"")


async def test_a_second_upload_is_a_second_version(ada: httpx.AsyncClient) -> None:
    node_id = await put_id(ada, "/v", b"one")
    again = await ada.put(f"{DATA}/{node_id}", content=b"two!")
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert (await ada.get(f"{DATA}/{node_id}")).content == b"two!"
    assert (await ada.get(f"{DATA}/{node_id}", params={"version": 1})).content == b"one"
    assert (await ada.get(f"{DATA}/{node_id}/1")).content == b"one"
    versions = (await ada.get(f"/api/filesystem/versions/{node_id}")).json()["versions"]
    assert [(v["number"], v["size_bytes"], v["is_current"]) for v in versions] == [(2, 4, True), (1, 3, False)]
    restored = await ada.post(f"/api/filesystem/versions/{node_id}/1/restore")
    assert restored.json()["version_number"] == 3
    assert (await ada.get(f"{DATA}/{node_id}")).content == b"one"
    assert (await ada.delete(f"/api/filesystem/versions/{node_id}/2")).status_code == 204
    assert (await ada.get(f"{DATA}/{node_id}/2")).json()["code"] == "version-not-found"
    assert (await ada.get(f"{DATA}/{node_id}/x")).status_code == 404


async def test_content_for_an_id_goes_nowhere_else_when_the_file_is_moved_meanwhile(ada: httpx.AsyncClient) -> None:
    node_id = await put_id(ada, "/here", b"old")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"n"
        begun.set()
        await go_on.wait()
        yield b"ew"

    writing = asyncio.create_task(ada.put(f"{DATA}/{node_id}", content=body()))
    await asyncio.wait_for(begun.wait(), 10)
    moved = await ada.post("/api/filesystem/move", json={"id": node_id, "to_path": "/there"})
    assert moved.status_code == 200
    await put(ada, "/here", b"another")
    go_on.set()
    refused = await writing
    assert (refused.status_code, refused.json()["retryable"]) == (409, True)
    assert (await ada.get(f"{DATA}/{node_id}")).content == b"old"
    assert (await ada.get(DATA, params={"path": "/here"})).content == b"another"


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [("bytes=0-9", 0, 10), ("bytes=-5", 10235, 10240), ("bytes=10200-", 10200, 10240), ("bytes=0-", 0, 10240)],
)
async def test_one_range(ada: httpx.AsyncClient, header: str, start: int, stop: int) -> None:
    node_id = await put_id(ada, "/r")
    answer = await ada.get(f"{DATA}/{node_id}", headers={"range": header})
    assert (answer.status_code, answer.content) == (206, CONTENT[start:stop])
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    other_unit = await ada.get(f"{DATA}/{node_id}", headers={"range": "lines=0-1"})
    assert (other_unit.status_code, other_unit.content) == (200, CONTENT)


async def test_several_ranges_are_a_multipart_of_the_announced_length(ada: httpx.AsyncClient) -> None:
    node_id = await put_id(ada, "/r")
    answer = await ada.get(f"{DATA}/{node_id}", headers={"range": "bytes=0-1,100-102"})
    assert answer.status_code == 206
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", answer.headers["content-type"])
    assert boundary
    parts = answer.content.split(b"--" + boundary[1].encode())
    assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:3]] == [
        CONTENT[:2] + b"\r\n",
        CONTENT[100:103] + b"\r\n",
    ]
    assert answer.headers["content-length"] == str(len(answer.content))


async def test_a_range_outside_is_416_with_the_size(ada: httpx.AsyncClient) -> None:
    node_id = await put_id(ada, "/r", b"abc")
    answer = await ada.get(f"{DATA}/{node_id}", headers={"range": "bytes=3-"})
    assert (answer.status_code, answer.json()["code"]) == (416, "invalid-range")
    assert answer.headers["content-range"] == "bytes */3"


async def test_conditions_of_reads(ada: httpx.AsyncClient) -> None:
    answer = await put(ada, "/c", b"abc")
    url, tag = f"{DATA}/{answer.json()['node']['id']}", answer.headers["etag"]
    assert (await ada.get(url, headers={"if-none-match": tag})).status_code == 304
    assert (await ada.get(url, headers={"if-match": '"other"'})).status_code == 412
    stale = await ada.get(url, headers={"range": "bytes=0-0", "if-range": '"other"'})
    assert (stale.status_code, stale.content) == (200, b"abc")
    fresh = await ada.get(url, headers={"range": "bytes=0-0", "if-range": tag})
    assert (fresh.status_code, fresh.content) == (206, b"a")


async def test_conditions_of_writes(ada: httpx.AsyncClient) -> None:
    tag = (await put(ada, "/c", b"abc")).headers["etag"]
    assert (await put(ada, "/c", b"x", **{"if-none-match": "*"})).json()["code"] == "precondition-failed"
    assert (await put(ada, "/c", b"x", **{"if-match": '"other"'})).status_code == 412
    assert (await put(ada, "/new", b"x", **{"if-match": "*"})).status_code == 412
    assert (await ada.get(DATA, params={"path": "/c"})).content == b"abc"
    assert (await put(ada, "/c", b"changed", **{"if-match": tag})).status_code == 200


async def test_what_could_run_is_sent_as_an_attachment(ada: httpx.AsyncClient) -> None:
    await put(ada, "/page.html", b"<script>alert(1)</script>", **{"content-type": "text/html"})
    answer = await ada.get(DATA, params={"path": "/page.html"})
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    await put(ada, "/p.png", b"...", **{"content-type": "image/png"})
    assert (await ada.get(DATA, params={"path": "/p.png"})).headers["content-disposition"].startswith("inline")
    saved = await ada.get(DATA, params={"path": "/p.png", "download": ""})
    assert saved.headers["content-disposition"] == 'attachment; filename="p.png"'


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg==", 201),
        ("repr-digest", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", 201),
        ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==", 422),
        ("content-digest", "sha-256=:AAAAul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:", 422),
        ("content-md5", "nonsense", 400),
    ],
)
async def test_declared_digests_are_checked(ada: httpx.AsyncClient, header: str, value: str, status: int) -> None:
    answer = await put(ada, "/d", b"hello", **{header: value})
    assert answer.status_code == status
    assert (await ada.get(DATA, params={"path": "/d"})).status_code == (200 if status == 201 else 404)


async def test_a_form_needs_directory_and_name(ada: httpx.AsyncClient) -> None:
    file = {"file": ("x.bin", b"body", "application/octet-stream")}
    done = await ada.post(DATA, data={"directory": "/in", "name": "n.txt"}, files=file)
    assert (done.status_code, done.json()["node"]["path"]) == (201, "/in/n.txt")
    named = await ada.post(DATA, params={"directory": "/"}, files=file)
    assert named.json()["node"]["path"] == "/x.bin"
    missing = await ada.post(DATA, data={"name": "n.txt"}, files=file)
    assert (missing.status_code, missing.json()["details"]["missing"]) == (400, ["directory"])
    neither = await ada.post(DATA, data={"directory": "/"}, files={"file": (None, b"body")})
    assert neither.json()["details"]["missing"] == ["name"]
    assert (await ada.post(DATA, data={"directory": "/", "name": "n"})).status_code == 400
    assert (await ada.post(DATA, data={"directory": "/", "name": "a/b"}, files=file)).status_code == 400


async def test_a_torn_form_writes_nothing(ada: httpx.AsyncClient) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="t"\r\n\r\nhalf of it'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    answer = await ada.post(DATA, params={"directory": "/"}, content=body, headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    two = body + b'\r\n--b\r\nContent-Disposition: form-data; name="g"; filename="u"\r\n\r\nx\r\n--b--\r\n'
    assert (await ada.post(DATA, params={"directory": "/"}, content=two, headers=kind)).status_code == 400
    assert (await ada.get("/api/filesystem/info")).json()["files"] == []


async def test_a_body_of_another_length_writes_nothing(ada: httpx.AsyncClient) -> None:
    async def short() -> AsyncIterator[bytes]:
        yield b"123"

    answer = await put(ada, "/short", short(), **{"content-length": "5"})
    assert (answer.status_code, answer.json()["code"]) == (400, "length-mismatch")
    both = {"content-length": "3", "transfer-encoding": "chunked"}
    answer = await put(ada, "/both", short(), **both)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert (await ada.get("/api/filesystem/info")).json()["files"] == []


async def test_a_client_that_leaves_writes_nothing_and_frees_what_it_held(
    hive: TestHive, ada: httpx.AsyncClient
) -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"x" * 1000, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    token = ada.headers["authorization"].encode()
    scope = {
        "type": "http",
        "method": "PUT",
        "path": DATA,
        "query_string": b"path=/gone",
        "headers": [(b"authorization", token), (b"content-length", b"5000")],
        "client": ("127.0.0.1", 1),
    }
    await hive.hive.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert (await ada.get("/api/filesystem/info")).json()["files"] == []
    assert hive.hive.services.uploads.held == 0
    assert hive.hive.edge.in_flight.count == 0


async def test_quota_is_507(hive: TestHive, ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    space = (await ada.get("/api/filesystem/spaces")).json()["spaces"][0]
    changed = await admin.patch(f"/api/filesystem/spaces/{space['id']}", json={"quota_bytes": 5})
    assert changed.json()["quota_bytes"] == 5
    answer = await put(ada, "/big", b"123456")
    assert (answer.status_code, answer.json()["code"]) == (507, "quota-exceeded")
    assert (await put(ada, "/fits", b"12345")).status_code == 201


async def test_paths_that_clash_or_break_rules(ada: httpx.AsyncClient) -> None:
    await put(ada, "/f", b"x")
    assert (await put(ada, "/f/g", b"x")).json()["code"] == "name-clash"
    await ada.post("/api/filesystem/mkdir", json={"path": "/dir"})
    assert (await put(ada, "/dir", b"x")).status_code == 409
    assert (await put(ada, "/a/../b", b"x")).json()["code"] == "invalid-name"
    assert (await put(ada, "relative", b"x")).status_code == 400
    assert (await put(ada, "/" + "n" * 256, b"x")).status_code == 400
    assert (await put(ada, "/", b"x")).status_code == 400
    assert (await ada.get(DATA, params={"path": "/dir"})).status_code == 404
