"""Versions, CORS, forms, presigned URLs and attributes with Amazon's own SDK."""

from __future__ import annotations

import hashlib
import io

import httpx
import pytest
from botocore.exceptions import ClientError


def _code(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return str(raised.value.response["Error"]["Code"])


def test_versions_and_delete_markers(s3):
    client = s3.client()
    client.create_bucket(Bucket="versions")
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    assert client.get_bucket_versioning(Bucket="versions")["Status"] == "Enabled"
    ids = [client.put_object(Bucket="versions", Key="a/k", Body=body)["VersionId"] for body in (b"1", b"22", b"333")]
    client.put_object(Bucket="versions", Key="b", Body=b"b")
    for version, body in zip(ids, (b"1", b"22", b"333"), strict=True):
        got = client.get_object(Bucket="versions", Key="a/k", VersionId=version)
        assert (got["Body"].read(), got["VersionId"]) == (body, version)
    marker = client.delete_object(Bucket="versions", Key="a/k")
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket="versions", Key="a/k")
    assert _code(raised) == "NoSuchKey"
    assert client.get_object(Bucket="versions", Key="a/k", VersionId=ids[1])["Body"].read() == b"22"
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket="versions", Key="a/k", VersionId=marker["VersionId"])
    assert _code(raised) == "MethodNotAllowed"
    listed = client.list_object_versions(Bucket="versions")
    assert [(one["Key"], one["VersionId"], one["IsLatest"]) for one in listed["DeleteMarkers"]] == [
        ("a/k", marker["VersionId"], True)
    ]
    found = [(one["Key"], one["VersionId"], one["IsLatest"], one["Size"]) for one in listed["Versions"]]
    assert found[:3] == [("a/k", ids[2], False, 3), ("a/k", ids[1], False, 2), ("a/k", ids[0], False, 1)]
    assert (found[3][0], found[3][2]) == ("b", True)
    client.delete_object(Bucket="versions", Key="a/k", VersionId=marker["VersionId"])
    assert client.get_object(Bucket="versions", Key="a/k")["Body"].read() == b"333"
    client.delete_object(Bucket="versions", Key="a/k", VersionId=ids[2])
    assert client.get_object(Bucket="versions", Key="a/k")["Body"].read() == b"22"
    client.copy_object(
        Bucket="versions", Key="copy", CopySource={"Bucket": "versions", "Key": "a/k", "VersionId": ids[0]}
    )
    assert client.get_object(Bucket="versions", Key="copy")["Body"].read() == b"1"
    for version in ids[:2]:
        client.delete_object(Bucket="versions", Key="a/k", VersionId=version)
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket="versions", Key="a/k", VersionId=ids[0])
    assert _code(raised) == "NoSuchVersion"
    assert [one["Key"] for one in client.list_objects_v2(Bucket="versions")["Contents"]] == ["b", "copy"]
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket="versions", Key="b", VersionId="nonsense")
    assert _code(raised) == "InvalidArgument"


def test_versions_are_listed_in_pages(s3):
    client = s3.client()
    client.create_bucket(Bucket="version-pages")
    client.put_bucket_versioning(Bucket="version-pages", VersioningConfiguration={"Status": "Enabled"})
    for key in ("a/1", "a/2", "b", "c"):
        for body in (b"1", b"2"):
            client.put_object(Bucket="version-pages", Key=key, Body=body)
    client.delete_object(Bucket="version-pages", Key="b")
    pages = client.get_paginator("list_object_versions").paginate(
        Bucket="version-pages", PaginationConfig={"PageSize": 1, "MaxItems": 100}
    )
    entries = [one["Key"] for page in pages for one in page.get("Versions", [])]
    assert entries == ["a/1", "a/1", "a/2", "a/2", "b", "b", "c", "c"]
    page = client.list_object_versions(Bucket="version-pages", Delimiter="/")
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["a/"]
    assert {one["Key"] for one in page["Versions"]} == {"b", "c"}


