"""Shares and other spaces over S3: buckets under their ids, for access keys that were made for them; copies across."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from skep.auth.records import EVERY_SPACE
from skep.base.ids import parse_id
from skep.testing.hive import TestHive
from skep.testing.s3 import Signer, code_of, signer_of


@dataclass
class Two:
    """ada, who shares /private/Pictures; bob, who holds it."""

    ada: httpx.AsyncClient
    bob: httpx.AsyncClient
    share: str
    club: str
    hive: TestHive
    clock: Any

    async def key(self, **bounds: object) -> Signer:
        return await signer_of(self.hive, self.clock, "bob", **bounds)

    async def share_as(self, rights: str) -> None:
        shared = (await self.ada.get("/api/filesystem/shares")).json()["shares"][0]["id"]
        answer = await self.ada.patch(f"/api/filesystem/shares/{shared}", json={"rights": rights})
        assert answer.status_code == 200, answer.text


@pytest.fixture
async def two(hive: TestHive, clock: Any) -> Two:
    ada, bob = await hive.client("ada"), await hive.client("bob")
    admin = await hive.client("root", is_admin=True)
    await admin.post("/api/auth/groups", json={"name": "club"})
    for name in ("ada", "bob"):
        await admin.put(f"/api/auth/groups/club/members/{name}", json={})
    for path, content in (
        ("/private/Pictures/a.txt", b"aa"),
        ("/private/Pictures/d/b.txt", b"bb"),
        ("/private/x", b"x"),
    ):
        await ada.put("/api/filesystem/data", params={"path": path}, content=content)
    given = {"path": "/private/Pictures", "user": "bob", "rights": "write"}
    assert (await ada.post("/api/filesystem/shares", json=given)).status_code == 201
    held = (await bob.get("/api/filesystem/shares/held")).json()["shares"][0]["id"]
    await bob.post(f"/api/filesystem/shares/held/{held}", json={"accept": True})
    spaces = (await bob.get("/api/filesystem/spaces")).json()["spaces"]
    club = next(space["id"] for space in spaces if space["kind"] == "group")
    bob.headers["authorization"] = (await hive.login("bob")).headers["authorization"]
    ada.headers["authorization"] = (await hive.login("ada")).headers["authorization"]
    return Two(ada, bob, held, club, hive, clock)


def names(answer: httpx.Response, tag: str = "Key") -> list[str]:
    return re.findall(f"<{tag}>([^<]*)</{tag}>", answer.text)


async def test_a_share_is_a_bucket_for_a_key_that_was_made_for_it(two: Two) -> None:
    key = await two.key(space_id=parse_id(two.share))
    bucket = f"/{two.share}"
    assert names(await key.send("GET", "/"), "Name") == [two.share]
    assert (await key.send("HEAD", bucket)).status_code == 200
    listed = await key.send("GET", bucket, "list-type=2")
    assert names(listed) == ["a.txt", "d/b.txt"]
    assert names(await key.send("GET", bucket, "delimiter=%2F&list-type=2"), "Prefix")[-1] == "d/"
    assert (await key.send("GET", f"{bucket}/d/b.txt")).content == b"bb"
    made = await key.send("PUT", f"{bucket}/new/c.txt", body=b"ccc", headers={"x-amz-meta-who": "bob"})
    assert made.status_code == 200, made.text
    assert (await key.send("HEAD", f"{bucket}/new/c.txt")).headers["x-amz-meta-who"] == "bob"
    seen = await two.ada.get("/api/filesystem/data", params={"path": "/private/Pictures/new/c.txt"})
    assert seen.content == b"ccc"
    assert (await key.send("DELETE", f"{bucket}/new/c.txt")).status_code == 204
    assert names(await key.send("GET", bucket, "list-type=2")) == ["a.txt", "d/b.txt"]
    for name in ("a.txt", "d/b.txt"):
        assert (await key.send("DELETE", f"{bucket}/{name}")).status_code == 204
    left = (await two.ada.get("/api/filesystem/info", params={"path": "/private"})).json()
    assert [one["name"] for one in left["dirs"]] == ["Pictures"], "what is shared stays, however empty"


async def test_nothing_above_a_share_is_told(two: Two) -> None:
    key = await two.key(space_id=EVERY_SPACE)
    for path in ("/none", "/..%2Fx", "/%2E%2E/x", "/none/x"):
        for method in ("GET", "DELETE"):
            answer = await key.send(method, f"/{two.share}{path}")
            assert "private" not in answer.text
            assert answer.status_code in (204, 400, 404), answer.text
    assert "private" not in (await key.send("GET", f"/{two.share}", "versions")).text


async def test_uploads_in_parts_go_into_a_share(two: Two) -> None:
    key = await two.key(space_id=EVERY_SPACE)
    target = f"/{two.share}/d/parts.bin"
    upload = names(await key.send("POST", target, "uploads"), "UploadId")[0]
    assert names(await key.send("GET", f"/{two.share}", "uploads")) == ["d/parts.bin"]
    part = await key.send("PUT", target, f"partNumber=1&uploadId={upload}", body=b"part")
    named = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>"
    done = await key.send("POST", target, f"uploadId={upload}", body=document.encode())
    assert done.status_code == 200, done.text
    assert (await key.send("GET", target)).content == b"part"


async def test_copies_go_from_space_to_space(two: Two) -> None:
    key = await two.key(space_id=EVERY_SPACE)
    assert (await key.send("PUT", "/mine")).status_code == 200
    assert sorted(names(await key.send("GET", "/"), "Name")) == sorted(["mine", two.share, two.club])
    ways = [
        (f"/{two.share}/a.txt", "/mine/a.txt"),
        ("/mine/a.txt", f"/{two.share}/copy/a.txt"),
        (f"/{two.share}/a.txt", f"/{two.club}/a.txt"),
        (f"/{two.share}/a.txt", f"/{two.share}/same/a.txt"),
    ]
    for source, target in ways:
        copied = await key.send("PUT", target, headers={"x-amz-copy-source": source})
        assert copied.status_code == 200, copied.text
        assert (await key.send("GET", target)).content == b"aa"
        assert names(copied, "ETag") == [f"{(await key.send('HEAD', source)).headers['etag']}".replace('"', "&quot;")]
    await key.send("PUT", "/mine/b", body=b"long", headers={"x-amz-meta-k": "v", "content-type": "text/x-k"})
    stale = {"x-amz-copy-source": "/mine/b", "x-amz-copy-source-if-none-match": "*"}
    assert code_of(await key.send("PUT", f"/{two.share}/b", headers=stale)) == "PreconditionFailed"
    await key.send("PUT", f"/{two.share}/b", headers={"x-amz-copy-source": "/mine/b"})
    head = (await key.send("HEAD", f"/{two.share}/b")).headers
    assert (head["x-amz-meta-k"], head["content-type"]) == ("v", "text/x-k")
    upload = names(await key.send("POST", f"/{two.share}/p", "uploads"), "UploadId")[0]
    part = await key.send(
        "PUT", f"/{two.share}/p", f"partNumber=1&uploadId={upload}", headers={"x-amz-copy-source": "/mine/b"}
    )
    assert part.status_code == 200, part.text


async def test_rights_of_a_share_hold_and_end_with_it(two: Two) -> None:
    key = await two.key(space_id=EVERY_SPACE)
    await two.share_as("read")
    assert (await key.send("GET", f"/{two.share}/a.txt")).status_code == 200
    for method, headers in (("PUT", {}), ("DELETE", {}), ("PUT", {"x-amz-copy-source": f"/{two.share}/d/b.txt"})):
        refused = await key.send(method, f"/{two.share}/a.txt", headers=headers)
        assert code_of(refused) == "AccessDenied", refused.text
    await two.bob.post(f"/api/filesystem/shares/held/{two.share}", json={"accept": False})
    for path in ("/a.txt", ""):
        gone = await key.send("GET", f"/{two.share}{path}")
        assert gone.status_code in (403, 404), gone.text
    assert two.share not in (await key.send("GET", "/")).text


async def test_keys_that_were_not_made_for_it_do_not_reach_it(two: Two) -> None:
    own = await two.key()
    club = await two.key(space_id=parse_id(two.club))
    for key in (own, club):
        assert code_of(await key.send("GET", f"/{two.share}/a.txt")) == "NoSuchBucket"
        assert two.share not in (await key.send("GET", "/")).text
    await own.send("PUT", "/mine")
    stolen = await own.send("PUT", "/mine/a", headers={"x-amz-copy-source": f"/{two.share}/a.txt"})
    assert code_of(stolen) == "NoSuchBucket"
    bound = await two.key(space_id=EVERY_SPACE, bucket="mine")
    refused = await bound.send("PUT", "/mine/a", headers={"x-amz-copy-source": f"/{two.share}/a.txt"})
    assert code_of(refused) == "AccessDenied"
    one = await two.key(space_id=EVERY_SPACE, bucket=two.share, prefix="d/")
    assert (await one.send("GET", f"/{two.share}/d/b.txt")).status_code == 200
    assert code_of(await one.send("GET", f"/{two.share}/a.txt")) == "AccessDenied"


async def test_a_space_as_a_bucket_has_no_settings(two: Two) -> None:
    key = await two.key(space_id=EVERY_SPACE)
    on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    for bucket in (two.share, two.club):
        assert code_of(await key.send("PUT", f"/{bucket}", "versioning", body=on)) == "AccessDenied"
        assert code_of(await key.send("DELETE", f"/{bucket}")) == "AccessDenied"
        assert code_of(await key.send("PUT", f"/{bucket}")) == "BucketAlreadyOwnedByYou"
        assert (await key.send("GET", f"/{bucket}", "versioning")).status_code == 200
    unknown = "01890000-0000-7000-8000-000000000000"
    assert (await key.send("GET", f"/{unknown}/x")).status_code in (403, 404)
