"""Requests that two parsers may read in two ways, heads and bodies without end, broken WebSocket frames: both engines.

``hive`` runs with each engine in turn (conftest.py). What counts is that no second request is ever seen in what
somebody else might take for a body, and that nobody holds a connection for longer than the limits say.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from skep.testing.process import RunningHive, made_hive

SMUGGLED = b"GET /api/auth/me HTTP/1.1\r\nHost: hive\r\n\r\n"


def opened(hive: RunningHive) -> socket.socket:
    host, _, port = hive.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def answers(hive: RunningHive, sent: bytes, *, wait_s: float = 10) -> list[bytes]:
    """The status lines that come back until the connection ends, or nothing comes for a second."""
    with opened(hive) as connection:
        connection.sendall(sent)
        connection.settimeout(1.0)
        received, until = b"", time.monotonic() + wait_s
        while time.monotonic() < until:
            try:
                part = connection.recv(65536)
            except TimeoutError:
                break
            except ConnectionResetError:
                return [b"reset"]
            if not part:
                break
            received += part
    return [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def post(*headers: bytes) -> bytes:
    return b"\r\n".join([b"POST /api/auth/login HTTP/1.1", b"Host: hive", *headers, b"", b""])


BODY = b'{"name":"x","password":"y"}'
LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
AMBIGUOUS = {
    "two lengths": post(LENGTH, b"Content-Length: 5") + BODY + SMUGGLED,
    "lengths in a list": post(b"Content-Length: %d, 5" % len(BODY)) + BODY + SMUGGLED,
    "a length with a sign": post(b"Content-Length: +%d" % len(BODY)) + BODY + SMUGGLED,
    "length and chunks": post(LENGTH, b"Transfer-Encoding: chunked") + CHUNKED + SMUGGLED,
    "chunks and length": post(b"Transfer-Encoding: chunked", LENGTH) + CHUNKED + SMUGGLED,
    "chunks that are not last": post(b"Transfer-Encoding: chunked, identity") + CHUNKED + SMUGGLED,
    "an unknown coding": post(b"Transfer-Encoding: xchunked") + CHUNKED + SMUGGLED,
    "a space before the colon": post(b"Content-Length : %d" % len(BODY)) + BODY + SMUGGLED,
    "a folded header": post(b"X-Folded: a\r\n b", LENGTH, b"Transfer-Encoding:\r\n chunked") + CHUNKED + SMUGGLED,
    "a chunk size that overflows": post(b"Transfer-Encoding: chunked") + b"10000000000000000f\r\nx" + SMUGGLED,
    "a chunk without its end": post(b"Transfer-Encoding: chunked") + b"2\r\nabX" + SMUGGLED,
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_or_ends_the_connection(hive: RunningHive, what: str) -> None:
    found = answers(hive, AMBIGUOUS[what])
    assert len(found) <= 1, found
    assert not any(line.split()[1] == b"200" for line in found if line != b"reset"), found
    with hive.client() as client:
        assert client.get("/api/auth/me").status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nHost: hive\nX: y\n\n",
        b"GET / HTTP/1.1\r\nHost: hive\r\nX-A: a\nX-B: b\r\n\r\n",
    ],
)
def test_bare_line_feeds_make_no_second_request(hive: RunningHive, head: bytes) -> None:
    """RFC 9112 section 2.2 lets a reader take one for a line's end; what matters is that it makes one request."""
    assert len(answers(hive, head)) <= 1


@pytest.mark.parametrize("bad", [b"X: a\x00b", b"X: a\rb", b"X\x01: a", b": a", b"no colon"])
def test_headers_that_are_none_are_refused(hive: RunningHive, bad: bytes) -> None:
    found = answers(hive, b"GET / HTTP/1.1\r\nHost: hive\r\n" + bad + b"\r\n\r\n")
    assert [line.split()[1] for line in found if line != b"reset"] in ([], [b"400"])


