"""Clients that go, lie, stall and do not read, against a real process with each HTTP server."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx

from skep.testing.process import RunningHive

PUT = "PUT /api/filesystem/data?path=/{} HTTP/1.1"


def answer(connection: socket.socket) -> bytes:
    """What the server sends until it closes, or until nothing comes for the socket's timeout."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except (TimeoutError, ConnectionError):
        pass
    return received


def test_a_client_gone_in_the_middle_of_an_upload_leaves_nothing(hive: RunningHive) -> None:
    connection = hive.connect(PUT.format("gone"), b"Content-Length: 500000\r\n\r\n" + b"z" * 100_000)
    hive.until("skep_requests_in_flight", 2)
    connection.close()
    hive.until("skep_requests_in_flight", 1)
    assert "gone" not in hive.files()


def test_a_body_shorter_than_declared_is_refused(hive: RunningHive) -> None:
    connection = hive.connect(PUT.format("short"), b"Content-Length: 5000\r\n\r\n" + b"z" * 100)
    connection.shutdown(socket.SHUT_WR)
    first = answer(connection).split(b"\r\n")[0]
    assert first in (b"", b"HTTP/1.1 400 Bad Request")
    assert "short" not in hive.files()


def test_a_torn_chunked_body_is_refused(hive: RunningHive) -> None:
    connection = hive.connect(PUT.format("torn"), b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    connection.shutdown(socket.SHUT_WR)
    assert b"201" not in answer(connection).split(b"\r\n")[0]
    assert "torn" not in hive.files()


def test_a_length_with_a_transfer_encoding_is_refused_or_the_connection_ends(hive: RunningHive) -> None:
    """RFC 9112 section 6.1. Granian's parser drops the length and closes; otherwise we answer 400."""
    both = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    smuggled = b"GET /api HTTP/1.1\r\nHost: hive\r\n\r\n"
    connection = hive.connect(PUT.format("both"), both + smuggled)
    connection.settimeout(2)
    received = answer(connection)
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"HTTP/1.1 400" in received or b"connection: close" in received.lower()


def test_an_early_refusal_of_a_large_upload_is_heard(hive: RunningHive) -> None:
    refused = httpx.put(f"{hive.url}/api/filesystem/data?path=/x", content=b"q" * (8 << 20))
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


def test_a_reader_that_takes_nothing_costs_little_memory(hive: RunningHive) -> None:
    assert hive.process is not None
    with hive.client() as client:
        client.put("/api/filesystem/data", params={"path": "/large"}, content=bytes(1 << 20) * 64)
        client.get("/api/filesystem/data", params={"path": "/large"})
    before = resident_bytes(hive.process.pid)
    connections = [hive.connect("GET /api/filesystem/data?path=/large HTTP/1.1", b"\r\n") for _ in range(4)]
    hive.until("skep_requests_in_flight", 5)
    assert resident_bytes(hive.process.pid) - before < 128 << 20
    for connection in connections:
        connection.close()
    hive.until("skep_requests_in_flight", 1)


def test_a_large_file_comes_back_whole(hive: RunningHive) -> None:
    content = b"".join(number.to_bytes(8, "big") for number in range(1 << 20))
    with hive.client() as client:
        assert client.put("/api/filesystem/data", params={"path": "/numbers"}, content=content).status_code == 201
        assert client.get("/api/filesystem/data", params={"path": "/numbers"}).content == content
        tail = client.get("/api/filesystem/data", params={"path": "/numbers"}, headers={"range": "bytes=-8"})
        assert tail.content == content[-8:]


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
