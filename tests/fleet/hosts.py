"""Hosts as network namespaces on one switch: each with an IPv4 and an IPv6 address and programs that listen.

Needs root and iproute2. Names are unique to the process; everything goes away with the block. A "this is blocked" test
means something only inside such a namespace.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_numbers = itertools.count()
LISTENER = """
import asyncio, sys
async def answer(reader, writer):
    writer.write(b"well")
    await writer.drain()
    writer.close()
async def main():
    for port in sys.argv[1].split(","):
        await asyncio.start_server(answer, None, int(port))
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
PROBER = """
import asyncio, json, sys
async def probe(address, port, places):
    async with places:
        try:
            async with asyncio.timeout(float(sys.argv[1])):
                reader, writer = await asyncio.open_connection(address, port)
                answer = await reader.read(4)
                writer.close()
                return answer == b"well"
        except (OSError, TimeoutError):
            return False
async def main():
    places = asyncio.Semaphore(200)
    targets = json.load(sys.stdin)
    print(json.dumps(await asyncio.gather(*(probe(a, p, places) for a, p in targets))))
asyncio.run(main())
"""
BLOCKED_AFTER_S = 1.5


@dataclass
class Host:
    """A namespace. ``prefix`` runs a program in it."""

    name: str
    namespace: str
    address: str
    address6: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.namespace}")

    def run(self, *argv: str, stdin: str = "") -> str:
        done = subprocess.run([*self.prefix, *argv], input=stdin, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def listen(self, *ports: int) -> None:
        """Answer on these TCP ports, both IP versions, until the host goes."""
        command = [*self.prefix, sys.executable, "-c", LISTENER, ",".join(map(str, ports))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def serve_ssh(self, folder: Path, authorized: Path) -> None:
        """Run sshd in a namespace of its own for files, too: its `/etc` is an overlay in ``folder``."""
        folder.mkdir()
        for name in ("upper", "work"):
            (folder / name).mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
        (folder / "config").write_text(
            f"Port 22\nHostKey {folder}/key\nAuthorizedKeysFile {authorized}\nStrictModes no\nUsePAM no\n"
            f"PermitRootLogin yes\nPasswordAuthentication no\nPidFile none\nMaxStartups 100\n"
        )
        script = (
            'mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc && '
            'mkdir -p /run/sshd && exec "$2" -D -e -f "$1/config"'
        )
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        command = [*self.prefix, "unshare", "--mount", "sh", "-c", script, "sh", str(folder), sshd]
        log = (folder / "log").open("wb")
        self.processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log))
        log.close()
        for _ in range(200):
            if b"Server listening" in (folder / "log").read_bytes():
                return
            time.sleep(0.05)  # sshd says in its log when it listens
        raise AssertionError((folder / "log").read_text())

    async def reaches(self, targets: Sequence[tuple[str, int]]) -> list[bool]:
        """Which of these (address, port) answer from here."""
        process = await asyncio.create_subprocess_exec(
            *self.prefix, sys.executable, "-c", PROBER, str(BLOCKED_AFTER_S),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate(json.dumps(list(targets)).encode())
        return list(json.loads(out))


@contextmanager
def switched(count: int) -> Iterator[list[Host]]:
    """So many hosts on one switch, each of which reaches each."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install iproute2 util-linux")
    number_of_switch = next(_numbers)
    tag = f"{os.getpid() % 100_000}{number_of_switch}"
    net = os.getpid() % 250
    block = 70 + number_of_switch % 100
    switch = f"skeps{tag}"
    with ExitStack() as cleaning:

        def namespace(name: str) -> None:
            _run("ip", "netns", "add", name)
            cleaning.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
            _run("ip", "-n", name, "link", "set", "lo", "up")

        namespace(switch)
        _run("ip", "-n", switch, "link", "add", "sw", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "sw", "up")
        hosts = []
        for number in range(1, count + 1):
            host = Host(
                f"host-{number}", f"skeph{tag}x{number}", f"10.{block}.{net}.{number}", f"fd{block}:{net:x}::{number:x}"
            )
            namespace(host.namespace)
            cleaning.callback(_end, host)
            _run("ip", "-n", host.namespace, "link", "add", "eth0", "type", "veth",
                 "peer", "name", f"p{number}", "netns", switch)  # fmt: skip
            _run("ip", "-n", switch, "link", "set", f"p{number}", "master", "sw", "up")
            _run("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _run("ip", "-n", host.namespace, "addr", "add", f"{host.address6}/64", "dev", "eth0", "nodad")
            _run("ip", "-n", host.namespace, "link", "set", "eth0", "up")
            hosts.append(host)
        yield hosts


def _end(host: Host) -> None:
    for process in host.processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
