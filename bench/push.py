"""From a push to the first answer of the new release, over four hosts; and what the control plane takes.

Hosts are network namespaces of this machine with an SSH server each; nginx runs on one of them. The stack has two jobs
of two slices, a web job that needs 0.3 s to listen and a worker; each push changes one file, which replaces all four.
The clock runs from the launcher's call with the new tree until the router answers with the new release.

    python -m bench.push FOLDER ROUNDS      what the measurement runs: prints its figures as JSON
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.figures import Figure, Missing, Row
from bench.plan import Plan
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.launch.journal_rows import RowJournal
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import Event
from skep.deploy.machines.local import LocalDriver
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.shell.ssh import SshRunner
from skep.testing.fleet import FileRows, Fleet, SiteRouter, app

HOSTS = ("one", "two", "three", "four")
START_S = 0.3
LIMIT_S = 60.0
WORKER = """\
mailer:
  type: worker
  run: exec sleep 100000
  scale: 2
  grace: 1s
"""


def push(plan: Plan) -> list[Row]:
    """p50 and p95 of pushes, and the memory of the program that launches."""
    names = "push to the first answer of the new release"
    for program in ("nginx", "sshd", "ip", "nsenter"):
        if shutil.which(program) is None and not Path(f"/usr/sbin/{program}").exists():
            return [Missing(names, f"{program} is not installed")]
    if os.geteuid():
        return [Missing(names, "network namespaces need root")]
    rounds = 4 if plan.rounds == 1 else 40
    with plan.room() as place:
        program = [sys.executable, "-m", "bench.push", str(place), str(rounds)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode:
            return [Missing(names, done.stderr.strip()[-200:])]
        told = json.loads(done.stdout.splitlines()[-1])
    times = sorted(told["answers_s"])
    detail = f"{rounds} pushes of one changed file, two jobs of two slices on four namespaces, a {START_S} s app; "
    return [
        Figure(f"{names}, p50", times[len(times) // 2], "s", detail + "git's own way is not in it", at_most=2.0),
        Figure(f"{names}, p95", times[len(times) * 95 // 100], "s", detail, at_most=4.0),
        Figure(
            "control plane: memory after that",
            told["resident_bytes"] / (1 << 20),
            "MiB",
            "the launching program: grid, journal, four SSH connections, router; without the git endpoint",
            at_most=120.0,
        ),
    ]


async def _measured(place: Path, rounds: int) -> dict[str, Any]:
    key = place / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    driver = LocalDriver(place / "machines", key.with_suffix(".pub").read_text())
    try:
        machines = [await driver.create(name, "local-large") for name in HOSTS]
        runners = {one.name: SshRunner(one.target(key)) for one in machines}
        nginx = NginxRouter(runners["one"], "/var/lib/skep/router", user="root")
        await nginx.start()
        engines = {
            one.name: ProcessEngine(
                runners[one.name], "/var/lib/skep/engine", address=one.address, python=sys.executable
            )
            for one in machines
        }
        journal = RowJournal(FileRows(place / "journal.json"))
        fleet = Fleet(place, engines, SiteRouter(nginx), journal=journal, limits=Limits(drain_s=5.0))
        await fleet.open()
        answers_s = []
        for version in range(rounds + 1):
            took_s = await _pushed(fleet, machines[0].address, version)
            if version:  # the first one starts everything
                answers_s.append(took_s)
            else:
                await fleet.launcher.idle()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        await fleet.close()
        return {"answers_s": answers_s, "resident_bytes": resident}
    finally:
        for name in HOSTS:
            await driver.destroy(name)


async def _pushed(fleet: Fleet, address: str, version: int) -> float:
    """Seconds until the router answers with the new release."""
    text = app(sys.executable, version="x", start_s=START_S) + WORKER
    request = fleet.request("shop", text.replace('VERSION: "x"', 'ROUND: "1"'), {"version": str(version)})
    source = (request.tree / "load_app.py").read_text()
    changed = source.replace('os.environ.get("VERSION", "0")', 'open("version").read()')
    await asyncio.to_thread((request.tree / "load_app.py").write_text, changed)
    started_s = time.perf_counter()
    launching = asyncio.ensure_future(fleet.launcher.deploy(request, _silent))
    while await _answer(address) != f"fast {version}":
        if time.perf_counter() - started_s > LIMIT_S:
            raise TimeoutError(f"release {version} did not answer: {await launching}")
        await asyncio.sleep(0.01)
    took_s = time.perf_counter() - started_s
    verdict = await launching
    assert verdict.ok, verdict
    return took_s


async def _answer(address: str) -> str:
    try:
        reader, writer = await asyncio.open_connection(address, 80)
        writer.write(b"GET /fast HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n\r\n")
        content = await reader.read()
        writer.close()
    except OSError:
        return ""
    return content.rpartition(b"\r\n\r\n")[2].decode(errors="replace")


async def _silent(event: Event) -> None:
    """Nobody listens."""


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measured(Path(sys.argv[1]), int(sys.argv[2])))))
