"""The same door as the IETF's draft of resumable uploads has it (draft-ietf-httpbis-resumable-upload)."""

from __future__ import annotations

import base64
import hashlib

import pytest

from skep.testing.clock import FakeClock
from skep.testing.hive import open_test_hive

PROBLEMS = "https://iana.org/assignments/http-problem-types#"


@pytest.fixture
async def hive(tmp_path):
    async with open_test_hive(tmp_path, clock=FakeClock()) as opened:
        yield opened


@pytest.fixture
async def ada(hive):
    return await hive.client("ada")


async def create(client, body=b"", complete="?0", path="/f", expect=201, method="POST", **headers):
    given = {"Upload-Complete": complete, **{name.replace("_", "-"): value for name, value in headers.items()}}
    params = {"path": path} if path else {}
    answer = await client.request(method, "/tus/", params=params, headers=given, content=body)
    assert answer.status_code == expect, answer.text
    return answer


async def append(client, url, offset, body, complete="?0", expect=204, **headers):
    given = {
        "Upload-Complete": complete,
        "Upload-Offset": str(offset),
        "Content-Type": "application/partial-upload",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    answer = await client.patch(url, headers=given, content=body)
    assert answer.status_code == expect, answer.text
    return answer


async def content(client, path="/f"):
    return (await client.get("/api/filesystem/data", params={"path": path})).content


async def test_all_in_one_request(ada):
    made = await create(ada, b"hello", "?1", Content_Type="text/x-odd")
    assert made.headers["upload-complete"] == "?1"
    node = made.json()["node"]
    assert (node["path"], node["mime"], node["size_bytes"]) == ("/f", "text/x-odd", 5)
    assert made.headers["etag"] == f'"{node["etag"]}"'
    assert (await create(ada, b"again", "?1", expect=200, method="PUT")).json()["version"]["number"] == 2


async def test_a_series_of_appends(ada):
    made = await create(ada, b"one ", Upload_Length="13")
    url = made.headers["location"]
    assert (made.headers["upload-complete"], made.headers["upload-offset"]) == ("?0", "4")
    assert "max-size=" in made.headers["upload-limit"]
    assert "max-age=" in made.headers["upload-limit"]
    now = await ada.head(url)
    assert (now.status_code, now.headers["cache-control"]) == (204, "no-store")
    assert (now.headers["upload-offset"], now.headers["upload-complete"], now.headers["upload-length"]) == (
        "4",
        "?0",
        "13",
    )
    assert (await append(ada, url, 4, b"two ")).headers["upload-offset"] == "8"
    last = await append(ada, url, 8, b"three", "?1", expect=201)
    assert (last.headers["upload-complete"], last.json()["node"]["path"]) == ("?1", "/f")
    assert await content(ada) == b"one two three"
    done = await ada.head(url)
    assert (done.headers["upload-complete"], done.headers["upload-offset"]) == ("?1", "13")


async def test_a_length_does_not_end_an_upload(ada):
    url = (await create(ada, Upload_Length="2")).headers["location"]
    await append(ada, url, 0, b"12")
    assert (await ada.head(url)).headers["upload-complete"] == "?0"
    await append(ada, url, 2, b"", "?1", expect=201)
    assert await content(ada) == b"12"


async def test_a_wrong_offset(ada):
    url = (await create(ada, b"12345")).headers["location"]
    answer = await append(ada, url, 3, b"x", expect=409)
    assert answer.headers["upload-offset"] == "5"
    problem = answer.json()
    assert problem["type"] == PROBLEMS + "mismatching-upload-offset"
    assert (problem["expected-offset"], problem["provided-offset"]) == (5, 3)


async def test_a_completed_upload(ada):
    url = (await create(ada)).headers["location"]
    await append(ada, url, 0, b"12", "?1", expect=201)
    for body in (b"", b"x"):
        answer = await append(ada, url, 2, body, "?1", expect=400)
        assert answer.json()["type"] == PROBLEMS + "completed-upload"
        assert answer.headers["upload-complete"] == "?1"


async def test_inconsistent_lengths(ada):
    wrong = await create(ada, b"12", "?1", expect=400, Upload_Length="3")
    assert wrong.json()["type"] == PROBLEMS + "inconsistent-upload-length"
    url = (await create(ada, Upload_Length="5")).headers["location"]
    for headers, body, complete in (({"Upload_Length": "6"}, b"1", "?0"), ({}, b"12", "?1")):
        answer = await append(ada, url, 0, body, complete, expect=400, **headers)
        assert answer.json()["type"] == PROBLEMS + "inconsistent-upload-length"
    await append(ada, url, 0, b"123456", expect=413)
    assert (await ada.head(url)).headers["upload-offset"] == "0"


async def test_what_is_missing_or_malformed(ada):
    assert (await ada.post("/tus/", params={"path": "/f"}, content=b"x")).status_code == 412
    assert (await create(ada, complete="yes", expect=412)).headers["tus-version"] == "1.0.0"
    await create(ada, path=None, expect=400)
    url = (await create(ada)).headers["location"]
    await append(ada, url, 0, b"x", Content_Type="text/plain", expect=415)
    await append(ada, url, "x", b"x", expect=400)
    await append(ada, url, 0, b"x", complete="?2", expect=400)


async def test_digests(ada):
    body = b"0123456789"
    good = base64.b64encode(hashlib.sha256(body).digest()).decode()
    bad = base64.b64encode(bytes(32)).decode()
    url = (await create(ada, Repr_Digest=f"sha-256=:{good}:")).headers["location"]
    await append(ada, url, 0, body, expect=422, Content_Digest=f"sha-256=:{bad}:")
    await append(ada, url, 0, b"x" * 10, "?1", expect=422)
    assert (await ada.head(url)).headers["upload-offset"] == "0"
    last = await append(ada, url, 0, body, "?1", expect=201, Content_Digest=f"sha-256=:{good}:")
    assert last.json()["version"]["sha256"] == hashlib.sha256(body).hexdigest()


async def test_cancelling(ada):
    url = (await create(ada, b"123")).headers["location"]
    assert (await ada.delete(url)).status_code == 204
    assert (await ada.head(url)).status_code == 404
    await append(ada, url, 3, b"4", expect=404)


@pytest.mark.parametrize(
    ("disposition", "path"),
    [
        ('inline; filename="a \\"b\\".txt"', '/a "b".txt'),
        ("inline; filename=plain.txt", "/plain.txt"),
        ("attachment; filename=\"x.txt\"; filename*=UTF-8''%C3%BC.txt", "/ü.txt"),
        ('inline; filename="C:\\\\dir\\\\evil.txt"', "/evil.txt"),
        ('inline; filename="../../etc/passwd"', "/passwd"),
    ],
)
async def test_the_name_of_a_content_disposition(ada, disposition, path):
    made = await create(ada, b"x", "?1", path=None, Content_Disposition=disposition)
    assert made.json()["node"]["path"] == path


async def test_conditions(ada):
    await create(ada, b"1", "?1", If_None_Match="*")
    await create(ada, b"2", "?1", expect=412, If_None_Match="*")
