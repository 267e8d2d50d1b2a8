"""A daemon's socket on another host as a socket here: a real sshd between, and a daemon of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from skep.deploy.hq.tunnel import Tunnel
from skep.deploy.shell.ssh import SshTarget
from skep.testing.sshd import Sshd, sshd

LARGE = 3_000_000


@pytest.fixture
def server(tmp_path: Path, program: Callable[[str, str], Path]) -> Iterator[Sshd]:
    (tmp_path / "sshd").mkdir()
    with sshd(program("sshd", "apt-get install openssh-server"), tmp_path / "sshd") as running:
        yield running


@pytest.fixture
def target(server: Sshd) -> SshTarget:
    return SshTarget(
        address="127.0.0.1", port=server.port, user=server.user, key=server.client_key, host_key=server.host_key,
        name="far",
    )  # fmt: skip


async def daemon(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP on a socket: what came in is told by its length; ``/large`` answers with much."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
            body = await reader.readexactly(size)
            answer = bytes(LARGE) if "get /large" in head else f"{len(body)} bytes".encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
            await writer.drain()
    writer.close()


@pytest.fixture
async def tunnel(target: SshTarget, tmp_path: Path) -> AsyncIterator[Tunnel]:
    listening = await asyncio.start_unix_server(daemon, tmp_path / "daemon.sock")
    made = Tunnel(target, socket=str(tmp_path / "daemon.sock"))
    await made.open()
    yield made
    await made.close()
    listening.close()


def client(tunnel: Tunnel) -> httpx.AsyncClient:
    path = tunnel.url.removeprefix("unix://")
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path), base_url="http://daemon", timeout=30)


async def test_requests_reach_the_daemon_and_much_goes_both_ways(tunnel: Tunnel) -> None:
    async with client(tunnel) as http:
        assert (await http.get("/version")).text == "0 bytes"
        assert (await http.post("/load", content=bytes(LARGE))).text == f"{LARGE} bytes"
        assert len((await http.get("/large")).content) == LARGE
        answers = await asyncio.gather(*(http.post("/x", content=bytes(size)) for size in range(40)))
        assert [one.text for one in answers] == [f"{size} bytes" for size in range(40)]


async def test_a_connection_that_broke_is_made_again(tunnel: Tunnel, server: Sshd) -> None:
    async with client(tunnel) as http:
        assert (await http.get("/")).status_code == 200
        for pid in subprocess.run(
            ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        for _ in range(100):
            with contextlib.suppress(httpx.TransportError):  # until the end of the connection is known here
                if (await http.get("/")).text == "0 bytes":
                    return
    raise AssertionError("it never connects again")


async def test_a_daemon_that_is_not_there_and_a_host_with_another_key_end_the_connection(
    target: SshTarget, tmp_path: Path
) -> None:
    wrong_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rZEfWvJtlBvVVkwIkS3Bx"
    for wrong in (target, msgspec.structs.replace(target, host_key=wrong_key)):
        made = Tunnel(wrong, socket=str(tmp_path / "none.sock"))
        await made.open()
        async with client(made) as http:
            with pytest.raises(httpx.TransportError):
                await http.get("/")
        await made.close()
        assert not Path(made.url.removeprefix("unix://")).exists()