def test_a_head_over_its_limit_is_refused(hive: RunningHive) -> None:
    found = answers(hive, b"GET /api HTTP/1.1\r\nHost: hive\r\nX: " + b"y" * 100_000 + b"\r\n\r\n")
    assert [line.split()[1] for line in found if line != b"reset"] in ([], [b"400"], [b"431"])
    many = b"".join(b"X-%d: y\r\n" % number for number in range(20_000))
    found = answers(hive, b"GET /api HTTP/1.1\r\nHost: hive\r\n" + many + b"\r\n")
    assert [line.split()[1] for line in found if line != b"reset"] in ([], [b"400"], [b"431"])


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def impatient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    running = made_hive(
        tmp_path_factory.mktemp("impatient"),
        engine=request.param,
        server__idle_timeout_s="1s",
        server__request_timeout_s="2s",
        limits__poll_s="0s",
    )
    running.start()
    yield running
    running.stop()


def test_a_body_that_stops_is_ended(impatient: RunningHive) -> None:
    with impatient.connect("PUT /api/filesystem/data?path=/slow HTTP/1.1", b"Content-Length: 100\r\n\r\nab") as slow:
        slow.settimeout(15)
        assert slow.recv(4096).startswith((b"HTTP/1.1 400", b"HTTP/1.1 503", b"HTTP/1.1 408"))
    assert "slow" not in impatient.files()


def frame(code: int, payload: bytes, *, masked: bool = True, final: bool = True) -> bytes:
    """One WebSocket frame (RFC 6455 section 5.2)."""
    head = bytes([code | (0x80 if final else 0)])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 1 << 16:
        head += bytes([mask_bit | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    whole = mask * (len(payload) // 4 + 1)
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(whole[: len(payload)], "big")
    return head + mask + mixed.to_bytes(len(payload), "big")


def live(hive: RunningHive) -> socket.socket:
    """A WebSocket whose handshake is over and whose hello was read."""
    key = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    connection = hive.connect("GET /api/events HTTP/1.1", key)
    connection.settimeout(15)
    received = b""
    while b'"hello"' not in received:
        received += connection.recv(4096)
    assert received.startswith(b"HTTP/1.1 101")
    return connection


def ended(connection: socket.socket) -> bytes:
    """What comes until the connection ends."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionError:
        return received + b"reset"
    return received


@pytest.mark.parametrize(
    "broken",
    [
        frame(0x1, b'{"type":"ping"}', masked=False),
        frame(0x3, b"reserved"),
        frame(0x9, b"x" * 126),
        frame(0x0, b"continued nothing"),
        frame(0x1, b"\xff\xfe"),
        b"\xf1\x80\0\0\0\0",
    ],
    ids=["unmasked", "reserved opcode", "long ping", "stray continuation", "no UTF-8", "reserved bits"],
)
def test_broken_frames_end_the_connection(hive: RunningHive, broken: bytes) -> None:
    with live(hive) as connection:
        connection.sendall(broken)
        ended(connection)
    hive.until("skep_streams", 0)


def test_messages_over_the_limit_end_the_connection(hive: RunningHive) -> None:
    with live(hive) as connection:
        connection.sendall(frame(0x1, b"x" * 20_000))
        assert b"\x03\xf1" in ended(connection)  # 1009
    with live(hive) as connection:
        try:
            connection.sendall(frame(0x1, b"y" * (17 << 20)))
        except OSError:
            return
        ended(connection)


def test_a_message_in_pieces_has_a_bound_before_any_door_sees_it(hive: RunningHive) -> None:
    """Of both servers: uvicorn's is set, granian's is its own, 64 MiB (docs/threat-model.md)."""
    piece = bytes(4 << 20)
    with live(hive) as connection:
        try:
            connection.sendall(frame(0x1, piece, final=False))
            for _ in range(20):
                connection.sendall(frame(0x0, piece, final=False))
            ended(connection)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it ended before all was sent
    with hive.client() as client:
        assert client.get("/api/auth/me").status_code == 200


def test_a_flood_of_pings_gets_pongs_and_hurts_nobody(hive: RunningHive) -> None:
    with live(hive) as connection:
        for _ in range(50):
            connection.sendall(frame(0x9, b"p") * 100)
        pongs = b""
        while pongs.count(b"\x8a\x01p") < 1:
            pongs += connection.recv(65536)
        with hive.client() as client:
            assert client.get("/api/auth/me").status_code == 200
        connection.sendall(frame(0x8, struct.pack(">H", 1000)))
        ended(connection)
    hive.until("skep_streams", 0)
