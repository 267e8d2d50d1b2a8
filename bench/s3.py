"""The S3 door beside SeaweedFS and ``rclone serve s3``: small objects, parts, one large object.

SeaweedFS is told to fsync each write (``fs.configure -fsync``), as the hive does. rclone writes files and does not
fsync. Neither encrypts, deduplicates or keeps versions; the hive does all three.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.figures import Figure, Missing, Row, median
from bench.hive import running_hive
from bench.plan import MIB, Plan
from bench.processes import run
from skep.testing.programs import find_program
from skep.testing.seaweed import KEY_ID, SECRET_KEY, seaweed

SMALL_BYTES = 4096
CONNECTIONS = 16
OBJECT_BYTES = 64 * MIB
PART_BYTES = 8 * MIB
OBJECTS = 4
WHATS = {
    "put": ("4 KiB PUT, 16 connections", "objects/s"),
    "get": ("4 KiB GET, 16 connections", "objects/s"),
    "multipart": ("64 MiB objects in parts of 8 MiB, 4 connections", "MB/s"),
    "large-put": ("one large PUT", "MB/s"),
    "large-get": ("one large GET", "MB/s"),
}
TARGETS = {
    ("put", "SeaweedFS, fsync"): 1.0,
    ("get", "SeaweedFS, fsync"): 1.0,
    ("multipart", "SeaweedFS, fsync"): 0.7,
    ("large-put", "rclone serve s3"): 1.5,
    ("large-get", "rclone serve s3"): 1.5,
}


@dataclass(frozen=True)
class Server:
    """Something that speaks S3."""

    name: str
    endpoint: str
    key: str
    secret: str

    def measure(self, what: str, *options: object) -> dict[str, float]:
        """Let the client do something with it."""
        environment = {"BENCH_S3_KEY": self.key, "BENCH_S3_SECRET": self.secret}
        words = [sys.executable, "-m", "bench.s3_client", what, self.endpoint, "bench", *map(str, options)]
        _, output = run(words, environment=environment)
        found: dict[str, float] = json.loads(output)
        return found


def s3(plan: Plan) -> list[Row]:
    """Rates of the hive and its peers, in turn in every round; then their ratios."""
    found: dict[tuple[str, str], list[float]] = {}
    with plan.room() as place, _hive(place) as ours, _weed(place) as weed, _rclone(place) as rclone:
        servers = [one for one in (ours, weed, rclone) if one is not None]
        for number in range(plan.rounds):
            for server in servers:
                for what, rate in _round(server, plan, number).items():
                    found.setdefault((what, server.name), []).append(rate)
    rows: list[Row] = []
    for what, (title, unit) in WHATS.items():
        rows += [Figure(f"{title}: {server.name}", median(found[what, server.name]), unit) for server in servers]
        for server in servers[1:]:
            ratio = median(found[what, ours.name]) / median(found[what, server.name])
            rows.append(Figure(f"{title} over {server.name}", ratio, "x", at_least=TARGETS.get((what, server.name))))
    missing = {"SeaweedFS, fsync": weed, "rclone serve s3": rclone}
    rows += [Missing(f"S3 beside {name}", "it is not installed") for name, server in missing.items() if server is None]
    return rows


def _round(server: Server, plan: Plan, number: int) -> dict[str, float]:
    count, prefix = plan.small_files, f"round-{number}"
    small = ("--prefix", prefix, "--count", count, "--bytes", SMALL_BYTES, "--connections", CONNECTIONS)
    rates: dict[str, float] = {}
    os.sync()
    rates["put"] = count / server.measure("put", *small)["seconds"]
    rates["get"] = count / server.measure("get", *small)["seconds"]
    os.sync()
    parts = ("--count", OBJECTS, "--bytes", OBJECT_BYTES, "--part", PART_BYTES, "--connections", 4)
    rates["multipart"] = OBJECTS * OBJECT_BYTES / 1e6 / server.measure("multipart", *parts)["seconds"]
    for what in ("large-put", "large-get"):
        os.sync()
        seconds = server.measure(what, "--bytes", plan.parallel_bytes)["seconds"]
        rates[what] = plan.parallel_bytes / 1e6 / seconds
    return rates


@contextmanager
def _hive(place: Path) -> Iterator[Server]:
    with running_hive(place / "hive", log__requests="none") as hive:
        made = hive.call("POST", "/api/auth/access-keys", {"name": "bench"})
        server = Server("Skep", f"{hive.url}/s3", made["access_key"], made["secret"])
        server.measure("bucket")
        yield server


@contextmanager
def _weed(place: Path) -> Iterator[Server | None]:
    program = find_program("weed")
    if program is None:
        yield None
        return
    (place / "weed").mkdir()
    with seaweed(program, place / "weed", volumes=100, volume_mb=1024) as running:
        running.bucket("bench")
        command = "fs.configure -locationPrefix=/buckets/bench/ -fsync=true -apply\n"
        master, filer = running.ports["master"], running.ports["filer"]
        subprocess.run(
            [
                program, "shell", f"-master=127.0.0.1:{master}.{master + 10_000}",
                f"-filer=127.0.0.1:{filer}.{filer + 10_000}",
            ],
            input=command, text=True, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        yield Server("SeaweedFS, fsync", running.endpoint, KEY_ID, SECRET_KEY)


@contextmanager
def _rclone(place: Path) -> Iterator[Server | None]:
    program = find_program("rclone")
    if program is None:
        yield None
        return
    directory = place / "rclone"
    (directory / "bench").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command: list[str | Path] = [program, "serve", "s3", directory, "--addr", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--auth-key", "bench,bench-secret", "--config", os.devnull],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_clean(),
    )  # fmt: skip
    try:
        peers.await_port(port)
        yield Server("rclone serve s3", f"http://127.0.0.1:{port}", "bench", "bench-secret")
    finally:
        process.terminate()
        process.wait()


def _clean() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
