"""A hive as a real process on a port of its own, to be stopped, killed and spoken to over raw sockets.

hive = made_hive(tmp_path)
hive.start()
with hive.client() as client: ...
assert hive.stop() == 0
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from skep.base.clock import SystemClock
from skep.server.setup import set_up
from skep.testing.hive import test_settings as settings_for

START_S = 30.0
SERVE = """
import sys
from skep.base.settings import load_settings
from skep.server.serve import serve
given = dict(a.split("=", 1) for a in sys.argv[1:])
only_events = given.pop("only_events", "") == "yes"
serve(load_settings(given, files=[], environ={}), announce=lambda url: print(url, flush=True), only_events=only_events)
"""


@dataclass
class RunningHive:
    """A hive process on a port of its own."""

    place: Path
    password: str
    engine: str = "granian"
    settings: dict[str, str] = field(default_factory=dict)
    only_events: bool = False
    """Whether it serves live changes beside another one."""
    certificate: str | None = None
    """Where its self-signed certificate is."""
    process: subprocess.Popen[str] | None = None
    url: str = ""
    token: str = ""

    def start(self) -> None:
        """Start the process, wait until it answers, log in."""
        given = {"data_dir": str(self.place), "server.port": "0", "server.engine": self.engine, "log.level": "warning"}
        arguments = [f"{key.replace('__', '.')}={value}" for key, value in {**given, **self.settings}.items()]
        arguments += ["only_events=yes"] if self.only_events else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http"), "the hive did not start"
        if self.only_events:
            return
        answer = httpx.post(
            f"{self.url}/api/auth/login", json={"name": "admin", "password": self.password}, verify=self.trust()
        )
        self.token = answer.json()["access_token"]

    def trust(self) -> ssl.SSLContext | bool:
        """What HTTP clients verify the hive with."""
        return ssl.create_default_context(cafile=self.certificate) if self.certificate else True

    def client(self) -> httpx.Client:
        """A client logged in as the administrator."""
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {self.token}"}, timeout=30)

    def connect(self, head: str, body: bytes = b"") -> socket.socket:
        """A raw connection that has sent a request's head and some of its body."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.sendall(f"{head}\r\nHost: hive\r\nAuthorization: Bearer {self.token}\r\n".encode() + body)
        return connection

    def files(self) -> list[str]:
        """The names in the administrator's root."""
        with self.client() as client:
            return [node["name"] for node in client.get("/api/filesystem/info").json()["files"]]

    def until(self, check: str, wanted: float) -> None:
        """Wait until a metric has this value."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for line in httpx.get(f"{self.url}/metrics").text.splitlines():
                if line.startswith(check) and float(line.rpartition(" ")[2]) == wanted:
                    return
        raise AssertionError(f"{check} did not become {wanted}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


def made_hive(place: Path, *, engine: str = "granian", **settings: str) -> RunningHive:
    """A hive that is set up and not started; ``settings`` as ``server__port="1"``."""

    async def make() -> str:
        steps = [step async for step in set_up(settings_for(place, **settings), clock=SystemClock())]
        return steps[-1].secret or ""

    return RunningHive(place, asyncio.run(make()), engine, settings)
