"""On S3's own port and host every path is a key: none is special, and none passes by the limits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest

from skep.testing.process import made_hive

from .conftest import S3Hive, free_port

SPECIAL = [("api", "events"), ("api", "agents/link"), ("metrics", "x"), ("healthz", "x"), ("dav", "x"), ("tus", "x")]


@pytest.fixture(scope="module", params=["granian"])
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Hive]:
    """A hive that works on one request at a time."""
    port = free_port()
    settings = {"limits__requests_at_once": "1", "limits__wait_s": "0.2s", "s3__domain": "s3.test"}
    hive = made_hive(
        tmp_path_factory.mktemp("hive"),
        engine=request.param,
        server__s3_port=str(port),
        **settings,
    )
    hive.start()
    with hive.client() as client:
        key = client.post("/api/auth/access-keys", json={"name": "test"}).json()
    yield S3Hive(hive, port, key["access_key"], key["secret"])
    hive.stop()


def test_keys_with_the_paths_of_other_doors_are_keys(narrow: S3Hive) -> None:
    client = narrow.client(s3={"addressing_style": "path"})
    for bucket, key in SPECIAL:
        if not any(one["Name"] == bucket for one in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key=key, Body=f"{bucket}/{key}".encode())
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == f"{bucket}/{key}".encode()
    assert client.list_objects_v2(Bucket="healthz")["KeyCount"] == 1  # GET /healthz on the hive's own port


@pytest.mark.parametrize("key", ["events", "other"])
def test_an_upload_at_such_a_key_holds_a_place_among_the_requests(narrow: S3Hive, key: str) -> None:
    client = narrow.client(s3={"addressing_style": "path"})
    if not any(one["Name"] == "api" for one in client.list_buckets()["Buckets"]):
        client.create_bucket(Bucket="api")
    url = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": "api", "Key": key}))
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000\r\n\r\nhalf"
    with closing(socket.create_connection(("127.0.0.1", narrow.port), timeout=10)) as slow:
        slow.sendall(head.encode())
        until_busy(narrow)
        for path in ("/healthz", "/metrics", "/api/events", "/api/agents/link", "/other"):
            answer = httpx.get(narrow.endpoint + path)
            assert "RequestTimeout" in answer.text, path
            named = httpx.get(narrow.hive.url + path, headers={"host": "s3.test"})
            assert "RequestTimeout" in named.text, path


def until_busy(narrow: S3Hive) -> None:
    """Wait until the slow upload has the only place."""
    for _ in range(50):  # each refused attempt waits for limits.wait_s
        if "RequestTimeout" in httpx.get(f"{narrow.endpoint}/other").text:
            return
    raise AssertionError("the upload holds no place")


def test_no_live_changes_or_agents_are_heard_there(narrow: S3Hive) -> None:
    head = (
        "GET /api/events HTTP/1.1\r\nHost: hive\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {narrow.hive.token}\r\n"
        "\r\n"
    )
    with closing(socket.create_connection(("127.0.0.1", narrow.port), timeout=10)) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) != b"HTTP/1.1 101"
