"""``skep serve`` with the options of a block server: a real process, tried with real clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from skep.frontends.blocks.socket import SUBPROTOCOL

WORDS = [sys.executable, "-P", "-m", "skep.cli.main", "serve"]


def run(place: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HOME": str(place), "TMPDIR": str(place), "SKEP_LOG_LEVEL": "warning"}
    return subprocess.Popen(
        [*WORDS, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=place, env=environment
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_dummy_server_takes_the_options_and_leaves_nothing(tmp_path: Path) -> None:
    metrics_port = free_port()
    options = [
        "--json",
        "--port",
        "0",
        "--debug",
        "--dummy",
        "--dummy-auth",
        "MAGICFARYDUST",
        "--max-body-size",
        "1000",
    ]
    options += ["--transfers", "4", "--prometheus-port", str(metrics_port), "--logging", "warning", "--asyncio"]
    server = run(tmp_path, *options, "--dummy-cache", "--dummy-log")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line, server.stderr and server.stderr.read()
        url = json.loads(line)["url"]
        token = {"authorization": "Token MAGICFARYDUST"}
        at = f"{url}/api/v0/files/test/dm"
        made = httpx.post(at, content=b"x" * 1000, headers=token)
        assert (made.status_code, made.headers.get_list("date") != [], "etag" in made.headers) == (204, True, True)
        assert len(made.headers.get_list("date")) == 1
        assert httpx.get(at).content == b"x" * 1000
        assert httpx.post(at, content=b"x" * 1001, headers=token).status_code == 400
        assert "skep_requests_total" in httpx.get(f"http://127.0.0.1:{metrics_port}/").text
        _listens(url)
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0
    assert [found.name for found in tmp_path.iterdir() if found.name.startswith("skep-dummy")] == []


def _listens(url: str) -> None:
    """A WebSocket by hand (RFC 6455): the handshake, one text frame."""
    host, port = url.removeprefix("http://").split(":")
    head = (
        f"GET /api/v0/websocket/test/dm HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        reader = connection.makefile("rb")
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += reader.readline()
        assert answer.startswith(b"HTTP/1.1 101"), answer
        assert SUBPROTOCOL.encode() in answer
        httpx.delete(f"{url}/api/v0/files/test/dm", headers={"authorization": "Token MAGICFARYDUST"})
        first, length = reader.read(2)
        assert (first, length < 126) == (0x81, True)
        assert json.loads(reader.read(length)) == {"operation": "DELETE", "prefix": "test", "path": "test/dm"}


def test_a_dummy_server_is_for_debugging_alone(tmp_path: Path) -> None:
    server = run(tmp_path, "--dummy")
    _, said = server.communicate(timeout=60)
    assert (server.returncode == 0, "Dummy backend is only allowed in debug mode" in said) == (False, True)
