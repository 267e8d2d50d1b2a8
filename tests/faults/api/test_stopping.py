"""Stopping and starting real hive processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skep.testing.process import SERVE, made_hive

PUT = "PUT /api/filesystem/data?path=/{} HTTP/1.1"


def test_an_upload_in_flight_finishes_and_then_the_hive_stops(tmp_path: Path) -> None:
    hive = made_hive(tmp_path)
    hive.start()
    assert hive.process is not None
    connection = hive.connect(PUT.format("slow"), b"Content-Length: 20\r\n\r\n0123456789")
    hive.until("skep_requests_in_flight", 2)
    hive.process.send_signal(signal.SIGTERM)
    hive.until("skep_requests_in_flight", 2)
    connection.sendall(b"0123456789")
    assert connection.recv(1000).startswith(b"HTTP/1.1 201")
    assert hive.process.wait(timeout=30) == 0
    hive.start()
    assert hive.files() == ["slow"]
    assert hive.stop() == 0


def test_an_upload_that_does_not_finish_is_cut_and_leaves_nothing(tmp_path: Path) -> None:
    hive = made_hive(tmp_path, server__stop_grace_s="0.2s")
    hive.start()
    connection = hive.connect(PUT.format("stuck"), b"Content-Length: 20\r\n\r\n0123456789")
    hive.until("skep_requests_in_flight", 2)
    assert hive.stop() == 0
    connection.close()
    hive.start()
    assert hive.files() == []
    assert hive.stop(signal.SIGINT) == 0


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    hive = made_hive(tmp_path)
    hive.start()
    with hive.client() as client:
        for number in range(20):
            body = bytes([number]) * 1000
            assert client.put("/api/filesystem/data", params={"path": f"/f{number}"}, content=body).status_code == 201
    assert hive.stop(signal.SIGKILL) == -signal.SIGKILL
    hive.start()
    with hive.client() as client:
        for number in range(20):
            assert client.get("/api/filesystem/data", params={"path": f"/f{number}"}).content == bytes([number]) * 1000
    assert hive.stop() == 0


@pytest.mark.parametrize("same", ["directory", "port"])
def test_a_second_hive_on_the_same_directory_or_port_does_not_start(tmp_path: Path, same: str) -> None:
    hive = made_hive(tmp_path / "one")
    hive.start()
    place, port = (hive.place, "0") if same == "directory" else (tmp_path / "two", hive.url.rpartition(":")[2])
    if same == "port":
        made_hive(place)
    arguments = [f"data_dir={place}", f"server.port={port}", "log.level=error"]
    second = subprocess.run(
        [sys.executable, "-c", SERVE, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode != 0
    assert ("DataDirectoryInUse" if same == "directory" else "Misconfigured") in second.stderr
    assert hive.stop() == 0
