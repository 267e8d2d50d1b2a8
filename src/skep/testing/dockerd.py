"""A real dockerd for tests: in a network namespace and a directory of its own, ended and cleared away with the context.

A daemon changes the firewall of its namespace, so it never gets this machine's. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Dockerd:
    """A daemon that answers."""

    url: str
    namespace: str
    address: str
    """Where the ports that it publishes are reached from this machine."""


def _run(*argv: str, check: bool = True) -> None:
    subprocess.run(argv, check=check, timeout=30, capture_output=True)


@contextlib.contextmanager
def dockerd(program: Path, directory: Path) -> Iterator[Dockerd]:
    """Run a daemon with all its files below ``directory``; it is entered by its socket there."""
    name = f"skep{secrets.token_hex(3)}"
    subnet = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _run("ip", "addr", "add", f"{subnet}.1/24", "dev", f"{name}a")
        _run("ip", "link", "set", f"{name}a", "up")
        for words in (("addr", "add", f"{subnet}.2/24", "dev", f"{name}b"), ("link", "set", f"{name}b", "up")):
            _run("ip", "-n", name, *words)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        with _daemon(program, directory, name) as url:
            yield Dockerd(url, name, f"{subnet}.2")
    finally:
        _run("ip", "link", "del", f"{name}a", check=False)
        _run("ip", "netns", "del", name, check=False)


@contextlib.contextmanager
def _daemon(program: Path, directory: Path, namespace: str) -> Iterator[str]:
    path = directory / "docker.sock"
    argv = [
        *("nsenter", f"--net=/run/netns/{namespace}", str(program), f"--host=unix://{path}"),
        *(f"--data-root={directory}/data", f"--exec-root={directory}/exec", f"--pidfile={directory}/pid"),
        *("--bip=172.31.0.1/24", "--ip-masq=false", "--cgroup-parent", f"/{namespace}"),
    ]
    log = directory / "log"
    process = subprocess.Popen(argv, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _until_it_answers(process, path, log)
        yield f"unix://{path}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
        for mount in sorted(_mounts_below(directory), reverse=True):
            _run("umount", "-l", mount, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{directory}/")]


def _until_it_answers(process: subprocess.Popen[bytes], path: Path, log: Path) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while True:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(str(path))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            if b" 200 " in probe.recv(4096):
                return
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"dockerd does not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)
