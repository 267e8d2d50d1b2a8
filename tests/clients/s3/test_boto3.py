"""Amazon's own SDK for Python against the S3 door."""

from __future__ import annotations

import hashlib
import os
import random

import httpx
import pytest
from botocore.exceptions import ClientError


def _code(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return str(raised.value.response["Error"]["Code"])


def _status(raised: pytest.ExceptionInfo[ClientError]) -> int:
    return int(raised.value.response["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.parametrize("own_port", [True, False], ids=["port", "path"])
def test_an_object_goes_in_and_comes_back(s3, own_port):
    client = s3.client("" if own_port else f"{s3.hive.url}/s3")
    bucket = f"there-and-back-{int(own_port)}"
    client.create_bucket(Bucket=bucket)
    key, body = "Ünder/a b+c&d=?#%25/[x]~'(1).txt", b"hello" * 1000
    put = client.put_object(
        Bucket=bucket, Key=key, Body=body, Metadata={"Colour": "green"}, ContentType="text/x-thing",
        CacheControl="max-age=7", ContentDisposition='attachment; filename="a.txt"', ContentLanguage="de",
    )  # fmt: skip
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = client.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == body
    assert got["ETag"] == put["ETag"]
    assert got["Metadata"] == {"colour": "green"}
    assert (got["ContentType"], got["CacheControl"], got["ContentLanguage"]) == ("text/x-thing", "max-age=7", "de")
    assert got["ContentDisposition"] == 'attachment; filename="a.txt"'
    assert client.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    assert [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


def test_what_goes_in_here_is_a_file_there_at_once(s3, dav: httpx.Client):
    client = s3.client()
    client.create_bucket(Bucket="one-namespace")
    client.put_object(Bucket="one-namespace", Key="dir/a.txt", Body=b"one")
    client.put_object(Bucket="one-namespace", Key="dir/a.txt", Body=b"two")
    node = dav.get("/api/filesystem/info", params={"path": "/one-namespace/dir/a.txt"}).json()["info"]
    assert node["version"] == 2 if "version" in node else node["version_number"] == 2
    assert dav.get("/api/filesystem/data", params={"path": "/one-namespace/dir/a.txt"}).content == b"two"
    dav.put("/api/filesystem/data", params={"path": "/one-namespace/b.txt"}, content=b"from there")
    got = client.get_object(Bucket="one-namespace", Key="b.txt")
    assert got["Body"].read() == b"from there"
    assert got["ETag"] == f'"{hashlib.md5(b"from there").hexdigest()}"'


def test_a_large_file_of_another_door_has_an_opaque_etag(s3, dav: httpx.Client):
    client = s3.client()
    client.create_bucket(Bucket="opaque")
    dav.put("/api/filesystem/data", params={"path": "/opaque/big"}, content=os.urandom(3 << 20))
    tag = client.head_object(Bucket="opaque", Key="big")["ETag"].strip('"')
    assert tag.endswith("-0")
    assert client.list_objects_v2(Bucket="opaque")["Contents"][0]["ETag"].strip('"') == tag


def test_listing_is_in_the_order_of_whole_keys(s3):
    client = s3.client()
    client.create_bucket(Bucket="order")
    chance = random.Random(7)
    names = ["a", "a-b", "a.b", "ab", "a b", "b", "é", "~", "a0", "𐍈"]
    keys = set()
    for name in names:
        for tail in ("", "/x", "/x/y", "-1/z"):
            key = name + tail
            if any(key.startswith(other + "/") or other.startswith(key + "/") for other in keys):
                continue
            keys.add(key)
    for key in sorted(keys, key=lambda _: chance.random()):
        client.put_object(Bucket="order", Key=key, Body=b"")
    wanted = sorted(keys, key=str.encode)
    for size in (1, 2, 3, 1000):
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket="order", PaginationConfig={"PageSize": size, "MaxItems": 500}
        )
        assert [one["Key"] for page in pages for one in page.get("Contents", [])] == wanted
        pages = client.get_paginator("list_objects").paginate(
            Bucket="order", PaginationConfig={"PageSize": size, "MaxItems": 500}
        )
        assert [one["Key"] for page in pages for one in page.get("Contents", [])] == wanted
    for start in wanted:
        page = client.list_objects_v2(Bucket="order", StartAfter=start)
        assert [one["Key"] for one in page.get("Contents", [])] == [key for key in wanted if key > start]


@pytest.mark.parametrize("delimiter", ["/", "-", "x/"])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "zz", "a/b-"])
def test_prefixes_and_delimiters(s3, prefix, delimiter):
    client = s3.client()
    keys = ["a/b", "a/b-c/d", "a/bx/e-f", "a-/g", "h", "zz/1", "zz/2/3"]
    bucket = "delimited"
    if bucket not in [one["Name"] for one in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
        for key in keys:
            client.put_object(Bucket=bucket, Key=key, Body=b"1")
    below = sorted(key for key in keys if key.startswith(prefix))
    rolled, plain = [], []
    for key in below:
        at = key.find(delimiter, len(prefix))
        if at < 0:
            plain.append(key)
        elif key[: at + len(delimiter)] not in rolled:
            rolled.append(key[: at + len(delimiter)])
    for size in (1, 2, 1000):
        for kind in ("list_objects", "list_objects_v2"):
            pages = list(
                client.get_paginator(kind).paginate(
                    Bucket=bucket,
                    Prefix=prefix,
                    Delimiter=delimiter,
                    PaginationConfig={"PageSize": size, "MaxItems": 500},
                )
            )
            assert [one["Key"] for page in pages for one in page.get("Contents", [])] == plain
            assert [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", [])] == rolled


def test_ranges_and_conditions(s3):
    client = s3.client()
    client.create_bucket(Bucket="ranges")
    body = random.Random(1).randbytes(300_000)
    tag = client.put_object(Bucket="ranges", Key="k", Body=body)["ETag"]
    for text, start, stop in (("0-0", 0, 1), ("5-9", 5, 10), ("299990-", 299_990, 300_000), ("-5", 299_995, 300_000)):
        got = client.get_object(Bucket="ranges", Key="k", Range=f"bytes={text}")
        assert got["Body"].read() == body[start:stop]
        assert got["ContentRange"] == f"bytes {start}-{stop - 1}/300000"
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket="ranges", Key="k", Range="bytes=300000-")
    assert (_code(raised), _status(raised)) == ("InvalidRange", 416)
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket="ranges", Key="k", IfMatch='"no"')
    assert (_code(raised), _status(raised)) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as raised:
        client.get_object(Bucket="ranges", Key="k", IfNoneMatch=tag)
    assert _status(raised) == 304
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="ranges", Key="k", Body=b"", IfNoneMatch="*")
    assert _code(raised) == "PreconditionFailed"
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="ranges", Key="k", Body=b"", IfMatch='"other"')
    assert _code(raised) == "PreconditionFailed"
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="ranges", Key="nothing", Body=b"", IfMatch=tag)
    assert _code(raised) == "NoSuchKey"
    client.put_object(Bucket="ranges", Key="k", Body=b"new", IfMatch=tag)
    client.put_object(Bucket="ranges", Key="new", Body=b"new", IfNoneMatch="*")
    assert client.get_object(Bucket="ranges", Key="k")["Body"].read() == b"new"


