"""The hive that is measured: ``skep serve`` as a process of its own, set up as ``skep up`` does it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.processes import Cost, cost_of, run
from skep.base.clock import SystemClock
from skep.base.settings import load_settings
from skep.server.setup import set_up

START_S = 60.0
STOP_S = 60.0


class BenchHive:
    """One hive in a directory. ``start`` and ``stop`` may follow each other."""

    def __init__(self, place: Path, settings: Mapping[str, str] | None = None) -> None:
        self.place = place
        self.settings = {
            "data_dir": str(place),
            "server.port": "0",
            "log.level": "warning",
            "auth.access_token_s": "24h",
            **(settings or {}),
        }
        self.url = ""
        self.token = ""
        self._password = ""
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "the hive is not started"
        return self._process.pid

    @property
    def store(self) -> Path:
        """The directory of the first store."""
        return self.place / "store"

    def make(self) -> None:
        """Set the hive up."""

        async def steps() -> list[str]:
            settings = load_settings(self.settings, files=[], environ={})
            return [step.secret async for step in set_up(settings, clock=SystemClock()) if step.secret]

        (self._password,) = asyncio.run(steps())

    def start(self) -> float:
        """Start the server; returns after how many seconds it was ready."""
        flags = [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]
        command = [sys.executable, "-P", "-m", "skep.cli.main", "serve", "--json", *flags]
        began_s = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=_environment(self.place), cwd=self.place
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the hive in {self.place} did not start: see the lines above")
        self.url = json.loads(line)["url"]
        urllib.request.urlopen(f"{self.url}/readyz", timeout=START_S).close()
        ready_s = time.perf_counter() - began_s
        if not self.token:
            self.token = self.call("POST", "/api/auth/login", {"name": "admin", "password": self._password})[
                "access_token"
            ]
        return ready_s

    def stop(self) -> None:
        """Stop the server gracefully; a hive that is not running stays so."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def cost(self) -> Cost:
        """What the server has used so far."""
        return cost_of(self.pid)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One call of the JSON API. Raises RuntimeError with the hive's problem."""
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from None

    def upload(self, source: Path, path: str) -> Cost:
        """PUT a file with curl; the time until the answer, and the server's cost."""
        before = self.cost()
        run(["curl", "-sS", "--fail-with-body", *self._headers, "-T", source, self.data_url(path)])
        return self.cost() - before

    def download(self, path: str, target: Path | None = None) -> Cost:
        """GET a file with curl into a file or nowhere."""
        before = self.cost()
        run(["curl", "-sS", "--fail", *self._headers, "-o", target or os.devnull, self.data_url(path)])
        return self.cost() - before

    @property
    def _headers(self) -> list[str]:
        return ["-H", f"Authorization: Bearer {self.token}", "-H", "Expect:"]

    def data_url(self, path: str) -> str:
        """Where a file's content is."""
        return f"{self.url}/api/filesystem/data?path={urllib.parse.quote(path)}"


def _environment(place: Path) -> dict[str, str]:
    """This process's environment without settings of another hive."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SKEP_")}
    source = os.pathsep.join(os.path.abspath(part) for part in sys.path if part)
    return {**kept, "PYTHONPATH": source, "HOME": str(place), "XDG_CONFIG_HOME": str(place)}


@contextmanager
def running_hive(place: Path, **settings: str) -> Iterator[BenchHive]:
    """A new hive that runs, and is stopped at the end; ``settings`` as ``storage__scheme="none"``."""
    hive = BenchHive(place, {key.replace("__", "."): value for key, value in settings.items()})
    hive.make()
    try:
        hive.start()
        yield hive
    finally:
        hive.stop()


def bytes_below(directory: Path) -> int:
    """What the files below a directory hold."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
