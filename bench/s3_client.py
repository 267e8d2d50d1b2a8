"""An S3 client that costs little, in a process of its own: signed requests over kept connections.

    python -m bench.s3_client put ENDPOINT BUCKET --count 10000 --bytes 4096 --connections 16
    python -m bench.s3_client get …        what put left there
    python -m bench.s3_client multipart …  each object in parts of --part bytes
    python -m bench.s3_client bucket …     make the bucket

The key is in BENCH_S3_KEY and BENCH_S3_SECRET. Prints one line of JSON: seconds and percentiles in ms. Requests are
made and signed before the clock starts, but for those that complete an upload. Bodies are not signed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import socket
import time
import urllib.parse
from collections.abc import Iterator
from functools import partial

import uvloop

from bench.client import Connection
from bench.material import noise
from skep.base.clock import SystemClock
from skep.frontends.s3 import sigv4
from skep.frontends.s3.dates import iso_date


class Signer:
    """Makes the heads of signed requests."""

    def __init__(self, endpoint: str, key: str, secret: str) -> None:
        self.url = urllib.parse.urlsplit(endpoint)
        self.date = re.sub(r"[-:]|\.\d+", "", iso_date(SystemClock().now_us()))
        self.scope = sigv4.CredentialScope(key, self.date[:8], "us-east-1")
        self.key = sigv4.signing_key(secret, self.date[:8], "us-east-1")

    def head(self, method: str, path: str, length: int, query: str = "") -> bytes:
        """The head of a request, to be followed by its body."""
        headers = [("host", self.url.netloc), ("x-amz-content-sha256", sigv4.UNSIGNED), ("x-amz-date", self.date)]
        path = self.url.path + path
        pairs = sigv4.parse_query(query.encode())
        canonical = sigv4.canonical_request(method, path, sigv4.canonical_query(pairs), headers, sigv4.UNSIGNED)
        signature = sigv4.sign(self.key, sigv4.string_to_sign(self.date, self.scope, canonical))
        names = ";".join(name for name, _ in headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return (
            f"{method} {path}{'?' + query if query else ''} HTTP/1.1\r\n{lines}"
            f"authorization: AWS4-HMAC-SHA256 Credential={self.scope.access_key}/{self.scope.text}, "
            f"SignedHeaders={names}, Signature={signature}\r\ncontent-length: {length}\r\n\r\n"
        ).encode()


async def run(url: urllib.parse.SplitResult, requests: Iterator[bytes], connections: int) -> dict[str, float]:
    """Send all requests; the seconds that took, and how long answers took."""
    gc.freeze()
    latencies_s, loop = list[float](), asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(connections)]
    began_s = time.perf_counter()
    for each in done:
        await loop.create_connection(partial(Connection, requests, latencies_s, each), url.hostname, url.port)
    await asyncio.gather(*done)
    seconds = time.perf_counter() - began_s
    latencies_s.sort()
    return {
        "seconds": seconds,
        "p50_ms": latencies_s[len(latencies_s) // 2] * 1e3,
        "p99_ms": latencies_s[len(latencies_s) * 99 // 100] * 1e3,
    }


def exchange(signer: Signer, connection: socket.socket, head: bytes, body: bytes = b"") -> tuple[bytes, bytes]:
    """One request over a connection; head and body of the answer."""
    connection.sendall(head + body)
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(1 << 20)
        if not piece:
            raise RuntimeError("the server closed the connection")
        answer += piece
    got, _, rest = answer.partition(b"\r\n\r\n")
    if not got.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(answer[:600].decode(errors="replace"))
    match = re.search(rb"(?i)content-length: *(\d+)", got)
    length = int(match[1]) if match else 0
    while len(rest) < length:
        rest += connection.recv(1 << 20)
    return got, rest


def whole(signer: Signer, method: str, path: str, size_bytes: int) -> dict[str, float]:
    """One large object up or down over one connection."""
    buffer = bytearray(1 << 20)
    began_s = time.perf_counter()
    with socket.create_connection((signer.url.hostname or "", signer.url.port or 80)) as connection:
        if method == "PUT":
            connection.sendall(signer.head("PUT", path, size_bytes))
            for piece in noise(size_bytes):
                connection.sendall(piece)
            answer = connection.recv(65536)
        else:
            connection.sendall(signer.head("GET", path, 0))
            answer = connection.recv(65536)
            left = size_bytes - len(answer.partition(b"\r\n\r\n")[2])
            while left > 0:
                left -= connection.recv_into(buffer) or left
        if not answer.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(answer[:600].decode(errors="replace"))
    return {"seconds": time.perf_counter() - began_s}


async def multipart(
    signer: Signer, bucket: str, count: int, size: int, part: int, connections: int
) -> dict[str, float]:
    """Objects in parts, ``connections`` at a time of all objects together."""
    data = b"".join(noise(size * count))
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(connections)

    def one(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        with socket.create_connection((signer.url.hostname or "", signer.url.port or 80)) as connection:
            return exchange(signer, connection, head, body)

    async def send(head: bytes, body: bytes = b"") -> tuple[bytes, bytes]:
        async with places:
            return await loop.run_in_executor(None, one, head, body)

    async def upload(number: int) -> None:
        path = f"/{bucket}/parts-{number}"
        _, opened = await send(signer.head("POST", path, 0, "uploads="))
        match = re.search(rb"<UploadId>([^<]+)", opened)
        assert match is not None
        upload_id = match[1].decode()
        sent = []
        for at in range(0, size, part):
            query = f"partNumber={at // part + 1}&uploadId={upload_id}"
            body = data[number * size + at : number * size + min(size, at + part)]
            sent.append(send(signer.head("PUT", path, len(body), query), body))
        parts = ""
        for order, (got, _) in enumerate(await asyncio.gather(*sent), 1):
            tag = re.search(rb"(?i)etag: *([^\r]+)", got)
            assert tag is not None
            parts += f"<Part><PartNumber>{order}</PartNumber><ETag>{tag[1].decode()}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        _, answer = await send(signer.head("POST", path, len(body), f"uploadId={upload_id}"), body)
        assert b"<ETag>" in answer, answer

    began_s = time.perf_counter()
    await asyncio.gather(*(upload(number) for number in range(count)))
    return {"seconds": time.perf_counter() - began_s}


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("put", "get", "multipart", "bucket", "large-put", "large-get"))
    parser.add_argument("endpoint")
    parser.add_argument("bucket")
    parser.add_argument("--prefix", default="small")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=4096)
    parser.add_argument("--part", type=int, default=8 << 20)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    signer = Signer(options.endpoint, os.environ["BENCH_S3_KEY"], os.environ["BENCH_S3_SECRET"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_measured(signer, options))))


async def _measured(signer: Signer, options: argparse.Namespace) -> dict[str, float]:
    bucket, size, count = options.bucket, options.bytes, options.count
    if options.what == "bucket":
        return await run(signer.url, iter([signer.head("PUT", f"/{bucket}", 0)]), 1)
    if options.what == "multipart":
        return await multipart(signer, bucket, count, size, options.part, options.connections)
    if options.what.startswith("large"):
        return whole(signer, options.what[6:].upper(), f"/{bucket}/large", size)
    paths = [f"/{bucket}/{options.prefix}/file-{number}" for number in range(count)]
    if options.what == "get":
        requests = [signer.head("GET", path, 0) for path in paths]
    else:
        data = b"".join(noise(count * size))
        requests = [signer.head("PUT", path, size) + data[at * size : (at + 1) * size] for at, path in enumerate(paths)]
    return await run(signer.url, iter(requests), options.connections)


if __name__ == "__main__":
    main()