def test_copies_take_their_description_along_or_a_new_one(s3):
    client = s3.client()
    client.create_bucket(Bucket="copies")
    client.put_object(Bucket="copies", Key="a/b", Body=b"x", Metadata={"m": "1"}, ContentType="text/css", Tagging="t=1")
    source = {"Bucket": "copies", "Key": "a/b"}
    made = client.copy_object(Bucket="copies", Key="c/d", CopySource=source)["CopyObjectResult"]
    assert made["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"'
    got = client.get_object(Bucket="copies", Key="c/d")
    assert (got["Metadata"], got["ContentType"], got["TagCount"]) == ({"m": "1"}, "text/css", 1)
    replaced = {"MetadataDirective": "REPLACE", "Metadata": {"n": "2"}, "ContentType": "text/html"}
    client.copy_object(Bucket="copies", Key="a/b", CopySource=source, **replaced)
    got = client.get_object(Bucket="copies", Key="a/b")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"x", {"n": "2"}, "text/html")
    with pytest.raises(ClientError) as raised:
        client.copy_object(Bucket="copies", Key="a/b", CopySource=source)
    assert _code(raised) == "InvalidRequest"
    with pytest.raises(ClientError) as raised:
        client.copy_object(Bucket="copies", Key="e", CopySource=source, CopySourceIfMatch='"no"')
    assert _code(raised) == "PreconditionFailed"
    with pytest.raises(ClientError) as raised:
        client.copy_object(Bucket="copies", Key="e", CopySource={"Bucket": "copies", "Key": "nothing"})
    assert _code(raised) == "NoSuchKey"


