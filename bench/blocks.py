"""The block API beside ``rclone serve webdav``: 4 KiB files over 16 connections, sent and read; one client."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict

from bench import dav_peers
from bench.figures import Figure, Missing, Row, median
from bench.hive import running_hive
from bench.plan import Plan
from bench.processes import run

SIZE_BYTES = 4096
CONNECTIONS = 16
OURS, PEER = "skep", "rclone"
POSTS, GETS = "POST of 4 KiB files", "GET of 4 KiB files"
TARGETS = {POSTS: 1.0, GETS: 1.3}
"""How many times as fast as the peer's PUTs and GETs, at least."""


def blocks(plan: Plan) -> list[Row]:
    """Files in a second, in alternating rounds; ours are durable when they are answered, the peer's are not."""
    taken: dict[str, dict[str, list[float]]] = {what: defaultdict(list) for what in TARGETS}
    count = plan.small_files
    with plan.room() as place, running_hive(place / "hive") as hive:
        prefix = hive.call("POST", "/api/v0/prefix/", {})["prefix"]
        for number in range(plan.rounds):
            ours = f"{hive.url}/api/v0/files/{prefix}/blocks/{number}-"
            _measured(ours, "posts", count, hive.token, taken[POSTS][OURS])
            _measured(ours, "gets", count, "", taken[GETS][OURS])
            if PEER not in dav_peers.names():
                continue
            with dav_peers.serving(PEER, place / f"{number}-{PEER}") as (url, _):
                _measured(f"{url}/file-", "puts", count, "", taken[POSTS][PEER])
                _measured(f"{url}/file-", "gets", count, "", taken[GETS][PEER])
    return [row for what in TARGETS for row in _rows(what, taken[what], count)]


def _measured(prefix: str, verb: str, count: int, token: str, seconds: list[float]) -> None:
    os.sync()
    words = [sys.executable, "-m", "bench.client", verb, prefix, "--count", str(count), "--bytes", str(SIZE_BYTES)]
    _, output = run([*words, "--connections", str(CONNECTIONS)], environment={"BENCH_TOKEN": token})
    seconds.append(json.loads(output)["seconds"])


def _rows(what: str, seconds: dict[str, list[float]], count: int) -> list[Row]:
    rows: list[Row] = []
    for name, each in seconds.items():
        rounds = ", ".join(f"{count / one:,.0f}" for one in each)
        rows.append(Figure(f"block API, {what}, {name}", count / median(each), "a second", f"rounds {rounds}"))
    if PEER in seconds:
        ratio = median(seconds[PEER]) / median(seconds[OURS])
        rows.append(Figure(f"block API, {what} over {PEER}", ratio, "x", at_least=TARGETS[what]))
    else:
        rows.append(Missing(f"block API, {what} over {PEER}", f"{PEER} is not installed"))
    return rows
