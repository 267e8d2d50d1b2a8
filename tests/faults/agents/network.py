"""Agents behind a router in network namespaces of their own: no inbound ports, masqueraded on the way out.

    [agent] --veth-- [router: masquerades, drops what nobody asked for] --veth-- [this namespace: hive]

Needs root, ip and nft. Names are unique to the process; everything goes away with the block.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

_numbers = itertools.count()
RULES = """
table ip skep {
  chain out { type nat hook postrouting priority 100; oifname "wan" masquerade; }
  chain through {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" oifname "wan" accept
  }
}
"""


@dataclass
class Home:
    """A household: ``prefix`` runs a program inside; ``hive_host`` is where it finds this machine."""

    agent: str
    router: str
    hive_host: str

    @property
    def prefix(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.agent)

    def pull_plug(self) -> None:
        """The cable between agent and router is out: nobody is told."""
        _run("ip", "netns", "exec", self.router, "ip", "link", "set", "dev", "lan", "down")

    def plug_in(self) -> None:
        _run("ip", "netns", "exec", self.router, "ip", "link", "set", "dev", "lan", "up")

    def forget(self) -> None:
        """The router drops everything without a word: both ends hold a connection that is half open."""
        _run("ip", "netns", "exec", self.router, "nft", "insert rule ip skep through drop")

    def remember(self) -> None:
        _run("ip", "netns", "exec", self.router, "nft", "flush ruleset")
        subprocess.run(["ip", "netns", "exec", self.router, "nft", "-f", "-"], input=RULES.encode(), check=True)

    def slow(self, rate: str) -> None:
        """A slow line, both ways."""
        for device in ("wan", "lan"):
            shape = ("tbf", "rate", rate, "burst", "32kbit", "latency", "400ms")
            _run("ip", "netns", "exec", self.router, "tc", "qdisc", "replace", "dev", device, "root", *shape)


@contextmanager
def household() -> Iterator[Home]:
    """A router and a computer behind it."""
    if os.geteuid():
        pytest.skip("network namespaces need root")
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install iproute2 nftables")
    number = next(_numbers)
    tag = f"{os.getpid() % 100_000}{number}"
    agent, router = f"skepa{tag}", f"skepr{tag}"
    block = f"10.{200 + number % 50}.{os.getpid() % 250}"
    try:
        for name in (agent, router):
            if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
                pytest.skip("network namespaces are not allowed here")
        _wire(agent, router, block, f"skepv{tag}")
        home = Home(agent, router, f"{block}.1")
        home.remember()
        yield home
    finally:
        subprocess.run(["ip", "link", "del", f"skepv{tag}"], capture_output=True, check=False)
        for name in (agent, router):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _wire(agent: str, router: str, block: str, outside: str) -> None:
    inside = ("ip", "netns", "exec")
    _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "wan", "netns", router)
    _run("ip", "addr", "add", f"{block}.1/30", "dev", outside)
    _run("ip", "link", "set", "dev", outside, "up")
    _run(*inside, router, "ip", "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", agent)
    for name, device, address in (
        (router, "wan", f"{block}.2/30"),
        (router, "lan", "192.168.7.1/24"),
        (agent, "eth0", "192.168.7.20/24"),
    ):
        _run(*inside, name, "ip", "addr", "add", address, "dev", device)
        _run(*inside, name, "ip", "link", "set", "dev", device, "up")
        _run(*inside, name, "ip", "link", "set", "dev", "lo", "up")
    _run(*inside, agent, "ip", "route", "add", "default", "via", "192.168.7.1")
    _run(*inside, router, "sysctl", "-qw", "net.ipv4.ip_forward=1")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
