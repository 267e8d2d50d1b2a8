"""Real processes that start quickly: one that has imported everything forks each of them.

Two hundred starts would otherwise cost two hundred times the import of every library. A forked
process does what the command of the same name does, once its settings are read: ``serve``, ``set_up``
(of ``skep up``), ``migrate`` (of any start) or ``recover``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from .calls import Calls

_NURSERY = """
import json, os, sys
from skep.base.settings import load_settings
import asyncio
from skep.base.clock import SystemClock
from skep.crypto.keys import MasterKey
from skep.db import migrate
from skep.server import recovering, serve, setup
import skep.server.compose, granian.server.embed, uvloop, alembic.command, skep.stores.drivers.fs

def say(text):
    print(text, flush=True)

async def set_up(settings):
    async for step in setup.set_up(settings, clock=SystemClock()):
        say(f"step {step.number} {step.secret}")

def recover(settings, key, stores):
    asyncio.run(recovering.recover(
        settings, MasterKey.from_file(key), stores, clock=SystemClock(), report=lambda step, done, total: None))

ACTS = {
    "serve": lambda settings: serve.serve(settings, announce=say),
    "set_up": lambda settings: asyncio.run(set_up(settings)),
    "migrate": lambda settings: migrate(settings.database_url()),
    "recover": recover,
}
for line in sys.stdin:
    act, given, *more = json.loads(line)
    child = os.fork()
    if child == 0:
        os.close(0)
        say(os.getpid())
        try:
            ACTS[act](load_settings(given, files=[], environ={}), *more)
            say("done")
        except BaseException as error:
            say(f"{type(error).__name__}: {error}")
        os._exit(0)
    os.waitpid(child, 0)
    say("ended")
"""


class Nursery:
    """Starts and kills the processes of one data directory, one at a time."""

    def __init__(self, place: Path, password: str, settings: Mapping[str, str]) -> None:
        self.settings = {"data_dir": str(place), "server.port": "0", "log.level": "error", **settings}
        self.password = password
        self._pid = 0
        self.url = ""
        self.token = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def begin(self, act: str = "serve", *more: object) -> None:
        """Fork a process; it may not answer yet."""
        assert self._process.stdin is not None
        print(json.dumps([act, self.settings, *more]), file=self._process.stdin, flush=True)
        self._pid = int(self._answer())

    def run(self, act: str, *more: object, life_s: float | None = None) -> list[str]:
        """Let a process run to its end, or kill it after ``life_s``; what it said, last ``done`` or its error."""
        self.begin(act, *more)
        if life_s is not None:
            time.sleep(life_s)  # the moment of the kill
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        return self._wait()

    def wait_until_ready(self) -> None:
        """Wait until the hive that was begun answers, and log in."""
        self.url = self._answer()
        assert self.url.startswith("http"), f"the hive did not start: {self.url}"
        anonymous = Calls(self.url, "")
        login = anonymous.json("POST", "/api/auth/login", send={"name": "admin", "password": self.password})
        self.token = login["access_token"]
        anonymous.close()

    def calls(self) -> Calls:
        """A connection of the administrator's."""
        return Calls(self.url, self.token)

    def kill(self) -> None:
        """End the hive with SIGKILL and wait until the system has cleared it away."""
        os.kill(self._pid, signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End the hive in an orderly way."""
        os.kill(self._pid, signal.SIGTERM)
        self._wait()

    def close(self) -> None:
        """End everything."""
        if self._pid:
            self.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _wait(self) -> list[str]:
        self._pid = 0
        return list(iter(self._answer, "ended"))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return line.strip()