def test_tags_of_objects_and_buckets(s3):
    client = s3.client()
    client.create_bucket(Bucket="tagged")
    client.put_object(Bucket="tagged", Key="k", Body=b"", Tagging="a=1&b=two%20words")
    found = client.get_object_tagging(Bucket="tagged", Key="k")["TagSet"]
    assert found == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "two words"}]
    client.put_object_tagging(Bucket="tagged", Key="k", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert client.get_object_tagging(Bucket="tagged", Key="k")["TagSet"] == [{"Key": "c", "Value": "3"}]
    client.delete_object_tagging(Bucket="tagged", Key="k")
    assert client.get_object_tagging(Bucket="tagged", Key="k")["TagSet"] == []
    with pytest.raises(ClientError) as raised:
        client.put_object_tagging(
            Bucket="tagged", Key="k", Tagging={"TagSet": [{"Key": str(n), "Value": ""} for n in range(11)]}
        )
    assert _code(raised) == "InvalidTag"
    with pytest.raises(ClientError) as raised:
        client.get_bucket_tagging(Bucket="tagged")
    assert _code(raised) == "NoSuchTagSet"
    client.put_bucket_tagging(Bucket="tagged", Tagging={"TagSet": [{"Key": "of", "Value": "bucket"}]})
    assert client.get_bucket_tagging(Bucket="tagged")["TagSet"] == [{"Key": "of", "Value": "bucket"}]


def test_buckets(s3):
    client = s3.client()
    client.create_bucket(Bucket="my-bucket")
    with pytest.raises(ClientError) as raised:
        client.create_bucket(Bucket="my-bucket")
    assert _code(raised) == "BucketAlreadyOwnedByYou"
    with pytest.raises(ClientError) as raised:
        client.create_bucket(Bucket="My_Bucket")
    assert _code(raised) == "InvalidBucketName"
    assert "LocationConstraint" in client.get_bucket_location(Bucket="my-bucket")
    client.head_bucket(Bucket="my-bucket")
    client.put_object(Bucket="my-bucket", Key="k", Body=b"")
    with pytest.raises(ClientError) as raised:
        client.delete_bucket(Bucket="my-bucket")
    assert _code(raised) == "BucketNotEmpty"
    client.delete_object(Bucket="my-bucket", Key="k")
    client.delete_object(Bucket="my-bucket", Key="k")
    client.delete_bucket(Bucket="my-bucket")
    for call in (client.delete_bucket, client.list_objects_v2, client.get_bucket_location):
        with pytest.raises(ClientError) as raised:
            call(Bucket="my-bucket")
        assert (_code(raised), _status(raised)) == ("NoSuchBucket", 404)
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="my-bucket", Key="k", Body=b"")
    assert _code(raised) == "NoSuchBucket"
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="my-bucket", Key="deep/er/k", Body=os.urandom(400_000))
    assert _code(raised) == "NoSuchBucket"


def test_directories_are_keys_with_a_slash_at_the_end(s3, dav: httpx.Client):
    client = s3.client()
    client.create_bucket(Bucket="folders")
    client.put_object(Bucket="folders", Key="marked/", Body=b"", Metadata={"mode": "16877"})
    assert client.head_object(Bucket="folders", Key="marked/")["Metadata"] == {"mode": "16877"}
    client.put_object(Bucket="folders", Key="marked/in/it", Body=b"1")
    dav.post("/api/filesystem/tree/directory", json={"path": "/folders/empty"})
    keys = [one["Key"] for one in client.list_objects_v2(Bucket="folders")["Contents"]]
    assert [key for key in keys if key != "empty/"] == ["marked/", "marked/in/it"]
    assert client.list_objects_v2(Bucket="folders", Prefix="marked/", Delimiter="/")["Contents"][0]["Key"] == "marked/"
    client.delete_object(Bucket="folders", Key="marked/in/it")
    assert client.list_objects_v2(Bucket="folders", Prefix="marked")["KeyCount"] == 1
    client.delete_object(Bucket="folders", Key="marked/")
    assert client.list_objects_v2(Bucket="folders", Prefix="marked")["KeyCount"] == 0
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="folders", Key="not/", Body=b"content")
    assert _code(raised) == "InvalidArgument"


def test_keys_that_cannot_be_paths_are_refused(s3):
    client = s3.client()
    client.create_bucket(Bucket="no-path")
    for key in ("a//b", "/a", "a/../b", "./a", "a/" + "x" * 256):
        with pytest.raises(ClientError) as raised:
            client.put_object(Bucket="no-path", Key=key, Body=b"")
        assert (_code(raised), _status(raised)) == ("XSkepKeyNotAPath", 400)
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="no-path", Key="k/" * 513, Body=b"")
    assert _code(raised) == "KeyTooLongError"
    client.put_object(Bucket="no-path", Key="file", Body=b"")
    client.put_object(Bucket="no-path", Key="dir/file", Body=b"")
    for key in ("file/below", "dir"):
        with pytest.raises(ClientError) as raised:
            client.put_object(Bucket="no-path", Key=key, Body=b"")
        assert (_code(raised), _status(raised)) == ("XSkepKeyIsPrefix", 409)
    for key in ("a//b", "file/below", "dir"):
        with pytest.raises(ClientError) as raised:
            client.get_object(Bucket="no-path", Key=key)
        assert _code(raised) == "NoSuchKey"
        client.delete_object(Bucket="no-path", Key=key)


def test_what_is_not_configured_answers_as_s3_does(s3):
    client = s3.client()
    client.create_bucket(Bucket="plain")
    for call, code in (
        (client.get_bucket_policy, "NoSuchBucketPolicy"),
        (client.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (client.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
        (client.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
        (client.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (client.get_bucket_cors, "NoSuchCORSConfiguration"),
    ):
        with pytest.raises(ClientError) as raised:
            call(Bucket="plain")
        assert (_code(raised), _status(raised)) == (code, 404)
    assert "Status" not in client.get_bucket_versioning(Bucket="plain")
    assert client.get_bucket_acl(Bucket="plain")["Grants"][0]["Permission"] == "FULL_CONTROL"
    with pytest.raises(ClientError) as raised:
        client.put_bucket_policy(Bucket="plain", Policy="{}")
    assert (_code(raised), _status(raised)) == ("NotImplemented", 501)
