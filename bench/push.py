"""From a push to the first answer of the new release, over four hosts; and what the control plane takes.

Everything is real: ``skep hq serve`` as a process, four hosts that are network namespaces of this machine with an SSH
server each, nginx on the first of them, and git. The stack has two jobs of two slices, a web job that needs 0.3 s to
listen and a worker; each push changes one file, which replaces all four slices. The clock runs from the start of
``git push`` until the router answers with what was pushed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, Missing, Row
from bench.plan import Plan
from bench.processes import resident_bytes
from skep.deploy.machines.local import LocalDriver
from skep.testing import load_app

HOSTS = ("one", "two", "three", "four")
ANSWER_LIMIT_S = 120.0
NAME = "push to the first answer of the new release"
STACK = """\
app:
  type: web
  run: exec python3 load_app.py
  domains: app.test
  scale: 2
  grace: 2s
  env: {START_S: "0.3"}
  health: {http: /fast, interval: 200ms, timeout: 2s, grace: 30s}
mailer:
  type: worker
  run: exec sleep 100000
  scale: 2
  grace: 1s
"""


def push(plan: Plan) -> list[Row]:
    """p50 and p95 of pushes, and the memory of HQ after them."""
    if os.geteuid():
        return [Missing(NAME, "network namespaces need root")]
    for program in ("nginx", "sshd", "ip", "nsenter", "git"):
        if shutil.which(program) is None and not Path(f"/usr/sbin/{program}").exists():
            return [Missing(NAME, f"{program} is not installed")]
    rounds = 3 if plan.rounds == 1 else 40
    with plan.room() as place, _fleet(place) as (hq, address, environment):
        shop = _repository(place, environment)
        times = sorted([_pushed(shop, address, environment, number) for number in range(rounds + 1)][1:])
        memory = resident_bytes(hq.pid)
    detail = f"{rounds} pushes of one changed file, two jobs of two slices on four namespaces, a 0.3 s app"
    return [
        Figure(f"{NAME}, p50", times[len(times) // 2], "s", detail, at_most=2.0),
        Figure(f"{NAME}, p95", times[len(times) * 95 // 100], "s", detail, at_most=4.0),
        Figure("control plane: memory", memory / (1 << 20), "MiB", f"HQ after {rounds + 1} pushes", at_most=120.0),
    ]


@contextlib.contextmanager
def _fleet(place: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, dict[str, str]]]:
    """An HQ with four servers: its process, the router's address, and the environment of whoever uses it."""
    (place / ".ssh").mkdir(mode=0o700)
    key = place / ".ssh" / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    ssh = f"ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile={place}/known -o LogLevel=ERROR"
    environment = {
        **os.environ, "HOME": str(place), "GIT_SSH_COMMAND": ssh, "HQ_PORT": str(_free_port()),
        "PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()]),
    }  # fmt: skip
    folder = str(place / "hq")
    driver = LocalDriver(place / "machines", key.with_suffix(".pub").read_text())
    _skep(environment, "hq", "init", "--folder", folder, "--name", "ada")
    serving = [sys.executable, "-m", "skep.cli.main", "hq", "serve", "--folder", folder]
    with (place / "hq.log").open("wb") as log:
        port = ("--port", environment["HQ_PORT"])
        hq = subprocess.Popen([*serving, *port], env=environment, stdout=log, stderr=log)
    try:
        addresses = [asyncio.run(driver.create(name, "local-large")).address for name in HOSTS]
        _until_it_listens(int(environment["HQ_PORT"]), hq, place / "hq.log")
        trust = ("--no-fence", "--accept-new-host-keys", "--key", str(key))
        _skep(environment, "servers", "add", "--hq", folder, *trust, *(f"root@{one}" for one in addresses))
        yield hq, addresses[0], environment
    finally:
        hq.terminate()
        hq.wait(60)
        for name in HOSTS:
            asyncio.run(driver.destroy(name))


def _repository(place: Path, environment: dict[str, str]) -> Path:
    shop = place / "shop"
    shop.mkdir()
    source = Path(load_app.__file__).read_text()
    (shop / "load_app.py").write_text(source.replace('os.environ.get("VERSION", "0")', 'open("version").read()'))
    (shop / "quarry.yml").write_text(STACK)
    for words in (
        ("init", "-q", "-b", "main"),
        ("config", "user.email", "ada@example.org"),
        ("config", "user.name", "Ada"),
        ("remote", "add", "skep", f"ssh://skep@127.0.0.1:{environment['HQ_PORT']}/shop"),
    ):
        subprocess.run(["git", *words], cwd=shop, env=environment, check=True)
    return shop


def _pushed(shop: Path, address: str, environment: dict[str, str], version: int) -> float:
    """Seconds from the start of ``git push`` until the router answers with this version."""
    (shop / "version").write_text(str(version))
    for words in (("add", "-A"), ("commit", "-q", "-m", f"version {version}")):
        subprocess.run(["git", *words], cwd=shop, env=environment, check=True)
    started_s = time.perf_counter()
    pushing = subprocess.Popen(
        ["git", "push", "-q", "skep", "main"], cwd=shop, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    while _answer(address) != f"fast {version}":
        if time.perf_counter() - started_s > ANSWER_LIMIT_S:
            pushing.kill()
            raise TimeoutError(f"version {version} did not answer within {ANSWER_LIMIT_S:g} s")
        time.sleep(0.02)
    took_s = time.perf_counter() - started_s
    _, said = pushing.communicate(timeout=ANSWER_LIMIT_S)
    assert pushing.returncode == 0, said.decode()
    return took_s


def _answer(address: str) -> str:
    try:
        with socket.create_connection((address, 80), 5) as asking:
            asking.sendall(b"GET /fast HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n")
            content = b"".join(iter(lambda: asking.recv(65536), b""))
    except OSError:
        return ""
    return content.rpartition(b"\r\n\r\n")[2].decode(errors="replace")


def _skep(environment: dict[str, str], *words: str) -> None:
    subprocess.run([sys.executable, "-m", "skep.cli.main", *words, "-q"], env=environment, check=True, timeout=300,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def _until_it_listens(port: int, hq: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + ANSWER_LIMIT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if hq.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"HQ does not start: {log.read_text()[-500:]}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
