"""A hive as a background process of this machine: started, found again, waited for, stopped.

``hive.pid`` in the data directory has the process's id and its start time, so that another process
that got the same id later is not taken for the hive. ``hive.log`` has what it says.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skep.base.errors import Misconfigured, TimedOut, Unavailable

POLL_S = 0.05
LOG_TAIL_LINES = 8
LOG_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Running:
    """A hive process that is there."""

    pid: int
    url: str


class Background:
    """The hive process of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._pid_file = data_dir / "hive.pid"
        self.log_file = data_dir / "hive.log"

    def running(self) -> Running | None:
        """The process that was started last, if it still runs."""
        try:
            record = json.loads(self._pid_file.read_text())
            pid, started, url = int(record["pid"]), record["started"], str(record["url"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Running(pid, url) if start_mark(pid) == started else None

    def start(self, command: Sequence[str], url: str) -> subprocess.Popen[bytes]:
        """Start the process, apart from this terminal; ``url`` is where it will answer.

        Raises Misconfigured when something else answers there: its answers would pass for the hive's.
        """
        if _answers(url):
            raise Misconfigured(f"something else answers at {url}: stop it, or set server.port to a free port")
        self._turn_log()
        with open(self.log_file, "ab", opener=_private) as log:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(
            json.dumps({"pid": process.pid, "started": start_mark(process.pid), "url": url}) + "\n"
        )
        return process

    def wait_ready(self, process: subprocess.Popen[bytes], url: str, timeout_s: float) -> None:
        """Return once the hive answers that it is ready.

        Raises Misconfigured with the log's last lines when the process ends instead, TimedOut.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                self._pid_file.unlink(missing_ok=True)
                raise Misconfigured(f"the hive ended at once: {self.log_tail()} (more in {self.log_file})")
            if ready(url):
                return
            time.sleep(POLL_S)
        raise TimedOut(f"the hive is not ready after {timeout_s:.0f} s: see {self.log_file}")

    def stop(self, timeout_s: float) -> bool:
        """Ask the process to stop and wait until it has; False when none runs. Raises TimedOut."""
        found = self.running()
        if found is None:
            self._pid_file.unlink(missing_ok=True)
            return False
        mark = start_mark(found.pid)
        os.kill(found.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while start_mark(found.pid) == mark:
            if time.monotonic() > deadline:
                raise TimedOut(f"the hive (process {found.pid}) has not stopped after {timeout_s:.0f} s")
            time.sleep(POLL_S)
        self._pid_file.unlink(missing_ok=True)
        return True

    def log_tail(self) -> str:
        """The last lines of the log, as one."""
        with contextlib.suppress(OSError), open(self.log_file, "rb") as file:
            file.seek(max(0, os.path.getsize(self.log_file) - 8192))
            lines = file.read().decode("utf-8", "replace").split("\n")
            said = [line.strip() for line in lines if line.strip()]
            return " | ".join(said[-LOG_TAIL_LINES:])
        return "it said nothing"

    def _turn_log(self) -> None:
        """Keep one older log, so that logs have a limit."""
        with contextlib.suppress(FileNotFoundError):
            if self.log_file.stat().st_size > LOG_MAX_BYTES:
                self.log_file.replace(self.log_file.with_suffix(".log.old"))


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner may read: logs say who did what when."""
    return os.open(path, flags, 0o600)


def start_mark(pid: int) -> str | None:
    """What tells a process from a later one with its id; None when there is no such (living) process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return _mark_without_proc(pid)
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{pid}:{fields[19]}"


def _mark_without_proc(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return f"{pid}:{done.stdout.strip()}" if done.stdout.strip() else None


def ready(url: str) -> bool:
    """Whether the hive at ``url`` says that it is ready."""
    return probe(url, "/readyz") is not None


def _answers(url: str) -> bool:
    """Whether anything takes connections at ``url``."""
    place = urllib.parse.urlsplit(url)
    try:
        with socket.create_connection((place.hostname or "127.0.0.1", place.port or 80), timeout=2):
            return True
    except OSError:
        return False


def _context(url: str) -> ssl.SSLContext | None:
    """On this machine's own loopback nobody needs to vouch for the hive; it is only asked whether it is well."""
    place = urllib.parse.urlsplit(url)
    if place.scheme != "https":
        return None
    context = ssl.create_default_context()
    if place.hostname in ("127.0.0.1", "::1", "localhost"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def probe(url: str, path: str) -> dict[str, Any] | None:
    """The JSON that a health address answers (empty if it is none); None when it does not answer well."""
    try:
        with urllib.request.urlopen(url + path, timeout=5, context=_context(url)) as response:  # noqa: S310
            body = response.read(1 << 20)
    except (OSError, urllib.error.HTTPError, ValueError):
        return None
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def local_url(host: str, port: int, *, tls: bool) -> str:
    """How this machine reaches a server that listens on ``host``. Raises Unavailable for port 0."""
    if port == 0:
        raise Unavailable("a hive in the background needs a port of its own: set server.port")
    reach = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{'https' if tls else 'http'}://{reach}:{port}"