def test_without_versioning_every_object_is_its_null_version(s3):
    client = s3.client()
    client.create_bucket(Bucket="no-versions")
    client.put_object(Bucket="no-versions", Key="k", Body=b"1")
    found = client.list_object_versions(Bucket="no-versions")["Versions"]
    assert [(one["Key"], one["VersionId"], one["IsLatest"]) for one in found] == [("k", "null", True)]
    assert client.get_object(Bucket="no-versions", Key="k", VersionId="null")["Body"].read() == b"1"
    client.delete_object(Bucket="no-versions", Key="k", VersionId="null")
    assert client.list_objects_v2(Bucket="no-versions")["KeyCount"] == 0


def test_cors(s3):
    client = s3.client()
    client.create_bucket(Bucket="cross")
    rule = {
        "AllowedOrigins": ["https://*.example.org"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["x-amz-*", "content-type"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 600,
    }
    client.put_bucket_cors(Bucket="cross", CORSConfiguration={"CORSRules": [rule]})
    assert client.get_bucket_cors(Bucket="cross")["CORSRules"] == [rule]
    ask = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "PUT"}
    url = f"{s3.endpoint}/cross/k"
    good = httpx.options(url, headers={**ask, "Access-Control-Request-Headers": "X-Amz-Date, content-type"})
    assert good.status_code == 200
    assert good.headers["access-control-allow-origin"] == "https://app.example.org"
    assert good.headers["access-control-max-age"] == "600"
    for bad in (
        {**ask, "Origin": "https://example.org.evil.test"},
        {**ask, "Access-Control-Request-Method": "DELETE"},
        {**ask, "Access-Control-Request-Headers": "authorization"},
    ):
        assert httpx.options(url, headers=bad).status_code == 403
    client.put_object(Bucket="cross", Key="k", Body=b"1")
    presigned = client.generate_presigned_url("get_object", Params={"Bucket": "cross", "Key": "k"})
    got = httpx.get(presigned, headers={"Origin": "https://app.example.org"})
    assert (got.content, got.headers["access-control-allow-origin"]) == (b"1", "https://app.example.org")
    assert got.headers["access-control-expose-headers"] == "ETag"
    assert "access-control-allow-origin" not in httpx.get(presigned, headers={"Origin": "https://else.test"}).headers
    client.delete_bucket_cors(Bucket="cross")
    assert httpx.options(url, headers=ask).status_code == 403


def test_a_form_with_a_policy(s3):
    client = s3.client()
    client.create_bucket(Bucket="forms")
    post = client.generate_presigned_post(
        "forms",
        "in/${filename}",
        Fields={"Content-Type": "text/x-form", "success_action_status": "201", "x-amz-meta-by": "form"},
        Conditions=[
            {"Content-Type": "text/x-form"},
            {"success_action_status": "201"},
            {"x-amz-meta-by": "form"},
            ["content-length-range", 2, 10],
        ],
    )
    url = f"{s3.endpoint}/forms"

    def send(body: bytes, **changed: str) -> httpx.Response:
        files = {"file": ("a b.txt", io.BytesIO(body), "text/plain")}
        return httpx.post(url, data={**post["fields"], **changed}, files=files)

    done = send(b"content")
    assert done.status_code == 201, done.text
    assert f"&quot;{hashlib.md5(b'content').hexdigest()}&quot;" in done.text
    got = client.get_object(Bucket="forms", Key="in/a b.txt")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"content", "text/x-form", {"by": "form"})
    for refused, code in (
        (send(b"much too long for it"), "EntityTooLarge"),
        (send(b"1"), "EntityTooSmall"),
        (send(b"content", key="else"), "AccessDenied"),
        (send(b"content", more="1"), "AccessDenied"),
        (send(b"content", **{"x-amz-signature": "0" * 64}), "SignatureDoesNotMatch"),
    ):
        assert f"<Code>{code}</Code>" in refused.text
    assert client.list_objects_v2(Bucket="forms")["KeyCount"] == 1


