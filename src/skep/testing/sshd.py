"""A real OpenSSH server for tests: on a free loopback port, with keys of its own, ended with the context."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Sshd:
    """How one gets in."""

    port: int
    user: str
    client_key: Path
    host_key: str
    """``ssh-ed25519 AAAA…``"""
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def sshd(
    program: Path,
    directory: Path,
    *,
    prefix: tuple[str, ...] = (),
    address: str = "127.0.0.1",
    home: Path | None = None,
) -> Iterator[Sshd]:
    """Run ``program`` (an absolute path, as sshd wants it) with all its files in ``directory``.

    ``prefix`` goes in front: ``("ip", "netns", "exec", NAME)`` for a host that is a network namespace.
    ``home``: what programs there see as their user's home; a test that prepares a host must not touch the real one.
    """
    keygen = shutil.which("ssh-keygen") or "ssh-keygen"
    for name in ("host", "client"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True, timeout=30)
    shutil.copyfile(directory / "client.pub", directory / "authorized")
    Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd insists on it
    port = _free_port(address) if not prefix else 22
    variables = ["SHLVL=5", *([f"HOME={home}"] if home is not None else [])]
    # with SHLVL bash reads no ~/.bashrc, which on a developer's machine may take a second
    config = directory / "config"
    config.write_text(
        f"Port {port}\nListenAddress {address}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/authorized\n"
        f"PidFile {directory}/pid\nStrictModes no\nPasswordAuthentication no\nUsePAM no\nUseDNS no\nLogLevel ERROR\n"
        f"SetEnv {' '.join(variables)}\n"
        "PermitRootLogin yes\nMaxStartups 200\nSubsystem sftp internal-sftp\n"
    )
    process = subprocess.Popen(
        [*prefix, program, "-D", "-e", "-f", config], stderr=(directory / "log").open("wb"), start_new_session=True
    )
    try:
        _until_it_greets(process, address, port, directory / "log", probe=not prefix)
        host_key = " ".join((directory / "host.pub").read_text().split()[:2])
        yield Sshd(port, getpass.getuser(), directory / "client", host_key, process)
    finally:
        process.terminate()
        process.wait(10)


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _until_it_greets(process: subprocess.Popen[bytes], address: str, port: int, log: Path, *, probe: bool) -> None:
    end_s = time.monotonic() + START_LIMIT_S
    while probe:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1) as greeting:
            if greeting.recv(4) == b"SSH-":
                return
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"sshd does not start: {log.read_text()}")
        time.sleep(0.02)
