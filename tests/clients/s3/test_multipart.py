"""Multipart uploads with Amazon's own SDK."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from skep.frontends.s3.checksums import new_checksum, value_text

MIB = 1 << 20


def _code(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return str(raised.value.response["Error"]["Code"])


def _tag(parts: list[bytes]) -> str:
    return f'"{hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"'


def _value(algorithm: str, body: bytes) -> str:
    checksum = new_checksum(algorithm.lower())
    checksum.update(body)
    return value_text(checksum.digest())


@pytest.fixture(scope="module")
def bucket(s3) -> str:
    s3.client().create_bucket(Bucket="multipart")
    return "multipart"


def _send(client, bucket: str, key: str, parts: dict[int, bytes], **options: object) -> tuple[str, list[dict]]:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]
    named = []
    for number, body in parts.items():
        sent = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
        assert sent["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        checksums = {
            name: value for name, value in sent.items() if name.startswith("Checksum") and name != "ChecksumType"
        }
        named.append({"PartNumber": number, "ETag": sent["ETag"], **checksums})
    return upload, sorted(named, key=lambda one: one["PartNumber"])


def test_parts_become_an_object_with_the_exact_etag(s3, bucket):
    client, chance = s3.client(), random.Random(3)
    parts = {7: chance.randbytes(6 * MIB), 2: chance.randbytes(5 * MIB), 9: b"the end"}
    upload, named = _send(client, bucket, "a/b", parts, Metadata={"m": "1"}, ContentType="text/csv")
    listed = client.list_parts(Bucket=bucket, Key="a/b", UploadId=upload)
    assert [(one["PartNumber"], one["Size"]) for one in listed["Parts"]] == [(2, 5 * MIB), (7, 6 * MIB), (9, 7)]
    pages = client.get_paginator("list_parts").paginate(
        Bucket=bucket, Key="a/b", UploadId=upload, PaginationConfig={"PageSize": 1}
    )
    assert [one["PartNumber"] for page in pages for one in page["Parts"]] == [2, 7, 9]
    found = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in found] == [("a/b", upload)]
    with pytest.raises(ClientError) as raised:
        client.head_object(Bucket=bucket, Key="a/b")
    assert raised.value.response["Error"]["Code"] == "404"
    whole = [parts[2], parts[7], parts[9]]
    done = client.complete_multipart_upload(Bucket=bucket, Key="a/b", UploadId=upload, MultipartUpload={"Parts": named})
    assert done["ETag"] == _tag(whole)
    got = client.get_object(Bucket=bucket, Key="a/b")
    assert got["Body"].read() == b"".join(whole)
    assert (got["ETag"], got["Metadata"], got["ContentType"]) == (_tag(whole), {"m": "1"}, "text/csv")
    assert client.list_objects_v2(Bucket=bucket, Prefix="a/")["Contents"][0]["ETag"] == _tag(whole)
    part = client.get_object(Bucket=bucket, Key="a/b", PartNumber=2)
    assert (part["Body"].read(), part["PartsCount"]) == (parts[7], 3)
    again = client.complete_multipart_upload(
        Bucket=bucket, Key="a/b", UploadId=upload, MultipartUpload={"Parts": named}
    )
    assert again["ETag"] == done["ETag"]
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_a_part_that_is_sent_again_replaces_the_first(s3, bucket):
    client = s3.client()
    upload, _ = _send(client, bucket, "again", {1: b"one"})
    sent = client.upload_part(Bucket=bucket, Key="again", UploadId=upload, PartNumber=1, Body=b"two")
    named = [{"PartNumber": 1, "ETag": sent["ETag"]}]
    client.complete_multipart_upload(Bucket=bucket, Key="again", UploadId=upload, MultipartUpload={"Parts": named})
    assert client.get_object(Bucket=bucket, Key="again")["Body"].read() == b"two"


def test_what_does_not_fit_is_refused(s3, bucket):
    client = s3.client()
    upload, named = _send(client, bucket, "wrong", {1: b"small", 2: b"end"})

    def complete(parts: list[dict], upload_id: str = upload, key: str = "wrong") -> str:
        with pytest.raises(ClientError) as raised:
            client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        return _code(raised)

    assert complete(named) == "EntityTooSmall"
    assert complete(named[::-1]) == "InvalidPartOrder"
    assert complete([{**named[0], "ETag": '"0123"'}]) == "InvalidPart"
    assert complete([{"PartNumber": 3, "ETag": named[0]["ETag"]}]) == "InvalidPart"
    assert complete(named[:1], "no-such-upload") == "NoSuchUpload"
    assert complete(named[:1], key="other-key") == "NoSuchUpload"
    with pytest.raises(ClientError) as raised:
        client.upload_part(Bucket=bucket, Key="wrong", UploadId=upload, PartNumber=10_001, Body=b"")
    assert _code(raised) == "InvalidArgument"
    client.abort_multipart_upload(Bucket=bucket, Key="wrong", UploadId=upload)
    assert complete(named[:1]) == "NoSuchUpload"
    with pytest.raises(ClientError) as raised:
        client.upload_part(Bucket=bucket, Key="wrong", UploadId=upload, PartNumber=1, Body=b"")
    assert _code(raised) == "NoSuchUpload"
    assert client.list_objects_v2(Bucket=bucket, Prefix="wrong")["KeyCount"] == 0


def test_parts_are_copied_from_objects(s3, bucket):
    client, body = s3.client(), random.Random(5).randbytes(7 * MIB)
    client.put_object(Bucket=bucket, Key="source", Body=body)
    upload = client.create_multipart_upload(Bucket=bucket, Key="copied")["UploadId"]
    source = {"Bucket": bucket, "Key": "source"}
    first = client.upload_part_copy(
        Bucket=bucket, Key="copied", UploadId=upload, PartNumber=1, CopySource=source,
        CopySourceRange=f"bytes=1000-{6 * MIB}",
    )  # fmt: skip
    second = client.upload_part_copy(Bucket=bucket, Key="copied", UploadId=upload, PartNumber=2, CopySource=source)
    whole = [body[1000 : 6 * MIB + 1], body]
    named = [
        {"PartNumber": number, "ETag": one["CopyPartResult"]["ETag"]} for number, one in enumerate((first, second), 1)
    ]
    done = client.complete_multipart_upload(
        Bucket=bucket, Key="copied", UploadId=upload, MultipartUpload={"Parts": named}
    )
    assert done["ETag"] == _tag(whole)
    assert client.get_object(Bucket=bucket, Key="copied")["Body"].read() == b"".join(whole)
    with pytest.raises(ClientError) as raised:
        client.upload_part_copy(
            Bucket=bucket, Key="copied", UploadId=upload, PartNumber=1, CopySource=source,
            CopySourceRange=f"bytes=0-{7 * MIB}",
        )  # fmt: skip
    assert _code(raised) in ("InvalidArgument", "NoSuchUpload")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums_of_parts_and_of_the_whole(s3, bucket, algorithm):
    client, chance = s3.client(), random.Random(4)
    parts = [chance.randbytes(5 * MIB), chance.randbytes(MIB)]
    key = f"sum-{algorithm}"
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm=algorithm)["UploadId"]
    named = []
    for number, body in enumerate(parts, 1):
        asked = {"ChecksumAlgorithm": algorithm}
        if algorithm in ("CRC32C", "CRC64NVME"):  # botocore computes these only with its C library
            asked = {f"Checksum{algorithm}": _value(algorithm, body)}
        sent = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body, **asked)
        named.append({"PartNumber": number, "ETag": sent["ETag"], f"Checksum{algorithm}": sent[f"Checksum{algorithm}"]})
    done = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": named})
    kind = "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE"
    assert done["ChecksumType"] == kind
    if algorithm == "CRC32":
        both = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in parts)
        assert done["ChecksumCRC32"] == base64.b64encode(zlib.crc32(both).to_bytes(4, "big")).decode() + "-2"
    got = client.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(parts)
    assert got[f"Checksum{algorithm}"] == done[f"Checksum{algorithm}"]


def test_the_true_checksum_of_the_whole_comes_from_its_parts(s3, bucket):
    client, chance = s3.client(), random.Random(6)
    parts = {1: chance.randbytes(5 * MIB), 2: chance.randbytes(5 * MIB), 3: b"end"}
    options = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
    upload, named = _send(client, bucket, "full", parts, **options)
    done = client.complete_multipart_upload(
        Bucket=bucket, Key="full", UploadId=upload, MultipartUpload={"Parts": named}, ChecksumType="FULL_OBJECT"
    )
    wanted = base64.b64encode(zlib.crc32(b"".join(parts.values())).to_bytes(4, "big")).decode()
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (wanted, "FULL_OBJECT")


def test_a_large_file_goes_through_the_transfer_manager(s3, bucket, tmp_path):
    client = s3.client()
    file = tmp_path / "large"
    file.write_bytes(random.Random(8).randbytes(23 * MIB))
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    client.upload_file(str(file), bucket, "dir/large", Config=config)
    back = tmp_path / "back"
    client.download_file(bucket, "dir/large", str(back), Config=config)
    assert back.read_bytes() == file.read_bytes()


def test_completing_only_a_new_object(s3, bucket):
    client = s3.client()
    client.put_object(Bucket=bucket, Key="taken", Body=b"there")
    upload, named = _send(client, bucket, "taken", {1: b"new"})
    with pytest.raises(ClientError) as raised:
        client.complete_multipart_upload(
            Bucket=bucket, Key="taken", UploadId=upload, MultipartUpload={"Parts": named}, IfNoneMatch="*"
        )
    assert _code(raised) == "PreconditionFailed"
    assert client.get_object(Bucket=bucket, Key="taken")["Body"].read() == b"there"
