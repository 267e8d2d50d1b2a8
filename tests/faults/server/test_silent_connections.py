"""Connections that ask nothing, in every state that a server waits in: closed in time; others are served meanwhile."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import pytest

from skep.base.clock import SystemClock
from skep.frontends.agents.door import LINK_PATH
from skep.server.certificates import self_signed
from skep.stores.link.frames import SUBPROTOCOL
from skep.testing.process import RunningHive, made_hive

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SILENT = {
    "nothing": b"",
    "one byte": b"G",
    "half a preface": b"PRI * HT",
    "a preface": PREFACE,
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: hive\r\n",
}


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def brisk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    place = tmp_path_factory.mktemp("brisk")
    hive = made_hive(
        place, engine=request.param, server__head_timeout_s="1s", server__idle_timeout_s="2s",
        server__tls_certificate="self-signed", events__keepalive_s="1s", limits__poll_s="6s",
    )  # fmt: skip
    self_signed(place / "tls", ["127.0.0.1"], SystemClock())
    hive.certificate = str(place / "tls" / "certificate.pem")
    hive.start()
    yield hive
    hive.stop()


def raw(hive: RunningHive) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(hive.url.rpartition(":")[2])), timeout=10)


def wrapped(hive: RunningHive, protocol: str = "http/1.1") -> ssl.SSLSocket:
    context = hive.trust()
    assert isinstance(context, ssl.SSLContext)
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(raw(hive), server_hostname="127.0.0.1")


def until_closed_s(connection: socket.socket, dribble: bytes = b"") -> float:
    """How long the other side keeps a connection on which nothing, or a byte now and then, is sent."""
    began_s = time.monotonic()
    connection.settimeout(0.3)
    while time.monotonic() - began_s < 20:
        try:
            if dribble:
                connection.sendall(dribble)
            if not connection.recv(65_536):
                return time.monotonic() - began_s
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - began_s
    raise AssertionError("the connection was kept")


@pytest.mark.parametrize("what", SILENT)
def test_a_connection_that_asks_nothing_is_closed(brisk: RunningHive, what: str) -> None:
    protocol = "h2" if what == "a preface" and brisk.engine == "granian" else "http/1.1"
    with closing(wrapped(brisk, protocol)) as connection:
        connection.sendall(SILENT[what])
        assert until_closed_s(connection) < 15


def test_so_is_one_that_never_ends_its_handshake_or_its_head(brisk: RunningHive) -> None:
    with closing(raw(brisk)) as silent, closing(raw(brisk)) as begun, closing(wrapped(brisk)) as dribbling:
        begun.sendall(b"\x16\x03\x01\x02\x00\x01")  # the first bytes of a ClientHello
        dribbling.sendall(b"GET / HTTP/1.1\r\n")
        for connection in (silent, begun):
            assert until_closed_s(connection) < 15
        assert until_closed_s(dribbling, b"X: y\r\n") < 15


def test_one_is_kept_between_requests_and_while_its_request_is_answered(brisk: RunningHive) -> None:
    bearer = {"authorization": f"Bearer {brisk.token}"}
    with httpx.Client(base_url=brisk.url, verify=brisk.trust(), headers=bearer, timeout=20) as client:
        cursor = client.get("/api/filesystem/changes").json()["cursor"]
        began_s = time.monotonic()
        client.get("/api/filesystem/changes", params={"cursor": cursor, "timeout_s": 3.5}).raise_for_status()
        assert time.monotonic() - began_s > 3, "the poll waited longer than silent connections are kept"
        with client.stream("GET", "/api/events") as events:
            lines = events.iter_lines()
            began_s = time.monotonic()
            while time.monotonic() - began_s < 3:
                assert next(lines) is not None


def test_a_crowd_of_them_keeps_nobody_out(brisk: RunningHive) -> None:
    with ExitStack() as held:
        for _ in range(300):
            held.enter_context(closing(raw(brisk)))
        began_s = time.monotonic()
        assert httpx.get(f"{brisk.url}/healthz", verify=brisk.trust(), timeout=20).status_code == 200
        assert time.monotonic() - began_s < 10


def socket_of(brisk: RunningHive, path: str, *headers: str) -> ssl.SSLSocket:
    """A WebSocket after its handshake."""
    connection = wrapped(brisk)
    lines = [
        f"GET {path} HTTP/1.1", "Host: hive", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers,
    ]  # fmt: skip
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    assert connection.recv(12) == b"HTTP/1.1 101"
    return connection


def until_refused(connection: ssl.SSLSocket, most_bytes: int) -> int:
    """How many bytes of one message without an end are taken until the connection ends."""
    piece, sent_bytes = bytes(64 << 10), 0
    head = b"\xff" + len(piece).to_bytes(8, "big") + b"\0\0\0\0"
    connection.settimeout(10)
    try:
        connection.sendall(b"\x02" + head + piece)
        while sent_bytes < most_bytes:
            connection.sendall(b"\x00" + head + piece)
            sent_bytes += len(piece)
            time.sleep(0.002)  # a network's pace: 30 MB/s
    except OSError:
        return sent_bytes
    raise AssertionError("a message without an end is taken")


def test_a_stranger_s_websocket_takes_no_message_without_an_end(brisk: RunningHive) -> None:
    """Before an agent has proved its key: the server would hold 64 MiB for each that connects."""
    with closing(socket_of(brisk, LINK_PATH, f"Sec-WebSocket-Protocol: {SUBPROTOCOL}")) as connection:
        assert until_refused(connection, 60 << 20) < 60 << 20


def test_nor_does_a_guest_s(brisk: RunningHive) -> None:
    """uvicorn says so at 1 MiB and drops what still comes; the connection ends once it is idle."""
    most_bytes = {"granian": 60 << 20, "uvicorn": 400 << 20}[brisk.engine]
    with closing(socket_of(brisk, "/api/events", f"Authorization: Bearer {brisk.token}")) as connection:
        assert until_refused(connection, most_bytes) < most_bytes
