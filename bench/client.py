"""A client that costs little, in a process of its own: many requests over kept connections, or one stream of noise.

    python -m bench.client puts URL-PREFIX --count 10000 --bytes 4096 --connections 16
    python -m bench.client gets URL-PREFIX --count 10000 --connections 16
    python -m bench.client noise URL --bytes 1073741824

The token is taken from BENCH_TOKEN. Prints one line of JSON: seconds, and the latencies' percentiles in ms.
Requests are made before the clock starts; answers are parsed as far as their length.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import socket
import time
import urllib.parse
from collections.abc import Iterator
from functools import partial
from typing import cast

import uvloop

from bench.material import noise


def request(method: str, url: urllib.parse.SplitResult, path: str, length: int) -> bytes:
    """The head of a request."""
    token = os.environ.get("BENCH_TOKEN")
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {url.netloc}\r\n{bearer}Content-Length: {length}\r\n\r\n".encode()


class Connection(asyncio.Protocol):
    """One kept connection that takes the next request as soon as its answer is there."""

    def __init__(self, requests: Iterator[bytes], latencies_s: list[float], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._latencies_s = latencies_s
        self._done = done
        self._buffer = b""
        self._sent_s = 0.0
        self._current: bytes | None = None
        self._answered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._peer = transport.get_extra_info("peername")
        self._next()

    def _next(self) -> None:
        following = next(self._requests, None)
        if following is None:
            self._transport.close()
            if not self._done.done():
                self._done.set_result(None)
            return
        self._sent_s = time.perf_counter()
        self._current = following
        self._transport.write(following)

    def data_received(self, data: bytes) -> None:
        """Wait for a whole answer; anything but success ends the run."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        if not head.startswith(b"http/1.1 2"):
            self._fail(self._buffer[:400].decode(errors="replace"))
            return
        self._latencies_s.append(time.perf_counter() - self._sent_s)
        self._answered += 1
        self._buffer = b""
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """A server may close a connection between two requests: the next one goes over a new one."""
        if self._done.done():
            return
        if self._buffer or not self._answered or self._current is None:
            self._fail(f"the connection was closed: {error}")
            return
        again = Connection(itertools.chain([self._current], self._requests), self._latencies_s, self._done)
        host, port = self._peer[:2]
        loop = asyncio.get_running_loop()
        self._reopening = loop.create_task(loop.create_connection(lambda: again, host, port))

    def _fail(self, text: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(text))


async def puts(prefix: str, count: int, size_bytes: int, connections: int, method: str = "PUT") -> dict[str, float]:
    """PUT (or POST) ``count`` bodies that nobody has seen to ``prefix`` followed by their number."""
    url = urllib.parse.urlsplit(prefix)
    base = f"{url.path}?{url.query}" if url.query else url.path
    data = b"".join(noise(count * size_bytes))
    requests = [
        request(method, url, f"{base}{number}", size_bytes) + data[number * size_bytes : (number + 1) * size_bytes]
        for number in range(count)
    ]
    del data
    return await exchange(url, requests, connections)


async def gets(prefix: str, count: int, connections: int) -> dict[str, float]:
    """GET ``prefix`` followed by each number below ``count``."""
    url = urllib.parse.urlsplit(prefix)
    base = f"{url.path}?{url.query}" if url.query else url.path
    return await exchange(url, [request("GET", url, f"{base}{number}", 0) for number in range(count)], connections)


async def exchange(url: urllib.parse.SplitResult, requests: list[bytes], connections: int) -> dict[str, float]:
    """Send requests over kept connections, each as soon as one is free; the seconds, and latencies in ms."""
    gc.freeze()
    waiting, latencies_s, loop = iter(requests), list[float](), asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(connections)]
    began_s = time.perf_counter()
    for each in done:
        await loop.create_connection(
            partial(Connection, waiting, latencies_s, each), url.hostname or "", url.port or 80
        )
    await asyncio.gather(*done)
    seconds = time.perf_counter() - began_s
    latencies_s.sort()
    return {
        "seconds": seconds,
        "p50_ms": latencies_s[len(latencies_s) // 2] * 1e3,
        "p99_ms": latencies_s[len(latencies_s) * 99 // 100] * 1e3,
    }


def stream(target: str, size_bytes: int) -> dict[str, float]:
    """PUT one body of noise, made as it is sent."""
    url = urllib.parse.urlsplit(target)
    began_s = time.perf_counter()
    with socket.create_connection((url.hostname or "", url.port or 80)) as connection:
        connection.sendall(request("PUT", url, f"{url.path}?{url.query}", size_bytes))
        for piece in noise(size_bytes):
            connection.sendall(piece)
        answer = connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(answer[:400].decode(errors="replace"))
    return {"seconds": time.perf_counter() - began_s}


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("puts", "posts", "gets", "noise"))
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=4096)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    if options.what == "noise":
        found = stream(options.url, options.bytes)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if options.what == "gets":
                found = runner.run(gets(options.url, options.count, options.connections))
            else:
                method = "POST" if options.what == "posts" else "PUT"
                found = runner.run(puts(options.url, options.count, options.bytes, options.connections, method))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
