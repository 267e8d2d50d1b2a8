"""Background processes, with real ones that are small."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from skep.base.errors import Misconfigured, TimedOut, Unavailable
from skep.cli.background import Background, local_url, probe, start_mark

READY = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"ready": true}'
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
server = http.server.HTTPServer(("127.0.0.1", int(__import__("sys").argv[1])), Handler)
server.serve_forever()
"""


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_process_is_started_found_and_stopped(tmp_path: Path) -> None:
    background = Background(tmp_path)
    assert background.running() is None
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = background.start([sys.executable, "-c", READY, str(port)], url)
    try:
        background.wait_ready(process, url, 20)
        found = Background(tmp_path).running()
        assert found is not None
        assert (found.pid, found.url) == (process.pid, url)
        assert probe(url, "/readyz") == {"ready": True}
    finally:
        assert background.stop(20)
    assert background.running() is None
    assert not background.stop(1)
    process.wait(5)


def test_a_process_that_ends_at_once_says_why(tmp_path: Path) -> None:
    background = Background(tmp_path)
    code = "import sys; print('the port is taken'); sys.exit(1)"
    process = background.start([sys.executable, "-c", code], "http://127.0.0.1:1")
    with pytest.raises(Misconfigured, match="the port is taken"):
        background.wait_ready(process, "http://127.0.0.1:1", 20)
    assert background.running() is None


def test_a_process_that_does_not_stop_is_said(tmp_path: Path) -> None:
    code = "from signal import *; signal(SIGTERM, SIG_IGN); print('on', flush=True); alarm(60); pause()"
    background = Background(tmp_path)
    process = background.start([sys.executable, "-c", code], "http://127.0.0.1:1")
    while "on" not in background.log_tail():
        os.sched_yield()
    with pytest.raises(TimedOut, match=str(process.pid)):
        background.stop(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait(5)


def test_another_process_with_the_same_id_is_not_taken_for_the_hive(tmp_path: Path) -> None:
    record = {"pid": os.getpid(), "started": f"{os.getpid()}:1", "url": "http://x"}
    (tmp_path / "hive.pid").write_text(json.dumps(record))
    assert Background(tmp_path).running() is None
    record["started"] = str(start_mark(os.getpid()))
    (tmp_path / "hive.pid").write_text(json.dumps(record))
    assert Background(tmp_path).running() is not None


def test_a_damaged_pid_file_is_no_hive(tmp_path: Path) -> None:
    (tmp_path / "hive.pid").write_text("12\n")
    assert Background(tmp_path).running() is None


def test_how_this_machine_reaches_a_hive() -> None:
    assert local_url("127.0.0.1", 80, tls=False) == "http://127.0.0.1:80"
    assert local_url("0.0.0.0", 81, tls=True) == "https://127.0.0.1:81"
    assert local_url("::", 82, tls=False) == "http://[::1]:82"
    assert local_url("fd00::1", 83, tls=False) == "http://[fd00::1]:83"
    with pytest.raises(Unavailable):
        local_url("127.0.0.1", 0, tls=False)


def test_a_port_where_another_answers_is_refused(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Misconfigured, match="something else answers"):
            Background(tmp_path).start([sys.executable, "-c", "pass"], url)
    assert not (tmp_path / "hive.pid").exists()