def test_presigned_urls(s3):
    client = s3.client()
    client.create_bucket(Bucket="presigned")
    put = client.generate_presigned_url("put_object", Params={"Bucket": "presigned", "Key": "a b/ü"}, ExpiresIn=60)
    assert httpx.put(put, content=b"signed").status_code == 200
    get = client.generate_presigned_url(
        "get_object",
        Params={"Bucket": "presigned", "Key": "a b/ü", "ResponseContentType": "text/plain"},
        ExpiresIn=60,
    )
    got = httpx.get(get)
    assert (got.content, got.headers["content-type"]) == (b"signed", "text/plain")
    assert httpx.get(get).content == b"signed"
    assert "SignatureDoesNotMatch" in httpx.put(get, content=b"other").text
    assert "SignatureDoesNotMatch" in httpx.get(get.replace("a%20b", "a%20c")).text
    assert "SignatureDoesNotMatch" in httpx.get(get.replace("X-Amz-Expires=60", "X-Amz-Expires=61")).text
    assert "not signed" in httpx.put(put, content=b"x", headers={"x-amz-meta-more": "1"}).text
    assert client.get_object(Bucket="presigned", Key="a b/ü")["Body"].read() == b"signed"


def test_attributes_of_an_object(s3):
    client = s3.client()
    client.create_bucket(Bucket="attributes")
    client.put_object(Bucket="attributes", Key="k", Body=b"hello", ChecksumAlgorithm="SHA256")
    found = client.get_object_attributes(
        Bucket="attributes", Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert (found["ETag"], found["ObjectSize"]) == (hashlib.md5(b"hello").hexdigest(), 5)
    assert found["Checksum"]["ChecksumSHA256"] == "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="


def test_virtual_hosts_have_their_bucket_in_the_name(s3):
    client = s3.client()
    client.create_bucket(Bucket="by-name")
    assert httpx.get(s3.endpoint, headers={"Host": "by-name.s3.test"}).status_code == 403


def test_keys_with_bounds(s3):
    client = s3.client()
    client.create_bucket(Bucket="bound")
    client.create_bucket(Bucket="other")
    client.put_object(Bucket="bound", Key="in/k", Body=b"1")
    reader = s3.new_key(scopes=["files:read"]).client()
    assert reader.get_object(Bucket="bound", Key="in/k")["Body"].read() == b"1"
    narrow = s3.new_key(bucket="bound", prefix="in/").client()
    narrow.put_object(Bucket="bound", Key="in/more", Body=b"2")
    assert narrow.list_objects_v2(Bucket="bound", Prefix="in/")["KeyCount"] == 2
    assert [one["Name"] for one in narrow.list_buckets()["Buckets"]] == ["bound"]
    for refused in (
        lambda: reader.put_object(Bucket="bound", Key="in/k", Body=b""),
        lambda: reader.delete_object(Bucket="bound", Key="in/k"),
        lambda: narrow.get_object(Bucket="bound", Key="out"),
        lambda: narrow.put_object(Bucket="bound", Key="out", Body=b""),
        lambda: narrow.list_objects_v2(Bucket="bound"),
        lambda: narrow.list_objects_v2(Bucket="other"),
        lambda: narrow.delete_bucket(Bucket="bound"),
        lambda: narrow.create_bucket(Bucket="new-one"),
        lambda: narrow.copy_object(Bucket="bound", Key="in/c", CopySource={"Bucket": "other", "Key": "k"}),
        lambda: narrow.put_bucket_versioning(Bucket="bound", VersioningConfiguration={"Status": "Enabled"}),
    ):
        with pytest.raises(ClientError) as raised:
            refused()
        assert _code(raised) == "AccessDenied"
    with s3.hive.client() as account:
        account.delete(f"/api/auth/access-keys/{s3.new_key().access_key}")
        gone = s3.new_key()
        gone.client().list_buckets()
        account.delete(f"/api/auth/access-keys/{gone.access_key}").raise_for_status()
    with pytest.raises(ClientError) as raised:
        gone.client().list_buckets()
    assert _code(raised) == "InvalidAccessKeyId"
