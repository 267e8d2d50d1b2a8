"""The launching program is killed with -9 at random moments of launches: what is then is the old state or the new one.

Exactly: one release answers through the router, the journal says the same, each of its slices runs once, and nothing
else runs. ``SKEP_KILLS`` says how often (100).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from skep.testing import launching
from skep.testing.launching import HOSTS, STACK

EVENTS_MOST = 12
LINE_TIMEOUT_S = 120.0


class Program:
    """The launching program, started again after each kill."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.folder, self.ports = folder, ports
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> dict[str, Any]:
        """Recovered: what it says that there is."""
        with (self.folder / "said").open("ab") as said:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "skep.testing.launching", str(self.folder), *map(str, self.ports),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=said,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        state: dict[str, Any] = (await self.until("state"))["state"]
        return state

    async def until(self, key: str, most: int = 1000) -> dict[str, Any]:
        """The next line that has this key, or the last of ``most`` lines."""
        assert self.process is not None
        assert self.process.stdout is not None
        for _ in range(most):
            async with asyncio.timeout(LINE_TIMEOUT_S):
                line = await self.process.stdout.readline()
            assert line, (self.folder / "said").read_text()[-3000:]
            if not line.startswith(b"{"):
                continue  # a line of the log
            told: dict[str, Any] = json.loads(line)
            if key in told:
                break
        return told

    def order(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@pytest.fixture
async def started(program: Callable[[str, str], Path], tmp_path: Path) -> AsyncIterator[Program]:
    program("nginx", "apt-get install nginx")
    made = Program(tmp_path, (free_port(), free_port()))
    try:
        yield made
    finally:
        await made.kill()
        for engine in launching.engines(tmp_path).values():
            for job in await engine.list():
                await engine.remove(job.id)
        await launching.nginx(tmp_path, *made.ports).stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer(port: int) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/fast", headers={"host": "app.test"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answered:
            return str(answered.read().decode()).removeprefix("fast ")
    except urllib.error.HTTPError as error:
        return str(error.code)


async def differences(program: Program, state: dict[str, Any], allowed: set[Any]) -> list[str]:
    """What of the state is neither the old nor the new one, or is not so in truth."""
    wrong = []
    if state["version"] not in allowed:
        wrong.append(f"version {state['version']} is none of {allowed}")
    if state["other"] or state["open"]:
        wrong.append(f"left over in the journal: {state['other']} {state['open']}")
    if {name: [block] for name, block in state["grid"].items()} != state["live"]:
        wrong.append(f"the grid has {state['grid']}, the journal {state['live']}")
    if state["version"] is not None:
        answers = {await asyncio.to_thread(answer, program.ports[0]) for _ in range(6)}
        if answers != {state["version"]}:
            wrong.append(f"{state['version']} should answer, and it is {answers}")
    meant = {host: sorted(name for name, blocks in state["live"].items() if blocks == [host]) for host in HOSTS}
    running = {}
    for host, engine in launching.engines(program.folder).items():
        running[host] = sorted(job.id for job in await engine.list(STACK))
    if running != meant:
        wrong.append(f"{running} runs, {meant} is meant")
    processes = apps(program.folder)
    if processes != len(state["live"]):
        wrong.append(f"{processes} processes of {len(state['live'])} slices")
    return wrong


def apps(folder: Path) -> int:
    """Processes of apps below a folder, whoever knows of them."""
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                inside = (entry / "cwd").readlink().is_relative_to(folder)
                count += inside and b"load_app.py" in (entry / "cmdline").read_bytes()
            except OSError:
                continue
    return count


async def killed(program: Program, orders: int, seed: int) -> dict[str, int]:
    """So many kills, each followed by a recovery that is looked at; how often which came out."""
    chance = random.Random(seed)
    version, outcomes = 1, {"old": 0, "new": 0}
    state = await program.start()
    program.order("deploy 1")
    state = (await program.until("verdict"))["state"]
    for number in range(orders):
        before = state["version"]
        verb = chance.choice(("deploy", "deploy", "deploy", "scale", "rollback"))
        if verb == "deploy":
            version += 1
            program.order(f"deploy {version}")
        else:
            program.order(f"scale {chance.randint(1, 3)}" if verb == "scale" else "rollback")
        lines = chance.randint(0, EVENTS_MOST)
        if lines:
            await program.until("verdict", most=lines)
        await asyncio.sleep(chance.random() * chance.choice((0.02, 0.2, 1.0)))  # the moment is what is tested
        await program.kill()
        state = await program.start()
        allowed = {before, str(version)} if verb == "deploy" else {before, *map(str, range(1, version + 1))}
        wrong = await differences(program, state, allowed)
        assert wrong == [], f"kill {number} in {verb} after {lines} lines: {wrong}"
        outcomes["old" if state["version"] == before else "new"] += 1
    return outcomes


@pytest.mark.crash
async def test_a_hundred_kills_leave_the_old_or_the_new(started: Program) -> None:
    kills = int(os.environ.get("SKEP_KILLS", "100"))
    outcomes = await killed(started, kills, seed=int(os.environ.get("SKEP_KILL_SEED", "11")))
    print(outcomes)
    assert kills < 20 or all(outcomes.values()), f"only one of both ever came out: {outcomes}"
