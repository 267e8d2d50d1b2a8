"""An open-loop client: requests begin by a schedule, whatever becomes of those before, and every answer is checked.

    python -m skep.testing.load --address 127.0.0.1:8080 --host app.test --rate 400 --requests 100000

Most are short GETs on connections that are kept; some come on connections of their own; some are uploads that take a
second, some answers take ``--long-s``, some are WebSockets that talk for as long. It ends after so many requests or
when its standard input ends, waits for what is under way, and prints a JSON object: what began, what went well, what
did not and why, and quantiles of the short ones' times.

A kept connection that the other side closes before it answered anything is no failure: every client sends a GET again
then (RFC 9112 section 9.3.1). It is counted as ``resent``, once for a request; a second time is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import contextlib
import hashlib
import json
import os
import random
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

OPEN_MAX = 4000
"""Requests under way; more count as failed, as nobody would wait so long."""
IDLE_MAX = 64
ANSWER_TIMEOUT_S = 30.0
REASONS_MAX = 20
UPLOAD_PIECES = 5


@dataclass
class Plan:
    """What is sent."""

    address: str
    port: int
    host: str
    rate: float
    requests: int
    long_s: float = 2.0
    upload_s: float = 1.0
    fresh: float = 0.1
    """Share of short requests on connections of their own."""
    uploads: float = 0.01
    longs: float = 0.01
    sockets: float = 0.005
    seed: int = 1


@dataclass
class Result:
    """What became of it."""

    begun: collections.Counter[str] = field(default_factory=collections.Counter)
    well: collections.Counter[str] = field(default_factory=collections.Counter)
    failed: collections.Counter[str] = field(default_factory=collections.Counter)
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    resent: int = 0
    versions: set[str] = field(default_factory=set)
    late_s: float = 0.0
    """The most that a request began after its time: the client itself was too slow."""
    times_s: list[float] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        times = sorted(self.times_s)
        return {
            "begun": dict(self.begun),
            "well": dict(self.well),
            "failed": dict(self.failed),
            "failures": sum(self.failed.values()),
            "requests": sum(self.begun.values()),
            "reasons": dict(self.reasons.most_common(REASONS_MAX)),
            "resent": self.resent,
            "versions": sorted(self.versions),
            "late_s": round(self.late_s, 3),
            "p50_s": round(times[len(times) // 2], 4) if times else None,
            "p99_s": round(times[len(times) * 99 // 100], 4) if times else None,
        }


class Wrong(Exception):
    """An answer that is not what was asked for."""


class Closed(Exception):
    """A kept connection was closed before anything of an answer came."""


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.result = Result()
        self._idle: collections.deque[Connection] = collections.deque()
        self._random = random.Random(plan.seed)  # noqa: S311
        self._kinds = {"upload": self._upload, "long": self._long, "socket": self._socket, "fast": self._fast}

    async def run(self, stop: asyncio.Event) -> Result:
        """Begin requests until there are enough or ``stop`` is set; then wait for all of them."""
        loop = asyncio.get_running_loop()
        started_s, under_way = loop.time(), set[asyncio.Task[None]]()
        for number in range(self.plan.requests):
            due_s = started_s + number / self.plan.rate
            if (wait_s := due_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            self.result.late_s = max(self.result.late_s, loop.time() - due_s)
            if stop.is_set():
                break
            kind = self._kind()
            self.result.begun[kind] += 1
            if len(under_way) >= OPEN_MAX:
                self._fail(kind, "too many under way")
                continue
            task = asyncio.ensure_future(self._one(kind))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        while self._idle:
            self._idle.popleft()[1].close()
        return self.result

    def _kind(self) -> str:
        chosen = self._random.random()
        for kind, share in (("upload", self.plan.uploads), ("long", self.plan.longs), ("socket", self.plan.sockets)):
            if chosen < share:
                return kind
            chosen -= share
        return "fast"

    async def _one(self, kind: str) -> None:
        began_s = asyncio.get_running_loop().time()
        limit_s = ANSWER_TIMEOUT_S + 2 * self.plan.long_s
        try:
            async with asyncio.timeout(limit_s):
                await self._kinds[kind]()
        except TimeoutError:
            self._fail(kind, f"no answer within {limit_s:g} s")
        except (OSError, asyncio.IncompleteReadError, Wrong, Closed, ValueError) as error:
            self._fail(kind, f"{type(error).__name__} {error}"[:160])
        else:
            self.result.well[kind] += 1
            if kind == "fast":
                self.result.times_s.append(asyncio.get_running_loop().time() - began_s)

    def _fail(self, kind: str, why: str) -> None:
        self.result.failed[kind] += 1
        self.result.reasons[f"{kind}: {why}"] += 1

    # --- kinds ----------------------------------------------------------------------------------

    async def _fast(self) -> None:
        fresh = self._random.random() < self.plan.fresh
        connection = self._idle.pop() if self._idle and not fresh else None
        if connection is not None:
            try:
                await self._get(connection, keep=True)
                return
            except Closed:
                self.result.resent += 1
        await self._get(await self._connect(), keep=not fresh)

    async def _get(self, connection: Connection, *, keep: bool) -> None:
        reader, writer = connection
        kept = False
        try:
            self._send(writer, "GET", "/fast", "" if keep else "connection: close\r\n")
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                if getattr(error, "partial", b""):
                    raise
                raise Closed("before an answer") from None
            length, stays = _headed(head, 200)
            body = (await reader.readexactly(length)).decode()
            if not body.startswith("fast "):
                raise Wrong(body[:40])
            self.result.versions.add(body[5:])
            if keep and stays and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                kept = True
        finally:
            if not kept:
                writer.close()

    async def _long(self) -> None:
        reader, writer = await self._connect()
        try:
            self._send(writer, "GET", f"/slow?s={self.plan.long_s}")
            length, _ = _headed(await reader.readuntil(b"\r\n\r\n"), 200)
            body = await reader.readexactly(length)
            if body != b"".join(b"%07d\n" % number for number in range(length // 8)):
                raise Wrong("not the whole answer")
        finally:
            writer.close()

    async def _upload(self) -> None:
        reader, writer = await self._connect()
        try:
            piece = os.urandom(2000)
            size = len(piece) * UPLOAD_PIECES
            self._send(writer, "POST", "/upload", f"content-length: {size}\r\n")
            for _ in range(UPLOAD_PIECES):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(self.plan.upload_s / UPLOAD_PIECES)
            length, _ = _headed(await reader.readuntil(b"\r\n\r\n"), 200)
            told = (await reader.readexactly(length)).decode()
            if told != f"{size} {hashlib.sha256(piece * UPLOAD_PIECES).hexdigest()}":
                raise Wrong("it read something else")
        finally:
            writer.close()

    async def _socket(self) -> None:
        reader, writer = await self._connect()
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            upgrade = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n"
            self._send(writer, "GET", "/socket", f"{upgrade}sec-websocket-key: {key}\r\n")
            _headed(await reader.readuntil(b"\r\n\r\n"), 101)
            for number in range(max(1, int(self.plan.long_s * 5))):
                await self._echo(reader, writer, 0x81, b"message %d" % number)
                await asyncio.sleep(0.2)
            await self._echo(reader, writer, 0x88, b"\x03\xe8")
        finally:
            writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: int, text: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        writer.write(bytes([first, 0x80 | len(text)]) + mask + masked)
        head = await reader.readexactly(2)
        if head[0] != first or await reader.readexactly(head[1]) != text:
            raise Wrong("another message came back")

    # --- small change ---------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        return await asyncio.open_connection(self.plan.address, self.plan.port)

    def _send(self, writer: asyncio.StreamWriter, method: str, path: str, more: str = "") -> None:
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: {self.plan.host}\r\n{more}\r\n".encode())


def _headed(head: bytes, wanted: int) -> tuple[int, bool]:
    """The length of the body, and whether the connection stays. Raises Wrong for another status."""
    lines = head.decode("latin-1").lower().split("\r\n")
    status = int(lines[0].split(" ")[1])
    if status != wanted:
        raise Wrong(f"status {status}")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(headers.get("content-length", "0")), headers.get("connection") != "close"


async def main(arguments: list[str]) -> None:
    """Run by the words of a command line; prints ``begun`` and then the result."""
    parser = argparse.ArgumentParser(description="open-loop load")
    parser.add_argument("--address", required=True)
    parser.add_argument("--host", default="app.test")
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--long-s", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args(arguments)
    address, _, port = told.address.rpartition(":")
    plan = Plan(address, int(port), told.host, told.rate, told.requests, told.long_s, seed=told.seed)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def until_the_input_ends() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock a thread must not hold when the program ends
            pass
        with contextlib.suppress(RuntimeError):  # it ended before
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=until_the_input_ends, daemon=True).start()
    print("begun", flush=True)  # noqa: T201
    print(json.dumps((await Load(plan).run(stop)).told()), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
