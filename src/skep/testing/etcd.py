"""A real etcd cluster for tests: three members on free loopback ports, with their data in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

START_LIMIT_S = 30.0


@dataclass
class Member:
    """One member, and how it is started again."""

    url: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it."""
        with self.log.open("ab") as log:
            env = {**os.environ, "ETCD_UNSUPPORTED_ARCH": "arm64"}
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=env, start_new_session=True)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass
class EtcdCluster:
    """The members."""

    members: list[Member] = field(default_factory=list)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where clients find them."""
        return tuple(member.url for member in self.members)


@contextlib.contextmanager
def etcd_cluster(program: Path, directory: Path, count: int = 3) -> Iterator[EtcdCluster]:
    """Run a cluster of so many members of ``program``; healthy when the body begins."""
    ports = _free_ports(2 * count)
    peers = ",".join(f"m{number}=http://127.0.0.1:{ports[count + number]}" for number in range(count))
    cluster = EtcdCluster()
    for number in range(count):
        client, peer = f"http://127.0.0.1:{ports[number]}", f"http://127.0.0.1:{ports[count + number]}"
        command = [
            str(program), "--name", f"m{number}", "--data-dir", str(directory / f"m{number}"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", peers, "--initial-cluster-token", directory.name, "--initial-cluster-state", "new",
            "--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "warn",
        ]  # fmt: skip
        cluster.members.append(Member(client, command, directory / f"m{number}.log"))
    try:
        for member in cluster.members:
            member.start()
        for member in cluster.members:
            _until_healthy(member)
        yield cluster
    finally:
        for member in cluster.members:
            member.kill()
        for number in range(count):
            shutil.rmtree(directory / f"m{number}", ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _until_healthy(member: Member) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end_s:
        with contextlib.suppress(httpx.HTTPError), httpx.Client(timeout=2) as client:
            if client.get(f"{member.url}/health").json().get("health") == "true":
                return
        time.sleep(0.1)
    raise RuntimeError(f"etcd does not start: {member.log.read_text()[-2000:]}")
