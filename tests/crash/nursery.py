"""Real hive processes that start quickly: a process that has imported everything forks each of them.

Two hundred starts would otherwise cost two hundred times the import of every library. The forked
process runs what ``skep serve`` runs, from the lock of the data directory on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .calls import Calls

_NURSERY = """
import json, os, sys
from skep.base.settings import load_settings
from skep.server.serve import serve
import skep.server.compose, granian.server.embed, uvloop, alembic.command, skep.stores.drivers.fs

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.close(0)
        try:
            serve(load_settings(json.loads(line), files=[], environ={}), announce=lambda url: print(url, flush=True))
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


class Nursery:
    """Starts and kills the hive of one data directory, one process at a time."""

    def __init__(self, place: Path, password: str, settings: Mapping[str, str]) -> None:
        given = {"data_dir": str(place), "server.port": "0", "log.level": "error", **settings}
        self._line = json.dumps(given)
        self._password = password
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

    def begin(self) -> None:
        """Fork a hive; it may not answer yet."""
        assert self._process.stdin is not None
        print(self._line, file=self._process.stdin, flush=True)
        self._pid = int(self._answer())

    def wait_until_ready(self) -> None:
        """Wait until the hive that was begun answers, and log in."""
        self.url = self._answer()
        assert self.url.startswith("http"), f"the hive did not start: {self.url}"
        anonymous = Calls(self.url, "")
        login = anonymous.json("POST", "/api/auth/login", send={"name": "admin", "password": self._password})
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

    def _wait(self) -> None:
        self._pid = 0
        while self._answer() != "ended":
            pass  # the URL, when it was killed before that was read

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return line.strip()
