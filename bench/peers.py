"""The programs that Skep is measured beside, where they are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import Cost, run

ANSWER_S = 20.0


def found(program: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(program) is not None


def restic_backup(place: Path, source: Path) -> Cost:
    """``restic backup`` of a file into a new local repository, which is removed again."""
    repository = place / "restic"
    environment = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(place / "restic-cache")}
    run(["restic", "-q", "-r", repository, "init"], environment=environment)
    os.sync()
    cost, _ = run(["restic", "-q", "-r", repository, "backup", source], environment=environment)
    shutil.rmtree(repository)
    return cost


def dd_fdatasync(place: Path, source: Path) -> Cost:
    """``dd conv=fdatasync`` of a file to another on the same disk, which is removed again."""
    target = place / "dd-out"
    cost, _ = run(["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fdatasync"])
    target.unlink()
    return cost


def cat(source: Path, target: Path | None) -> Cost:
    """``cat FILE > OUT``, or to nowhere."""
    cost, _ = run(["cat", source], output=target or Path(os.devnull))
    return cost


@contextmanager
def rclone_webdav(directory: Path) -> Iterator[str]:
    """``rclone serve webdav`` over a directory; its URL."""
    directory.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["rclone", "serve", "webdav", str(directory), "--addr", f"127.0.0.1:{port}", "--config", os.devnull]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def await_port(port: int) -> None:
    deadline_s = time.perf_counter() + ANSWER_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.perf_counter() > deadline_s:
                raise
            time.sleep(0.02)
