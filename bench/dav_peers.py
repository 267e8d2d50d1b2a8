"""Other WebDAV servers over a directory, where installed. None encrypts, deduplicates or syncs what it takes."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from skep.testing.programs import find_program

ANSWER_S = 20.0
_NGINX = """
daemon off; worker_processes auto; pid {place}/nginx.pid; error_log /dev/null; {user}
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; client_max_body_size 0; client_body_temp_path {place}/body; keepalive_requests 1000000;
  proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {files}; dav_methods PUT DELETE MKCOL COPY MOVE; create_full_put_path on; }}
  }}
}}
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _running(command: Sequence[object], port: int) -> Iterator[str]:
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.perf_counter() + ANSWER_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.perf_counter() > deadline_s or process.poll() is not None:
                    raise
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _rclone(program: Path, place: Path, files: Path) -> AbstractContextManager[str]:
    port = _free_port()
    return _running([program, "serve", "webdav", files, "--addr", f"127.0.0.1:{port}", "--config", os.devnull], port)


def _wsgidav(program: Path, place: Path, files: Path) -> AbstractContextManager[str]:
    port = _free_port()
    command = [
        program,
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--root",
        files,
        "--auth",
        "anonymous",
        "-q",
        "--no-config",
    ]
    return _running(command, port)


def _nginx(program: Path, place: Path, files: Path) -> AbstractContextManager[str]:
    port = _free_port()
    config = place / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(place=place, files=files, port=port, user=user))
    return _running([program, "-c", config, "-p", place], port)


_PEERS: Mapping[str, Callable[[Path, Path, Path], AbstractContextManager[str]]] = {
    "rclone": _rclone,
    "wsgidav": _wsgidav,
    "nginx": _nginx,
}


def names() -> list[str]:
    """The peers that are installed."""
    return [name for name in _PEERS if find_program(name) is not None]


@contextmanager
def serving(name: str, place: Path) -> Iterator[tuple[str, Path]]:
    """A peer over a new directory in ``place``: its URL, and the directory."""
    program = find_program(name)
    assert program is not None, f"{name} is not installed"
    files = place / f"{name}-files"
    files.mkdir(parents=True)
    with _PEERS[name](program, files.parent, files) as url:
        yield url, files
