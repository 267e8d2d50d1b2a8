"""Looks at whether a job is well that never block its supervisor."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import time
from typing import Any, Callable, Optional

Beside = Callable[[list[str]], "Optional[subprocess.Popen[bytes]]"]
"""Starts a command beside the job; None when there is no such program."""


class Probe:
    """One look at whether a job is well, which never blocks the supervisor."""

    def __init__(self, health: dict[str, Any], address: str, port: int, beside: Beside) -> None:
        self.deadline_s = time.monotonic() + health["timeout_s"]
        self.http = health["kind"] == "http"
        self.process: Optional[subprocess.Popen[bytes]] = None
        self.socket: Optional[socket.socket] = None
        self.received = b""
        self.well: Optional[bool] = None
        self.request = f"GET {health['path']} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
        if health["kind"] == "command":
            self.process = beside(health["command"])
            if self.process is None:
                self.end(False)
            return
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        if self.socket.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
            self.end(False)

    def look(self) -> None:
        """Go on as far as it goes now."""
        if self.well is None and self.process is not None:
            code = self.process.poll()
            if code is not None:
                self.end(code == 0)
        elif self.well is None and self.socket is not None:
            try:
                self._speak(self.socket)
            except OSError:
                self.end(False)
        if self.well is None and time.monotonic() > self.deadline_s:
            self.end(False)

    def _speak(self, connection: socket.socket) -> None:
        _, writable, _ = select.select([], [connection], [], 0)
        if not writable:
            return
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.end(False)
        elif not self.http:
            self.end(True)
        elif self.request:
            self.request = self.request[connection.send(self.request) :]
        else:
            with contextlib.suppress(BlockingIOError):
                piece = connection.recv(4096)
                self.received += piece
                if b"\n" in self.received or len(self.received) > 4096 or not piece:
                    words = self.received.split(None, 2)
                    ok = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1][:1] in (b"2", b"3")
                    self.end(ok)

    def end(self, well: bool) -> None:
        """Remember how it went, and let go."""
        self.well = well
        if self.socket is not None:
            self.socket.close()
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
