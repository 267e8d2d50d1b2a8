"""Ten thousand files of 4 KiB: one by one, in a batch, listed; beside ``rclone serve webdav``."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
import urllib.parse
from pathlib import Path

from bench import peers
from bench.figures import Figure, Missing, Row, median
from bench.hive import BenchHive, running_hive
from bench.material import noise
from bench.plan import Plan
from bench.processes import Cost, run
from skep.client.framing import BATCH_TYPE, encode_batch

SIZE_BYTES = 4096
CONNECTIONS = 16
LISTINGS = 5
MODIFIED_US = 1_700_000_000_000_000


def small_files(plan: Plan) -> list[Row]:
    """Files in a second, durable when they are answered; milliseconds of a listing."""
    count = plan.small_files
    single: list[tuple[float, Cost]] = []
    webdav: list[float] = []
    batch: list[tuple[float, Cost]] = []
    details: dict[str, float] = {}
    with plan.room() as place, running_hive(place / "hive") as hive:
        for number in range(plan.rounds):
            hive.call("POST", "/api/filesystem/mkdir", {"path": f"/single-{number}"})
            os.sync()
            before = hive.cost()
            details = _puts(f"{hive.url}/api/filesystem/data?path=/single-{number}/file-", count, hive.token)
            single.append((details["seconds"], hive.cost() - before))
            if peers.found("rclone"):
                webdav.append(_webdav(place / f"webdav-{number}", count))
            batch.append(_batch(hive, number, count))
        before = hive.cost()
        listings = [_listing(hive, count) for _ in range(LISTINGS)]
        listing = hive.cost() - before
    latency = f"p50 {details['p50_ms']:.1f} ms, p99 {details['p99_ms']:.1f} ms"
    rows: list[Row] = [
        _rate("4 KiB files one by one, 16 connections", single, count, 1000, latency),
        _rate("4 KiB files in a batch", batch, count, 5000, "framed by the client before the clock starts"),
    ]
    if webdav:
        rate = count / median(webdav)
        rows.append(Figure("  rclone serve webdav, the same PUTs", rate, "files/s", "not durable: it does not fsync"))
        ours = count / median([seconds for seconds, _ in single])
        rows.append(Figure("4 KiB files one by one over rclone", ours / rate, "x"))
    else:
        rows.append(Missing("4 KiB files one by one over rclone", "rclone is not installed"))
    detail = f"{count:,} entries in one answer; server {listing.per_call(LISTINGS)}"
    rows.append(Figure("listing a directory", median(listings) * 1e3, "ms", detail, at_most=150))
    return rows


def _rate(name: str, runs: list[tuple[float, Cost]], count: int, target: float, more: str) -> Figure:
    cost = sum((each for _, each in runs), Cost())
    detail = f"server {cost.per_call(count * len(runs))}; {more}"
    return Figure(name, count / median([seconds for seconds, _ in runs]), "files/s", detail, at_least=target)


def _puts(prefix: str, count: int, token: str = "") -> dict[str, float]:
    words = [sys.executable, "-m", "bench.client", "puts", prefix, "--count", str(count), "--bytes", str(SIZE_BYTES)]
    _, output = run([*words, "--connections", str(CONNECTIONS)], environment={"BENCH_TOKEN": token})
    found: dict[str, float] = json.loads(output)
    return found


def _webdav(directory: Path, count: int) -> float:
    with peers.rclone_webdav(directory) as url:
        return _puts(f"{url}/file-", count)["seconds"]


def _batch(hive: BenchHive, number: int, count: int) -> tuple[float, Cost]:
    data = b"".join(noise(count * SIZE_BYTES))
    bodies = (data[start : start + SIZE_BYTES] for start in range(0, len(data), SIZE_BYTES))
    body = encode_batch((f"/batch-{number}/file-{n}", each, MODIFIED_US) for n, each in enumerate(bodies))
    os.sync()
    before = hive.cost()
    seconds, answer = exchange(hive, "POST", "/api/filesystem/batch", body, BATCH_TYPE)
    assert json.loads(answer)["stored"] == count
    return seconds, hive.cost() - before


def _listing(hive: BenchHive, count: int) -> float:
    seconds, answer = exchange(hive, "GET", f"/api/filesystem/info?path=/batch-0&limit={count}")
    assert len(json.loads(answer)["files"]) == count
    return seconds


def exchange(hive: BenchHive, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[float, bytes]:
    """One request over a connection of its own; the seconds until the answer was there, and its body."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(hive.url).netloc, timeout=600)
    connection.connect()
    headers = {"Authorization": f"Bearer {hive.token}", **({"Content-Type": kind} if kind else {})}
    began_s = time.perf_counter()
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    seconds = time.perf_counter() - began_s
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
    return seconds, content
