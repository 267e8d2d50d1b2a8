"""The WebDAV door beside other WebDAV servers: one large file, many small ones, a large listing; one client."""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from bench import dav_peers
from bench.figures import Figure, Missing, Row, median
from bench.hive import running_hive
from bench.material import write_noise
from bench.plan import Plan
from bench.processes import run

SIZE_BYTES = 4096
CONNECTIONS = 16
OURS = "skep"
_WANTED = (
    '<?xml version="1.0"?><d:propfind xmlns:d="DAV:"><d:prop><d:displayname/><d:getlastmodified/>'
    "<d:getcontentlength/><d:resourcetype/><d:getetag/></d:prop></d:propfind>"
)
Seconds = dict[str, dict[str, list[float]]]
TARGETS: dict[str, dict[str, float]] = {
    "PUT of a large file": {"rclone": 1.5, "nginx": 0.7},
    "GET of a large file": {"rclone": 1.5, "nginx": 0.5},
    "PUT of 4 KiB files": {"rclone": 1.0},
    "GET of 4 KiB files": {"rclone": 1.3},
    "PROPFIND of all of them": {"rclone": 2.0},
}
"""How many times as fast as a peer, at least."""


def webdav(plan: Plan) -> list[Row]:
    """Seconds of each, in alternating rounds; ours are durable when they are answered, the peers' are not."""
    taken: Seconds = defaultdict(lambda: defaultdict(list))
    peers = dav_peers.names()
    with plan.room() as place, running_hive(place / "hive", limits__listing_items="20000") as hive:
        source = write_noise(place / "source", plan.file_bytes)
        for number in range(plan.rounds):
            with ExitStack() as running:
                servers = {OURS: f"{hive.url}/dav/round-{number}"}
                for name in peers:
                    url, files = running.enter_context(dav_peers.serving(name, place / f"{number}-{name}"))
                    (files / f"round-{number}").mkdir()
                    servers[name] = f"{url}/round-{number}"
                hive.call("POST", "/api/filesystem/mkdir", {"path": f"/round-{number}"})
                _large(servers, source, hive.token, place, taken)
                _small(servers, plan.small_files, hive.token, taken)
    amounts = {what: plan.file_bytes / 1e6 if "large" in what else float(plan.small_files) for what in TARGETS}
    return [row for what in TARGETS for row in _rows(what, taken[what], amounts[what])]


def _headers(name: str, token: str) -> list[str]:
    return ["-H", f"Authorization: Bearer {token}"] if name == OURS else []


def _large(servers: dict[str, str], source: Path, token: str, place: Path, taken: Seconds) -> None:
    for name, url in servers.items():
        os.sync()
        target = f"{url}/large"
        cost, _ = run(["curl", "-sS", "--fail", *_headers(name, token), "-H", "Expect:", "-T", source, target])
        taken["PUT of a large file"][name].append(cost.wall_s)
    for name, url in servers.items():
        cost, _ = run(["curl", "-sS", "--fail", *_headers(name, token), "-o", os.devnull, f"{url}/large"])
        taken["GET of a large file"][name].append(cost.wall_s)


def _small(servers: dict[str, str], count: int, token: str, taken: Seconds) -> None:
    for what, verb in (("PUT of 4 KiB files", "puts"), ("GET of 4 KiB files", "gets")):
        for name, url in servers.items():
            os.sync()
            words = [sys.executable, "-m", "bench.client", verb, f"{url}/file-", "--count", str(count)]
            words += ["--bytes", str(SIZE_BYTES), "--connections", str(CONNECTIONS)]
            _, output = run(words, environment={"BENCH_TOKEN": token if name == OURS else ""})
            taken[what][name].append(json.loads(output)["seconds"])
    for name, url in servers.items():
        if name == "nginx":  # its module has no PROPFIND
            continue
        command = ["curl", "-sS", "--fail", *_headers(name, token), "-X", "PROPFIND", "-H", "Depth: 1"]
        cost, _ = run([*command, "--data-binary", _WANTED, "-o", os.devnull, f"{url}/"])
        taken["PROPFIND of all of them"][name].append(cost.wall_s)


def _rows(what: str, seconds: dict[str, list[float]], amount: float) -> list[Row]:
    unit = "MB/s" if "large" in what else "a second"
    rows: list[Row] = []
    for name, each in seconds.items():
        rounds = ", ".join(f"{amount / one:,.0f}" for one in each)
        rows.append(Figure(f"{what}, {name}", amount / median(each), unit, f"rounds {rounds}"))
    for peer, target in TARGETS[what].items():
        if peer in seconds:
            ratio = median(seconds[peer]) / median(seconds[OURS])
            rows.append(Figure(f"{what} over {peer}", ratio, "x", at_least=target))
        else:
            rows.append(Missing(f"{what} over {peer}", f"{peer} is not installed"))
    return rows
