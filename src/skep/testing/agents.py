"""An agent as a real process, lending a directory to a hive process.

agent = RunningAgent(tmp_path / "space"); agent.space.mkdir()
agent.start(hive, "--share", "1GB"); agent.until("connected"); agent.kill()
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skep.agent.control import ask
from skep.base.errors import SkepError
from skep.testing.process import RunningHive

WAIT_S = 30.0
POLL_S = 0.05


def wait_for(what: str, look: Callable[[], Any], limit_s: float = WAIT_S) -> Any:
    """What ``look`` gives once it is true: there is no other way to hear of another process."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        found = look()
        if found:
            return found
        time.sleep(POLL_S)
    raise AssertionError(f"not within {limit_s:g} s: {what}")


def invitation(hive: RunningHive, **wishes: object) -> str:
    """A token for one agent."""
    with hive.client() as client:
        answer = client.post("/api/agents/invites", json=wishes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


def agents_of(hive: RunningHive) -> dict[str, dict[str, Any]]:
    """The hive's agents by name."""
    with hive.client() as client:
        return {each["name"]: each for each in client.get("/api/agents").json()["agents"]}


@dataclass
class RunningAgent:
    """``prefix``: a command that runs it elsewhere, such as ``ip netns exec desk``."""

    space: Path
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self.space.with_name(f"{self.space.name}.log")

    def start(self, *arguments: str) -> None:
        """Start the agent with these arguments of ``skep agent run``."""
        home = self.space.with_name(f"{self.space.name}-home")
        home.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home), **self.environment}
        environment.pop("XDG_CONFIG_HOME", None)
        command = [*self.prefix, sys.executable, "-m", "skep.cli.main", "agent", "run", str(self.space), *arguments]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def join(self, hive: RunningHive, name: str, *arguments: str, url: str = "", **wishes: object) -> None:
        """Enrol at a hive under a name, start, and wait until the link stands."""
        token = invitation(hive, **wishes)
        self.start("--hive", url or hive.url, "--invite", token, "--name", name, *arguments)
        self.until("connected")

    def status(self) -> dict[str, Any]:
        """What it says of itself; empty when it does not run."""
        try:
            return ask(self.space / "control.sock", {"do": "status"})
        except SkepError:
            return {}

    def until(self, state: str, limit_s: float = WAIT_S) -> dict[str, Any]:
        """Wait until its first link is in a state."""

        def look() -> dict[str, Any] | None:
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            links = self.status().get("hives") or [{}]
            return links[0] if links[0].get("state") == state else None

        found: dict[str, Any] = wait_for(f"agent is {state}: {self.log}", look, limit_s)
        return found

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask it over its control socket."""
        return ask(self.space / "control.sock", request)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=WAIT_S)
