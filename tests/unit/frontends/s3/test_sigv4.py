"""Signatures against the examples that Amazon publishes.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, sigv4-query-string-auth.html,
sigv4-streaming.html and sigv4-streaming-trailers.html.
"""

from __future__ import annotations

import base64

import pytest

from skep.frontends.s3 import dates, sigv4
from skep.frontends.s3.checksums import new_checksum
from skep.frontends.s3.chunked import ChunkedBody
from skep.frontends.s3.errors import Refusal

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DATE = "20130524T000000Z"
SCOPE = sigv4.CredentialScope("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1")
KEY = sigv4.signing_key(SECRET, "20130524", "us-east-1")
HOST = ("host", "examplebucket.s3.amazonaws.com")
EMPTY = ("x-amz-content-sha256", sigv4.EMPTY_SHA256)
AT = ("x-amz-date", DATE)


def _signature(method: str, path: bytes, query: bytes, headers: list[tuple[str, str]], payload: str) -> str:
    canonical = sigv4.canonical_request(
        method,
        sigv4.canonical_path(path),
        sigv4.canonical_query(sigv4.parse_query(query)),
        sorted(headers),
        payload,
    )
    return sigv4.sign(KEY, sigv4.string_to_sign(DATE, SCOPE, canonical))


def test_get_object():
    headers = [HOST, ("range", "bytes=0-9"), EMPTY, AT]
    wanted = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    assert _signature("GET", b"/test.txt", b"", headers, sigv4.EMPTY_SHA256) == wanted


def test_put_object():
    payload = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
    headers = [
        HOST,
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-content-sha256", payload),
        AT,
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ]
    wanted = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    assert _signature("PUT", b"/test$file.text", b"", headers, payload) == wanted
    assert _signature("PUT", b"/test%24file.text", b"", headers, payload) == wanted


def test_get_bucket_lifecycle():
    wanted = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    assert _signature("GET", b"/", b"lifecycle", [HOST, EMPTY, AT], sigv4.EMPTY_SHA256) == wanted


@pytest.mark.parametrize("query", [b"max-keys=2&prefix=J", b"prefix=J&max-keys=2"])
def test_list_objects(query):
    wanted = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    assert _signature("GET", b"/", query, [HOST, EMPTY, AT], sigv4.EMPTY_SHA256) == wanted


def test_a_presigned_url():
    query = (
        b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        b"aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
    )
    wanted = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert _signature("GET", b"/test.txt", query, [HOST], sigv4.UNSIGNED) == wanted


def test_a_body_in_signed_chunks():
    headers = [
        ("host", "s3.amazonaws.com"),
        ("content-encoding", "aws-chunked"),
        ("content-length", "66824"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        AT,
        ("x-amz-decoded-content-length", "66560"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ]
    seed = _signature("PUT", b"/examplebucket/chunkObject.txt", b"", headers, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    assert seed == "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    body = (
        b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
        + b"a" * 65536
        + b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
        + b"a" * 1024
        + b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
    )
    assert len(body) == 66824
    assert _decoded(body, seed, with_trailer=False) == (b"a" * 66560, {})
    for at in (100, 66000, len(body) - 30):
        broken = body[:at] + b"b" + body[at + 1 :]
        with pytest.raises(Refusal):
            _decoded(broken, seed, with_trailer=False)
    with pytest.raises(Refusal):
        _decoded(body[:-2], seed, with_trailer=False)
    with pytest.raises(Refusal):
        _decoded(body + b"more", seed, with_trailer=False)


def test_a_body_in_signed_chunks_with_a_trailer():
    seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    body = (
        b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
        + b"a" * 65536
        + b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
        + b"a" * 1024
        + b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
        b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
        b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    )
    data, trailers = _decoded(body, seed, with_trailer=True)
    assert trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}
    checksum = new_checksum("crc32c")
    checksum.update(data)
    assert base64.b64encode(checksum.digest()) == b"sOO8/Q=="
    with pytest.raises(Refusal):
        _decoded(body.replace(b"sOO8", b"sOO9"), seed, with_trailer=True)


def _decoded(body: bytes, seed: str, *, with_trailer: bool) -> tuple[bytes, dict[str, str]]:
    chunked = ChunkedBody(sigv4.ChunkSigner(KEY, DATE, SCOPE, seed), with_trailer=with_trailer)
    data = b"".join(chunked.feed(body))
    chunked.finish()
    return data, chunked.trailers


def test_what_strangers_send_is_remembered_only_if_it_is_short() -> None:
    before = sigv4._parse_scope.cache_info().currsize, dates._parse_amz_date.cache_info().currsize
    for number in range(50):
        assert sigv4.parse_scope(f"{number}" + "A" * 60_000 + "/20130524/us-east-1/s3/aws4_request") is None
        assert dates.parse_amz_date(f"{number}" + "2" * 60_000) is None
    assert (sigv4._parse_scope.cache_info().currsize, dates._parse_amz_date.cache_info().currsize) == before
