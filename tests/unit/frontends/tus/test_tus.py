"""The door of resumable uploads, called in the test process: tus 1.0.0."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from sqlalchemy import select

from skep.base.ids import parse_id
from skep.db import prepared
from skep.db import schema as s
from skep.testing.clock import FakeClock
from skep.testing.files import admin
from skep.testing.hive import PASSWORD, open_test_hive

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
DAY_S = 86_400
UPLOADS = prepared(select(s.uploads.c.id))


def b64(value):
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


def metadata(**pairs):
    return ",".join(f"{key} {b64(value)}" for key, value in pairs.items())


@pytest.fixture
async def hive(tmp_path):
    async with open_test_hive(tmp_path, clock=FakeClock()) as opened:
        yield opened


@pytest.fixture
async def ada(hive):
    return await hive.client("ada")


async def create(client, length=10, expect=201, body=b"", **headers):
    given = {**TUS, "Upload-Metadata": metadata(path="/f.txt")}
    if length is not None:
        given["Upload-Length"] = str(length)
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    answer = await client.post("/tus/", headers={k: v for k, v in given.items() if v}, content=body)
    assert answer.status_code == expect, answer.text
    return answer


async def patch(client, url, offset, body, expect=204, **headers):
    given = {**PATCH, "Upload-Offset": str(offset), **{k.replace("_", "-"): v for k, v in headers.items()}}
    answer = await client.patch(url, headers=given, content=body)
    assert answer.status_code == expect, answer.text
    return answer


async def head(client, url, expect=200):
    answer = await client.head(url, headers=TUS)
    assert answer.status_code == expect
    return answer


async def content(client, path="/f.txt"):
    answer = await client.get("/api/filesystem/data", params={"path": path})
    return answer.content if answer.status_code == 200 else None


async def test_an_upload_from_its_creation_to_its_end(ada):
    made = await create(ada, Upload_Metadata=metadata(path="/d/f.txt", filetype="text/x-odd", modified_us="5"))
    url = made.headers["location"]
    assert made.headers["tus-resumable"] == "1.0.0"
    assert "upload-expires" in made.headers
    now = await head(ada, url)
    assert (now.headers["upload-offset"], now.headers["upload-length"]) == ("0", "10")
    assert now.headers["cache-control"] == "no-store"
    assert now.headers["upload-metadata"] == metadata(path="/d/f.txt", filetype="text/x-odd", modified_us="5")
    first = await patch(ada, url, 0, b"01234")
    assert first.headers["upload-offset"] == "5"
    assert "upload-expires" in first.headers
    assert await content(ada, "/d/f.txt") is None
    last = await patch(ada, url, 5, b"56789")
    assert last.headers["upload-offset"] == "10"
    node = (await ada.get("/api/filesystem/info", params={"path": "/d/f.txt"})).json()["info"]
    assert last.headers["etag"] == f'"{node["etag"]}"'
    assert last.headers["content-location"] == f"/api/filesystem/data/{node['id']}"
    assert (node["mime"], node["modified_us"]) == ("text/x-odd", 5)
    assert await content(ada, "/d/f.txt") == b"0123456789"
    done = await head(ada, url)
    assert (done.headers["upload-offset"], done.headers["upload-length"]) == ("10", "10")
    assert "upload-expires" not in done.headers
    assert (await patch(ada, url, 10, b"")).headers["upload-offset"] == "10"
    assert (await patch(ada, url, 10, b"x", expect=400)).json()["code"] == "upload-finished"


async def test_options_say_what_there_is(hive):
    answer = await hive.anonymous.options("/tus/", headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    extensions = answer.headers["tus-extension"].split(",")
    assert {"creation", "expiration", "checksum", "termination", "concatenation"} <= set(extensions)
    assert int(answer.headers["tus-max-size"]) > 1 << 40
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Upload-Offset" in answer.headers["access-control-allow-headers"]
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "application/partial-upload" in answer.headers["accept-patch"]


async def test_browsers_may_read_the_answers(ada, hive):
    made = await create(ada)
    assert "Location" in made.headers["access-control-expose-headers"]
    refused = await hive.anonymous.post("/tus/", headers=TUS)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")


async def test_an_app_password_and_basic_work_and_nothing_does_not(hive, ada):
    url = (await create(ada)).headers["location"]
    basic = {"Authorization": f"Basic {b64(f'ada:{PASSWORD}')}"}
    assert (await hive.anonymous.head(url, headers={**TUS, **basic})).status_code == 200
    for answer in (
        await hive.anonymous.head(url, headers=TUS),
        await hive.anonymous.patch(url, headers={**PATCH, "Upload-Offset": "0"}, content=b"x"),
        await hive.anonymous.delete(url, headers=TUS),
    ):
        assert answer.status_code == 401


async def test_another_users_upload_is_not_there(hive, ada):
    url = (await create(ada)).headers["location"]
    eve = await hive.client("eve")
    await head(eve, url, expect=404)
    await patch(eve, url, 0, b"x", expect=404)
    assert (await eve.delete(url, headers=TUS)).status_code == 404
    partial = (await create(ada, 1, Upload_Concat="partial", body=b"")).headers["location"]
    await patch(ada, partial, 0, b"x")
    await create(eve, None, expect=404, Upload_Concat=f"final;{partial}")
    assert (await head(ada, url)).headers["upload-offset"] == "0"
    for wrong in ("/tus/nonsense", "/tus/" + "0" * 32, url + "/x", url.upper()):
        await head(ada, wrong, expect=404)


async def test_versions(ada):
    for headers in ({"Tus-Resumable": "0.2.2"}, {}):
        answer = await ada.post("/tus/", headers={**headers, "Upload-Length": "1"})
        assert (answer.status_code, answer.headers["tus-version"]) == (412, "1.0.0")


async def test_offsets_types_and_verbs(ada):
    url = (await create(ada)).headers["location"]
    wrong = await patch(ada, url, 3, b"x", expect=409)
    assert (wrong.headers["upload-offset"], wrong.json()["expected-offset"]) == ("0", 0)
    assert (await ada.patch(url, headers={**PATCH, "Upload-Offset": "-1"}, content=b"x")).status_code == 400
    assert (await ada.patch(url, headers=PATCH, content=b"x")).status_code == 400
    plain = {**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"}
    assert (await ada.patch(url, headers=plain, content=b"x")).status_code == 415
    for method, target in (("GET", url), ("POST", url), ("PATCH", "/tus/"), ("HEAD", "/tus/")):
        answer = await ada.request(method, target, headers=TUS)
        assert answer.status_code == 405
        assert "OPTIONS" in answer.headers["allow"]
    over = await ada.post(url, headers={**PATCH, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}, content=b"1")
    assert (over.status_code, over.headers["upload-offset"]) == (204, "1")


async def test_lengths(ada):
    await create(ada, None, expect=400)
    await create(ada, 5, expect=400, Upload_Defer_Length="1")
    await create(ada, None, expect=400, Upload_Defer_Length="2")
    await create(ada, "x", expect=400)
    await create(ada, 1 << 59, expect=413)
    url = (await create(ada, 3)).headers["location"]
    await patch(ada, url, 0, b"1234", expect=413)

    async def chunked():
        yield b"1234"

    await patch(ada, url, 0, chunked(), expect=413)
    assert (await head(ada, url)).headers["upload-offset"] == "0"


async def test_a_length_that_is_said_later(ada):
    url = (await create(ada, None, Upload_Defer_Length="1")).headers["location"]
    assert (await head(ada, url)).headers["upload-defer-length"] == "1"
    await patch(ada, url, 0, b"12")
    await patch(ada, url, 2, b"34", Upload_Length="5")
    await patch(ada, url, 4, b"5", Upload_Length="6", expect=400)
    assert (await head(ada, url)).headers["upload-length"] == "5"
    await patch(ada, url, 4, b"5")
    assert await content(ada) == b"12345"


async def test_a_creation_with_a_body(ada):
    made = await create(ada, 4, body=b"12", Content_Type="application/offset+octet-stream")
    assert made.headers["upload-offset"] == "2"
    await patch(ada, made.headers["location"], 2, b"34")
    assert await content(ada) == b"1234"
    whole = await create(
        ada, 2, body=b"ab", Content_Type="application/offset+octet-stream", Upload_Metadata=metadata(filename="g")
    )
    assert whole.headers["upload-offset"] == "2"
    assert await content(ada, "/g") == b"ab"
    empty = await create(ada, 0, Upload_Metadata=metadata(filename="empty"))
    assert empty.headers["upload-offset"] == "0"
    assert await content(ada, "/empty") == b""


async def test_a_creation_that_is_refused_leaves_nothing(hive, ada):
    kind = {"Content_Type": "application/offset+octet-stream"}
    await create(ada, 4, body=b"12345", expect=413, **kind)
    await create(ada, 4, body=b"12", expect=460, Upload_Checksum=f"md5 {b64(bytes(16))}", **kind)
    counts = await hive.hive.db.read(lambda tx: len(tx.rows(UPLOADS)))
    assert counts == 0


async def test_checksums(ada):
    body = b"0123456789"
    for name, value in (
        ("sha1", hashlib.sha1(body).digest()),
        ("sha256", hashlib.sha256(body).digest()),
        ("md5", hashlib.md5(body).digest()),
        ("crc32", zlib.crc32(body).to_bytes(4, "big")),
    ):
        path = f"/{name}"
        url = (await create(ada, Upload_Metadata=metadata(path=path))).headers["location"]
        wrong = bytes(len(value))
        await patch(ada, url, 0, body, expect=460, Upload_Checksum=f"{name} {b64(wrong)}")
        assert (await head(ada, url)).headers["upload-offset"] == "0"
        await patch(ada, url, 0, body, Upload_Checksum=f"{name} {b64(value)}")
        assert await content(ada, path) == body
    url = (await create(ada)).headers["location"]
    await patch(ada, url, 0, body, expect=400, Upload_Checksum="whirlpool AAAA")
    await patch(ada, url, 0, body, expect=400, Upload_Checksum="sha1 AAAA")


async def test_termination(hive, ada):
    url = (await create(ada)).headers["location"]
    await patch(ada, url, 0, b"01234")
    assert (await ada.delete(url, headers=TUS)).status_code == 204
    await head(ada, url, expect=404)
    assert (await ada.get("/api/filesystem/spaces")).json()["spaces"][0]["used_bytes"] == 0
    done = (await create(ada, 1)).headers["location"]
    await patch(ada, done, 0, b"x")
    assert (await ada.delete(done, headers=TUS)).status_code == 204
    assert await content(ada) == b"x"


async def test_expiration(hive, ada):
    url = (await create(ada)).headers["location"]
    hive.hive.clock.jump(8 * DAY_S)
    ada = await hive.login("ada")
    await head(ada, url, expect=410)
    await patch(ada, url, 0, b"x", expect=410)


async def test_concatenation(ada):
    async def piece(body):
        made = await create(ada, len(body), Upload_Concat="partial", Upload_Metadata="")
        await patch(ada, made.headers["location"], 0, body)
        return made.headers["location"]

    one, two = await piece(b"first "), await piece(b"second")
    assert (await head(ada, one)).headers["upload-concat"] == "partial"
    unfinished = (await create(ada, 5, Upload_Concat="partial")).headers["location"]
    await create(ada, None, expect=400, Upload_Concat=f"final;{one} {unfinished}")
    await create(ada, None, expect=404, Upload_Concat=f"final;{one} /tus/{'0' * 32}")
    await create(ada, None, expect=404, Upload_Concat=f"final;{one} https://elsewhere.example/x")
    await create(ada, 5, expect=400, Upload_Concat=f"final;{one} {two}")
    concat = f"final;http://hive.test{one} {two}"
    final = await create(ada, None, Upload_Concat=concat)
    assert await content(ada) == b"first second"
    now = await head(ada, final.headers["location"])
    assert (now.headers["upload-concat"], now.headers["upload-offset"], now.headers["upload-length"]) == (
        concat,
        "12",
        "12",
    )
    again = await create(ada, None, Upload_Concat=concat)
    assert again.headers["location"] == final.headers["location"]
    await patch(ada, final.headers["location"], 12, b"x", expect=400)


@pytest.mark.parametrize(
    ("given", "query", "path"),
    [
        ({"filename": "a.txt"}, {}, "/a.txt"),
        ({"filename": "a.txt"}, {"directory": "/d"}, "/d/a.txt"),
        ({"filename": "a.txt", "relativePath": "tree/a.txt"}, {"directory": "/d/"}, "/d/tree/a.txt"),
        ({"filename": "a.txt", "relativePath": "null"}, {}, "/a.txt"),
        ({"name": "ü.txt"}, {}, "/ü.txt"),
        ({"path": "/x/y"}, {"path": "/z"}, "/z"),
    ],
)
async def test_where_a_file_goes(ada, given, query, path):
    headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(**given)}
    made = await ada.post("/tus/", params=query, headers=headers)
    assert made.status_code == 201
    await patch(ada, made.headers["location"], 0, b"x")
    assert await content(ada, path) == b"x"


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Metadata": ""},
        {"Upload-Metadata": "path not-base64!"},
        {"Upload-Metadata": f"path {b64('/a')},path {b64('/b')}"},
        {"Upload-Metadata": f"filename {b64('../etc/passwd')}"},
        {"Upload-Metadata": f"path {b64('/a/../b')}"},
        {"Upload-Metadata": f"path {b64(b'/' + bytes([0xFF]))}"},
        {"Upload-Metadata": f"path {b64('/a')},modified_us {b64('soon')}"},
        {"Upload-Metadata": f"path {b64('/a')},space {b64('mine')}"},
        {"Upload-Concat": "partly"},
    ],
)
async def test_creations_that_make_no_sense(ada, headers):
    answer = await ada.post("/tus/", headers={**TUS, "Upload-Length": "1", **headers})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_quota_and_conditions(hive, ada):
    space = (await ada.get("/api/filesystem/spaces")).json()["spaces"][0]
    await hive.hive.filesystem.set_quota(admin(), parse_id(space["id"]), 8)
    full = await create(ada, 9, expect=507)
    assert full.json()["code"] == "quota-exceeded"
    url = (await create(ada, None, Upload_Defer_Length="1")).headers["location"]
    await patch(ada, url, 0, b"123456")
    await patch(ada, url, 6, b"7890", expect=507)
    assert (await head(ada, url)).headers["upload-offset"] == "6"
    await patch(ada, url, 6, b"7", Upload_Length="7")
    await create(ada, 1, expect=412, If_None_Match="*")
