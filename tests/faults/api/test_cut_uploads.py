"""Uploads by form, in a batch and in chunks whose connection breaks: nothing is seen, paid for or kept of them."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from skep.testing.process import RunningHive

SENT_BYTES = 40 << 20
FORM = "POST /api/filesystem/data?directory=/ HTTP/1.1"
BATCH = "POST /api/filesystem/batch HTTP/1.1"
PUT = "PUT /api/filesystem/data?path=/cut HTTP/1.1"


def form() -> tuple[str, bytes]:
    head = b"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 99000000\r\n\r\n"
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="cut"\r\n\r\n'
    return FORM, head + part + os.urandom(SENT_BYTES)


def batch() -> tuple[str, bytes]:
    frames = b"SKB1"
    for number in range(10):
        head = json.dumps({"path": f"/cut-{number}", "size_bytes": 4 << 20}).encode()
        frames += struct.pack(">I", len(head)) + head + os.urandom(4 << 20)
    return BATCH, b"Content-Type: application/x-skep-batch\r\nContent-Length: 60000000\r\n\r\n" + frames


def chunked() -> tuple[str, bytes]:
    body = os.urandom(1 << 20)
    return PUT, b"Transfer-Encoding: chunked\r\n\r\n" + (b"100000\r\n" + body + b"\r\n") * (SENT_BYTES >> 20)


def used_bytes(client: httpx.Client) -> int:
    return int(client.get("/api/filesystem/spaces").json()["spaces"][0]["used_bytes"])


def stored_bytes(hive: RunningHive) -> int:
    """Of shards, in the store's directory."""
    return sum(path.stat().st_size for path in Path(hive.place).rglob("*") if path.is_file() and "shards" in path.parts)


def run_job(client: httpx.Client, kind: str, **options: object) -> dict[str, object]:
    job = client.post("/api/admin/jobs", json={"kind": kind, "options": options}).json()
    for _ in range(600):
        told = client.get(f"/api/admin/jobs/{job['id']}").json()
        if told["state"] != "running":
            assert told["state"] == "done", told
            return dict(told["result"])
        time.sleep(0.05)  # a job has no other way to tell
    raise AssertionError("the job does not end")


@pytest.mark.parametrize("made", [form, batch, chunked], ids=lambda made: made.__name__)
def test_a_cut_upload_leaves_nothing(hive: RunningHive, made: Callable[[], tuple[str, bytes]]) -> None:
    line, sent = made()
    with hive.client() as client:
        run_job(client, "gc", grace_s=0, sweep=True)
        used, stored = used_bytes(client), stored_bytes(hive)
        connection = hive.connect(line, sent)
        hive.until("skep_requests_in_flight", 2)
        connection.close()
        hive.until("skep_requests_in_flight", 1)
        assert not [name for name in hive.files() if name.startswith("cut")]
        assert used_bytes(client) == used
        for _ in range(2):  # what is retired by one collection goes with the next
            run_job(client, "gc", grace_s=0, sweep=True)
        assert stored_bytes(hive) <= stored
        assert run_job(client, "fsck")["clean"]
        assert client.put("/api/filesystem/data", params={"path": "/after"}, content=b"x").status_code in (200, 201)
