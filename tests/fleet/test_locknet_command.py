"""`skep locknet` as a person runs it, over real SSH, from one host to others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .hosts import Host, switched


@pytest.fixture
def fleet(tmp_path: Path, program: object) -> Iterator[tuple[list[Host], Path]]:
    """Five hosts: one to work from, three with sshd, a stranger; and the key that opens the three."""
    program("nft", "apt-get install nftables")  # type: ignore[operator]
    program("sshd", "apt-get install openssh-server")  # type: ignore[operator]
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with switched(5) as hosts:
        for host in hosts[1:4]:
            host.serve_ssh(tmp_path / host.name, Path(f"{key}.pub"))
            host.listen(80, 5432)
        yield hosts, key


def skep(host: Host, home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [*host.prefix, sys.executable, "-m", "skep.cli.main", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        env=environ,
    )


async def test_a_list_of_addresses_is_locked_named_and_opened_again(
    fleet: tuple[list[Host], Path], tmp_path: Path
) -> None:
    hosts, key = fleet
    desk, one, two, three, stranger = hosts
    listed = tmp_path / "hosts.txt"
    listed.write_text(f"# the fleet\nthree={three.address}\n")
    order = [f"one={one.address}", f"two={two.address}", "--file", str(listed), "--key", str(key)]
    done = skep(desk, tmp_path, "locknet", *order, "--accept-new-host-keys", "--router", "one", "--names", "--json")
    assert done.returncode == 0, done.stderr
    assert [entry["host"] for entry in json.loads(done.stdout)] == ["one", "two", "three"]
    assert done.stderr.count("ssh-ed25519") == 3
    everything = [(host.address, port) for host in (one, two, three) for port in (22, 80, 5432)]
    public = [True, True, False, True, False, False, True, False, False]
    assert await stranger.reaches([(a, p) for a, p in everything if p != 22]) == [
        open_ for (_, port), open_ in zip(everything, public, strict=True) if port != 22
    ]
    assert await two.reaches([(one.address, 5432), (three.address, 5432)]) == [True, True]
    names = (tmp_path / "host-3" / "upper" / "hosts").read_text()
    assert f"{one.address}\tone\n{two.address}\ttwo\n{three.address}\tthree\n" in names
    again = skep(desk, tmp_path, "locknet", *order, "--accept-new-host-keys", "--off")
    assert again.stdout == "one: open\ntwo: open\nthree: open\n"
    assert await stranger.reaches([(two.address, 5432)]) == [True]


async def test_a_host_that_is_not_there_is_named_and_the_others_are_locked(
    fleet: tuple[list[Host], Path], tmp_path: Path
) -> None:
    hosts, key = fleet
    desk, one, two, _, stranger = hosts
    unknown = skep(desk, tmp_path, "locknet", one.address, "--key", str(key))
    assert unknown.returncode != 0
    assert "Traceback" not in unknown.stderr
    gone = one.address.rpartition(".")[0] + ".200"
    done = skep(desk, tmp_path, "locknet", one.address, two.address, gone, "--key", str(key), "--accept-new-host-keys")
    assert done.returncode != 0
    assert f"1 of 3 hosts are not as they should be: {gone}" in done.stderr
    assert f"{one.address}: locked with nft, until it restarts (it has no systemd)" in done.stdout
    assert await stranger.reaches([(one.address, 5432), (two.address, 5432)]) == [False, False]


def test_the_rules_can_be_read_before(tmp_path: Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-m", "skep.cli.main", "locknet", "10.0.0.1", "10.0.0.2"]
    done = subprocess.run([*run, "--dry-run"], capture_output=True, text=True, timeout=60, env=environ)
    assert "table inet skep_locknet" in done.stdout
    wrong = subprocess.run([*run, "--public", "10.0.0.9:80"], capture_output=True, text=True, timeout=60, env=environ)
    assert wrong.returncode != 0
    assert "write HOST:PORT with a host of the list" in wrong.stderr
