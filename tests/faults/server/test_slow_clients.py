"""A hundred clients that read slowly and a hundred that send slowly, over WebDAV and S3: memory stays small."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config

from skep.testing.process import RunningHive, made_hive

pytestmark = pytest.mark.long

CLIENTS = 100
STEP_BYTES, STEP_S = 64 << 10, 0.5
HELD_S = 20.0
SIZE_BYTES = 48 << 20
MEMORY_MB_MAX = 600
"""Without shares and stretches it is three times as much."""
BUFFER_BYTES = 64 << 10


@pytest.fixture
def hive(tmp_path: Path):
    made = made_hive(tmp_path / "hive", log__requests="none")
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop(signal.SIGKILL)


def memory_mb(hive: RunningHive) -> float:
    """The most that the process has had."""
    assert hive.process is not None
    status = Path(f"/proc/{hive.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def user(hive: RunningHive, name: str) -> str:
    """The token of a new user with a directory of their own."""
    with hive.client() as admin:
        admin.post("/api/auth/users", json={"name": name, "password": "a good password"}).raise_for_status()
        login = admin.post("/api/auth/login", json={"name": name, "password": "a good password"})
    token: str = login.json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    httpx.post(f"{hive.url}/api/filesystem/mkdir", json={"path": "/b"}, headers=headers).raise_for_status()
    return token


def heads(hive: RunningHive) -> tuple[list[str], list[str]]:
    """Requests that read, and requests that send."""
    other = user(hive, "other")
    with hive.client() as admin:
        key = admin.post("/api/auth/access-keys", json={"name": "slow"}).json()
    s3 = boto3.client(
        "s3", endpoint_url=f"{hive.url}/s3", region_name="us-east-1", aws_access_key_id=key["access_key"],
        aws_secret_access_key=key["secret"], config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )  # fmt: skip
    host = urlsplit(hive.url).netloc
    readers, senders = [], []
    for number in range(CLIENTS // 2):
        for method, call, requests, token, length in (
            ("GET", "get_object", readers, hive.token, 0), ("PUT", "put_object", senders, other, SIZE_BYTES)
        ):  # fmt: skip
            key_name = "large" if method == "GET" else f"new-{number}"
            url = urlsplit(s3.generate_presigned_url(call, Params={"Bucket": "b", "Key": key_name}))
            tail = f"Host: {host}\r\nContent-Length: {length}\r\n"
            requests.append(f"{method} {url.path}?{url.query} HTTP/1.1\r\n{tail}\r\n")
            requests.append(f"{method} /dav/b/{key_name} HTTP/1.1\r\n{tail}Authorization: Bearer {token}\r\n\r\n")
    return readers, senders


def opened(hive: RunningHive, head: str) -> socket.socket:
    """A connection that keeps little itself, with a request sent."""
    place = urlsplit(hive.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    connection.connect((place.hostname, place.port))
    connection.sendall(head.encode())
    connection.setblocking(False)
    return connection


def moved(connection: socket.socket, data: bytes | None) -> int:
    """How many bytes went, this way or that, without waiting."""
    try:
        return len(connection.recv(STEP_BYTES)) if data is None else connection.send(data)
    except BlockingIOError:
        return 0


def test_memory_stays_small_with_slow_clients_each_way(hive: RunningHive) -> None:
    with hive.client() as admin:
        large = os.urandom(SIZE_BYTES)
        admin.put("/api/filesystem/data", params={"path": "/b/large"}, content=large).raise_for_status()
    hive.stop()
    hive.start()  # without what one quick upload has left in stock
    readers, senders = heads(hive)
    idle_mb = memory_mb(hive)
    connections = [opened(hive, head) for head in [*readers, *senders]]
    counts = [0] * len(connections)
    try:
        deadline = time.monotonic() + HELD_S
        while time.monotonic() < deadline:
            for number, connection in enumerate(connections):
                counts[number] += moved(connection, os.urandom(STEP_BYTES) if number >= len(readers) else None)
            time.sleep(STEP_S)  # the clients are slow: that is what is tested
        most_mb = memory_mb(hive)
        assert sum(count > 4 * STEP_BYTES for count in counts[: len(readers)]) == len(readers)
        assert sum(count > 4 * STEP_BYTES for count in counts[len(readers) :]) >= CLIENTS // 2
        with hive.client() as admin:
            assert [one["name"] for one in admin.get("/api/filesystem/info?path=/b").json()["files"]] == ["large"]
    finally:
        for connection in connections:
            connection.close()
    assert most_mb < MEMORY_MB_MAX, f"{idle_mb:.0f} MB idle"
    with hive.client() as admin:
        assert admin.get("/api/filesystem/data", params={"path": "/b/large"}).content == large
