"""What bad input gets: S3's own answer, and nothing lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import pytest

from skep.auth import internal_principal
from skep.db import prepared
from skep.db.schema import access_keys, facts
from skep.filesystem import check
from skep.frontends.s3 import sigv4
from skep.frontends.s3.chunked import LINE_BYTES_MAX
from skep.testing.hive import PASSWORD
from skep.testing.s3 import code_of, signer_of, sigv4_date

MINUTE_US = 60_000_000


async def _content(ada, key: str = "/bucket/k") -> bytes | None:
    got = await ada.send("GET", key)
    return got.content if got.status_code == 200 else None


async def test_signatures_that_are_wrong(ada):
    good = ada.signed("GET", "/bucket")
    client = ada.client
    url = "http://hive.test/s3/bucket"
    assert (await client.get(url, headers=good)).status_code == 200
    for name, value, code in (
        ("authorization", good["authorization"][:-4] + "dead", "SignatureDoesNotMatch"),
        ("authorization", good["authorization"].replace(ada.access_key, "SKEPAAAAAAAAAAAAAAAA"), "InvalidAccessKeyId"),
        ("authorization", "AWS4-HMAC-SHA256 nonsense", "AuthorizationHeaderMalformed"),
        ("authorization", f"AWS {ada.access_key}:signature", "InvalidRequest"),
        ("authorization", "Bearer token", "InvalidRequest"),
        ("host", "elsewhere.test", "SignatureDoesNotMatch"),
        ("x-amz-content-sha256", "0" * 64, "SignatureDoesNotMatch"),
        ("x-amz-content-sha256", "nonsense", "InvalidArgument"),
        ("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"),
        ("x-amz-meta-smuggled", "1", "AccessDenied"),
        ("x-amz-security-token", "1", "AccessDenied"),
    ):  # fmt: skip
        answer = await client.get(url, headers={**good, name: value})
        assert code_of(answer) == code, (name, value, answer.text)
    without = {name: value for name, value in good.items() if name != "authorization"}
    assert code_of(await client.get(url, headers=without)) == "AccessDenied"
    assert code_of(await client.get(url + "?prefix=a", headers=good)) == "SignatureDoesNotMatch"
    assert code_of(await client.delete(url, headers=good)) == "SignatureDoesNotMatch"


async def test_a_header_that_comes_twice_is_signed_with_both_values(ada):
    good = ada.signed("PUT", "/bucket/k", headers={"x-amz-meta-a": "1"})
    twice = [*good.items(), ("x-amz-meta-a", "2")]
    answer = await ada.client.put("http://hive.test/s3/bucket/k", headers=twice)
    assert code_of(answer) == "SignatureDoesNotMatch"


async def test_clocks(ada, clock):
    for minutes, code in ((14, ""), (-14, ""), (16, "RequestTimeTooSkewed"), (-16, "RequestTimeTooSkewed")):
        ada.date = sigv4_date(clock.now_us() + minutes * MINUTE_US)
        assert code_of(await ada.send("GET", "/bucket")) == code


async def test_presigned_urls_last_as_long_as_they_say(ada, clock):
    await ada.send("PUT", "/bucket/k", body=b"1")
    url = ada.presigned("GET", "/bucket/k", "60")
    assert (await ada.client.get(url)).content == b"1"
    assert (await ada.client.get(url)).content == b"1"
    assert code_of(await ada.client.put(url, content=b"2")) == "SignatureDoesNotMatch"
    clock.jump(61)
    assert code_of(await ada.client.get(url)) == "AccessDenied"
    for expires in ("0", "604801", "-1", "1e3", ""):
        assert code_of(await ada.client.get(ada.presigned("GET", "/bucket/k", expires))) in (
            "AuthorizationQueryParametersError", "SignatureDoesNotMatch",
        )  # fmt: skip
    early = ada.presigned("GET", "/bucket/k", "60", sigv4_date(clock.now_us() + 16 * MINUTE_US))
    assert code_of(await ada.client.get(early)) == "AccessDenied"
    partial = ada.presigned("GET", "/bucket/k").replace("X-Amz-SignedHeaders=host&", "")
    assert code_of(await ada.client.get(partial)) == "AuthorizationQueryParametersError"
    double = ada.presigned("GET", "/bucket/k") + "&X-Amz-Expires=600"
    assert code_of(await ada.client.get(double)) == "AuthorizationQueryParametersError"


async def test_bodies_that_are_not_what_was_signed_or_declared(ada):
    await ada.send("PUT", "/bucket/k", body=b"old")
    other = hashlib.sha256(b"other").hexdigest()
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    for sent, code in (
        ({"payload": other}, "XAmzContentSHA256Mismatch"),
        ({"headers": {"content-md5": md5}}, "BadDigest"),
        ({"headers": {"content-md5": "nonsense"}}, "InvalidDigest"),
        ({"headers": {"x-amz-checksum-crc32": "AAAAAA=="}}, "BadDigest"),
        ({"headers": {"x-amz-checksum-crc32": "AAA="}}, "InvalidRequest"),
        ({"headers": {"x-amz-checksum-sha1": base64.b64encode(bytes(20)).decode()}}, "BadDigest"),
        ({"headers": {"x-amz-trailer": "x-amz-checksum-crc32"}}, "InvalidRequest"),
        ({"headers": {"x-amz-acl": "public-read"}}, "AccessControlListNotSupported"),
        ({"headers": {"x-amz-server-side-encryption": "aws:kms"}}, "NotImplemented"),
        ({"headers": {"x-amz-meta-a": "x" * 2050}}, "MetadataTooLarge"),
    ):
        answer = await ada.send("PUT", "/bucket/k", body=b"new", **sent)
        assert code_of(answer) == code, (sent, answer.text)
        assert await _content(ada) == b"old"


def _chunked(ada, data: bytes, trailer: bytes, *, payload: str) -> tuple[dict[str, str], bytes]:
    headers = {"x-amz-decoded-content-length": str(len(data)), "content-encoding": "aws-chunked"}
    if trailer:
        headers["x-amz-trailer"] = trailer.partition(b":")[0].decode()
    body = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(data), data, trailer)
    return headers, body


@pytest.mark.parametrize(
    ("trailer", "code"),
    [
        (b"x-amz-checksum-crc32:y/U6HA==", ""),
        (b"x-amz-checksum-crc32c:40s5pw==", "BadDigest"),
        (b"x-amz-checksum-sha1:98O8HYCOBHMqKGZRPF1tWuXaJIE=", "BadDigest"),
        (b"x-amz-checksum-crc32:AAAAAA==", "BadDigest"),
        (b"x-amz-checksum-crc32:", "InvalidRequest"),
        (b"x-amz-checksum-md5:AAAA", "InvalidRequest"),
    ],
)
async def test_trailers_are_verified(ada, trailer, code):
    data = b"123456789" if code == "" else b"12345678?"
    kind = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    headers, body = _chunked(ada, data, trailer, payload=kind)
    if code == "":
        headers_, body_ = headers, body.replace(b"y/U6HA==", base64.b64encode(bytes.fromhex("cbf43926")))
        answer = await ada.send("PUT", "/bucket/t", body=body_, headers=headers_, payload=kind)
        assert answer.status_code == 200, answer.text
        assert await _content(ada, "/bucket/t") == data
        got = await ada.send("GET", "/bucket/t", headers={"x-amz-checksum-mode": "ENABLED"})
        assert got.headers["x-amz-checksum-crc32"] == "y/Q5Jg=="
        assert "content-encoding" not in got.headers
        return
    answer = await ada.send("PUT", "/bucket/t", body=body, headers=headers, payload=kind)
    assert code_of(answer) == code
    assert await _content(ada, "/bucket/t") is None


async def test_chunked_bodies_that_are_broken(ada):
    kind = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    headers = {"x-amz-decoded-content-length": "3"}
    for body, code in (
        (b"3\r\nabc\r\n", "IncompleteBody"),
        (b"3\r\nabc\r\n0\r\n", "IncompleteBody"),
        (b"2\r\nab\r\n0\r\n\r\n", "IncompleteBody"),
        (b"4\r\nabcd\r\n0\r\n\r\n", "IncompleteBody"),
        (b"3\r\nabcd\r\n0\r\n\r\n", "InvalidRequest"),
        (b"zz\r\nabc\r\n0\r\n\r\n", "InvalidRequest"),
        (b"3;chunk-signature=00\r\nabc\r\n0\r\n\r\n", "InvalidRequest"),
        (b"x" * (LINE_BYTES_MAX + 1), "InvalidRequest"),
        (b"3\nabc\n0\n\n", "InvalidRequest"),
        (b"3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", "IncompleteBody"),
        (b"3\r\nabc\r\n0\r\n" + b"a:b\r\n" * 20 + b"\r\n", "InvalidRequest"),
    ):
        answer = await ada.send("PUT", "/bucket/broken", body=body, headers=headers, payload=kind)
        assert code_of(answer) == code, (body, answer.text)
    answer = await ada.send("PUT", "/bucket/broken", body=b"0\r\n\r\n", payload=kind)
    assert code_of(answer) == "MissingContentLength"
    assert await _content(ada, "/bucket/broken") is None


async def test_a_body_that_stops_half_way_leaves_the_old_object(ada, hive):
    await ada.send("PUT", "/bucket/half", body=b"old")
    for end, code in ((True, "IncompleteBody"), (False, "RequestTimeout")):
        headers = ada.signed("PUT", "/bucket/half", headers={"content-length": "1000"})
        scope = {
            "type": "http",
            "method": "PUT",
            "path": "/s3/bucket/half",
            "raw_path": b"/s3/bucket/half",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("hive.test", 80),
        }
        messages = [{"type": "http.request", "body": b"x" * 500, "more_body": not end}]
        sent: list[dict] = []

        async def receive(messages=messages) -> dict:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict, sent=sent) -> None:
            sent.append(message)

        await hive.hive.app(scope, receive, send)
        assert f"<Code>{code}</Code>".encode() in b"".join(one.get("body", b"") for one in sent)
        assert await _content(ada, "/bucket/half") == b"old"


async def test_a_quota_is_reached_in_the_middle(ada, hive):
    filesystem = hive.hive.filesystem
    user = await hive.hive.auth.get_user(internal_principal(), "ada")
    space = await filesystem.space_of_owner(internal_principal(), "personal", user.id)
    await filesystem.set_quota(internal_principal(), space.id, 1_000_000)
    await ada.send("PUT", "/bucket/q", body=b"old")
    answer = await ada.send("PUT", "/bucket/q", body=b"x" * 1_000_001)
    assert (answer.status_code, code_of(answer)) == (403, "QuotaExceeded")
    opened = await ada.send("POST", "/bucket/m", "uploads=")
    upload = opened.text.partition("<UploadId>")[2].partition("<")[0]
    first = await ada.send("PUT", "/bucket/m", f"partNumber=1&uploadId={upload}", body=b"x" * 600_000)
    assert first.status_code == 200
    second = await ada.send("PUT", "/bucket/m", f"partNumber=2&uploadId={upload}", body=b"x" * 600_000)
    assert code_of(second) == "QuotaExceeded"
    assert await _content(ada, "/bucket/q") == b"old"


async def test_an_upload_is_its_users_own(ada, hive, clock):
    await hive.user("bob")
    bob = await signer_of(hive, clock, "bob")
    await bob.send("PUT", "/bucket")
    opened = await ada.send("POST", "/bucket/m", "uploads=")
    upload = opened.text.partition("<UploadId>")[2].partition("<")[0]
    for method, query in (("PUT", "partNumber=1&"), ("GET", ""), ("DELETE", "")):
        answer = await bob.send(method, "/bucket/m", f"{query}uploadId={upload}", body=b"1" if query else b"")
        assert code_of(answer) == "NoSuchUpload"
    assert (await ada.send("GET", "/bucket/m", f"uploadId={upload}")).status_code == 200


async def test_buckets_are_of_their_space(ada, hive, clock):
    await ada.send("PUT", "/bucket/k", body=b"ada's")
    await hive.user("bob")
    bob = await signer_of(hive, clock, "bob")
    assert code_of(await bob.send("GET", "/bucket/k")) == "NoSuchBucket"
    group = await hive.hive.auth.create_group(internal_principal(), "club")
    await hive.hive.auth.add_member(internal_principal(), "club", "bob")
    space = await hive.hive.filesystem.space_of_owner(internal_principal(), "group", group.id)
    club = await signer_of(hive, clock, "bob", space_id=space.id)
    await club.send("PUT", "/club-bucket")
    assert (await club.send("PUT", "/club-bucket/k", body=b"club's")).status_code == 200
    assert (await club.send("GET", "/club-bucket/k")).content == b"club's"
    opened = await club.send("POST", "/club-bucket/m", "uploads=")
    upload = opened.text.partition("<UploadId>")[2].partition("<")[0]
    assert code_of(await bob.send("GET", "/club-bucket/m", f"uploadId={upload}")) == "NoSuchUpload"
    await hive.hive.auth.remove_member(internal_principal(), "club", "bob")
    assert code_of(await club.send("GET", "/club-bucket/k")) == "AccessDenied"


async def test_paths_that_escape(ada):
    await ada.send("PUT", "/bucket/k", body=b"1")
    for path in ("/bucket/../bucket/k", "/bucket/%2e%2e/bucket/k", "/bucket/a/%2E%2E/k", "/bucket//k", "/bucket/./k"):
        raw = path.replace("/bucket/../", "/bucket/%2e%2e/").replace("/./", "/%2e/")
        assert code_of(await ada.send("PUT", raw, body=b"2")) == "XSkepKeyNotAPath", path
        assert code_of(await ada.send("GET", raw)) == "NoSuchKey", path
    assert code_of(await ada.send("PUT", "/bucket/%ff", body=b"2")) == "XSkepKeyNotAPath"
    assert code_of(await ada.send("PUT", "/bucket/a%00b", body=b"2")) == "XSkepKeyNotAPath"
    assert await _content(ada) == b"1"


async def test_two_forms_of_one_letter_are_two_keys(ada):
    for key, body in (("%C3%A9", b"composed"), ("e%CC%81", b"two marks")):
        assert (await ada.send("PUT", f"/bucket/{key}", body=body)).status_code == 200
    assert await _content(ada, "/bucket/%C3%A9") == b"composed"
    assert await _content(ada, "/bucket/e%CC%81") == b"two marks"


async def test_hostile_xml(ada):
    laughs = b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>'
    deep = b"<Delete>" + b"<a>" * 100 + b"</a>" * 100 + b"</Delete>"
    many = b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>"
    for body in (laughs, deep, many, b"", b"nonsense", b"<Other/>", b"<Delete/>"):
        assert code_of(await ada.send("POST", "/bucket", "delete=", body=body)) == "MalformedXML"
    answer = await ada.send("POST", "/bucket", "delete=", body=b"x" * (5 << 20))
    assert code_of(answer) in ("EntityTooLarge", "MalformedXML")


async def test_a_host_name_can_be_the_bucket(ada):
    await ada.send("PUT", "/bucket/deep/key", body=b"by name")
    ada.base = ""
    headers = {"host": "bucket.s3.test"}
    signed = ada.signed("GET", "/deep/key", headers=headers)
    got = await ada.client.get("http://hive.test/deep/key", headers=signed)
    assert got.content == b"by name"
    signed = ada.signed("GET", "/bucket/deep/key", headers={"host": "s3.test"})
    assert (await ada.client.get("http://hive.test/bucket/deep/key", headers=signed)).content == b"by name"
    signed = ada.signed("GET", "/", headers={"host": "s3.test"})
    assert "<Name>bucket</Name>" in (await ada.client.get("http://hive.test/", headers=signed)).text


async def test_the_hive_s_own_failures_are_told_in_s3_s_words(ada):
    answer = await ada.send("GET", "/bucket/nothing")
    assert answer.headers["content-type"] == "application/xml"
    assert "<RequestId>" in answer.text
    head = await ada.send("HEAD", "/bucket/nothing")
    assert (head.status_code, head.content) == (404, b"")
    assert code_of(await ada.send("PATCH", "/bucket/k")) == "MethodNotAllowed"
    assert code_of(await ada.send("GET", "/bucket", "max-keys=many")) == "InvalidArgument"
    assert code_of(await ada.send("GET", "/bucket", "list-type=2&continuation-token=%21")) == "InvalidArgument"
    assert code_of(await ada.send("GET", "/bucket", "prefix=%ff")) == "InvalidArgument"


async def test_secrets_are_sealed_and_not_logged(ada, hive):
    rows = await hive.hive.db.read(
        lambda tx: tx.rows(prepared(access_keys.select().with_only_columns(access_keys.c.sealed_secret)))
    )
    assert rows
    assert all(ada.secret.encode() not in bytes(row[0]) for row in rows)
    grant = await hive.hive.auth.access_key(ada.access_key)
    assert grant.secret == ada.secret
    assert ada.secret not in repr(grant)
    assert sigv4.signing_key(ada.secret, "20260101", "x") != sigv4.signing_key(ada.secret, "20260102", "x")


async def test_what_is_refused_at_the_edge_is_told_in_s3_s_words_too(ada, hive):
    hive.hive.edge.stopping = True
    answer = await ada.send("GET", "/bucket")
    assert (answer.status_code, code_of(answer)) == (503, "ServiceUnavailable")
    assert (await ada.client.get("/api/auth/me")).json()["code"] == "shutting-down"
    hive.hive.edge.stopping = False


async def test_a_lock_of_another_door_is_kept(ada, hive):
    await ada.send("PUT", "/bucket/locked", body=b"old")
    pair = await hive.hive.auth.login("ada", PASSWORD)
    client = hive.anonymous
    body = (
        '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype>'
        "</d:lockinfo>"
    )
    bearer = {"authorization": f"Bearer {pair.access_token}"}
    assert (await client.request("LOCK", "/dav/bucket/locked", content=body, headers=bearer)).status_code == 200
    assert code_of(await ada.send("PUT", "/bucket/locked", body=b"new")) == "XSkepLocked"
    assert code_of(await ada.send("DELETE", "/bucket/locked")) == "XSkepLocked"
    assert await _content(ada, "/bucket/locked") == b"old"


async def test_nothing_is_left_of_what_was_deleted_for_good(ada, hive):
    filesystem = hive.hive.filesystem
    headers = {"x-amz-meta-a": "1"}
    for number in range(3):
        await ada.send("PUT", "/bucket/d/k", body=b"%d" % number, headers=headers)
    await ada.send("PUT", "/bucket/e/", headers=headers)
    for key in ("/bucket/d/k", "/bucket/e/"):
        assert (await ada.send("DELETE", key)).status_code == 204
    pair = await hive.hive.auth.login("ada", PASSWORD)
    await filesystem.empty_trash(await hive.hive.auth.authenticate_token(pair.access_token))
    rows = await hive.hive.db.read(lambda tx: tx.rows(prepared(facts.select())))
    assert rows == []
    assert (await ada.send("DELETE", "/bucket")).status_code == 204
    assert [finding async for finding in check(hive.hive.db)] == []
