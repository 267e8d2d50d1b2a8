"""Memory of the server while a hundred slow clients read a large file and a hundred send one, over WebDAV and S3.

The clients are one process of their own (``python -m bench.slow_clients``), told on its standard input what to ask
for. Each takes or gives RATE_BYTES a second, so that whatever the hive reads ahead, or has taken in and not worked on
yet, stays with it. Half of each hundred speak WebDAV, half S3; the uploads are of four users, so that they fill all
the places for uploads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.figures import Figure, Row, median
from bench.hive import BenchHive, running_hive
from bench.material import write_noise
from bench.plan import MIB, Plan
from bench.processes import forget_peak, resident_bytes
from bench.s3_client import Signer

CLIENTS = 100
USERS = 4
RATE_BYTES = 128 << 10
STEP_S = 0.25
RECEIVE_BYTES = 64 << 10
"""Of a reader's socket, so that what it has not taken does not lie in the kernel."""
HELD_S, QUICK_HELD_S = 24.0, 5.0
SETTLE_S = 2.0
LISTINGS = 5


def slow_clients(plan: Plan) -> list[Row]:
    """The most memory with readers, with senders, with both; what other requests notice of it."""
    quick = plan.rounds == 1
    size_bytes = 8 * MIB if quick else 64 * MIB
    rows: list[Row] = []
    with plan.room() as place, running_hive(place / "hive") as hive:
        hive.upload(write_noise(place / "large", size_bytes), "/bucket/large")
        people = [_person(hive, hive.token), *(_user(hive, f"slow-{number}") for number in range(1, USERS))]
        for what in ("downloads", "uploads", "downloads and uploads"):
            hive.stop()
            hive.start()
            heads = _Requests(hive, people, size_bytes)
            asked = heads.reading() if "downloads" in what else []
            asked += heads.sending(what.replace(" ", "-")) if "uploads" in what else []
            rows.append(_measured(hive, f"memory, {CLIENTS} slow {what}", asked, QUICK_HELD_S if quick else HELD_S))
    return rows


def _measured(hive: BenchHive, what: str, asked: list[dict[str, object]], held_s: float) -> Row:
    hive.call("GET", "/api/auth/me")
    time.sleep(SETTLE_S)
    idle_bytes = resident_bytes(hive.pid)
    forget_peak(hive.pid)
    with _clients(hive, asked) as clients:
        before = hive.cost()
        time.sleep(held_s)
        share = (hive.cost() - before).processor_s / held_s
        noticed_s = median([_listing_s(hive) for _ in range(LISTINGS)])
        peak_bytes = resident_bytes(hive.pid, peak=True)
        clients.terminate()
        assert clients.stdout is not None
        moved = json.loads(clients.stdout.readline())
    detail = (
        f"idle {idle_bytes / 1e6:.0f} MB; {moved['moving']} of {len(asked)} moved {moved['bytes'] / 1e6:.0f} MB in "
        f"{held_s:.0f} s; {share:.2f} of a core; a listing meanwhile took {noticed_s * 1e3:.0f} ms"
    )
    return Figure(what, peak_bytes / 1e6, "MB", detail, at_most=400)


def _listing_s(hive: BenchHive) -> float:
    began_s = time.perf_counter()
    hive.call("GET", "/api/filesystem/info?path=/")
    return time.perf_counter() - began_s


class _Person(NamedTuple):
    """A user's credentials."""

    token: str
    key: str
    secret: str


class _Requests:
    """The heads of requests, signed for S3."""

    def __init__(self, hive: BenchHive, people: list[_Person], size_bytes: int) -> None:
        self._host = urlsplit(hive.url).netloc
        self._people = people
        self._signers = [Signer(f"{hive.url}/s3", one.key, one.secret) for one in people]
        self._size_bytes = size_bytes

    def reading(self) -> list[dict[str, object]]:
        """GETs of the large file."""
        return [
            self._asked("GET", "/dav/bucket/large" if number % 2 else "/bucket/large", 0, number % 2, 0)
            for number in range(CLIENTS)
        ]

    def sending(self, name: str) -> list[dict[str, object]]:
        """PUTs of as much, each to a name of its own."""
        asked = []
        for number in range(CLIENTS):
            path = f"/dav/bucket/{name}-{number}" if number % 2 else f"/bucket/{name}-{number}"
            asked.append(self._asked("PUT", path, self._size_bytes, number % 2, number // 2 % USERS))
        return asked

    def _asked(self, method: str, path: str, length: int, is_dav: int, user: int) -> dict[str, object]:
        if is_dav:
            head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
            head += f"Authorization: Bearer {self._people[user].token}\r\n"
            head += f"Content-Length: {length}\r\n\r\n"
        else:
            head = self._signers[user].head(method, path, length).decode()
        return {"head": head, "length": length}


def _user(hive: BenchHive, name: str) -> _Person:
    """A new user who has a bucket."""
    password = f"a password for {name}"
    hive.call("POST", "/api/auth/users", {"name": name, "password": password})
    token: str = hive.call("POST", "/api/auth/login", {"name": name, "password": password})["access_token"]
    with _as(hive, token):
        hive.call("POST", "/api/filesystem/mkdir", {"path": "/bucket"})
    return _person(hive, token)


def _person(hive: BenchHive, token: str) -> _Person:
    with _as(hive, token):
        made = hive.call("POST", "/api/auth/access-keys", {"name": "bench"})
    return _Person(token, made["access_key"], made["secret"])


@contextmanager
def _as(hive: BenchHive, token: str) -> Iterator[None]:
    own, hive.token = hive.token, token
    try:
        yield
    finally:
        hive.token = own


@contextmanager
def _clients(hive: BenchHive, asked: list[dict[str, object]]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.slow_clients", hive.url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


class _Slow:
    """The clients' side: what each has moved."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)
        self.moved_bytes: list[int] = []

    async def run(self, asked: list[dict[str, object]]) -> None:
        self.moved_bytes = [0] * len(asked)
        print("begun", flush=True)
        await asyncio.gather(
            *(self._one(number, str(one["head"]), int(str(one["length"]))) for number, one in enumerate(asked))
        )

    async def _one(self, number: int, head: str, length: int) -> None:
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BYTES)
        connection.setblocking(False)
        await loop.sock_connect(connection, (self._place.hostname, self._place.port))
        await loop.sock_sendall(connection, head.encode())
        step_bytes = int(RATE_BYTES * STEP_S)
        while True:
            if length:
                await loop.sock_sendall(connection, os.urandom(step_bytes))
                self.moved_bytes[number] += step_bytes
            else:
                self.moved_bytes[number] += len(await loop.sock_recv(connection, step_bytes))
            await asyncio.sleep(STEP_S)


async def _main() -> None:
    import signal

    slow = _Slow(sys.argv[1])
    asked = json.loads(sys.stdin.readline())
    task = asyncio.ensure_future(slow.run(asked))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    moving = sum(count > RATE_BYTES for count in slow.moved_bytes)
    print(json.dumps({"bytes": sum(slow.moved_bytes), "moving": moving}), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
