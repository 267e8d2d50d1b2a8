"""Resumable uploads of a real hive whose connections, bodies and processes end at the wrong moment."""

from __future__ import annotations

import json
import random
import signal
import threading
import time

import pytest

from skep.testing.process import made_hive

MIB = 1 << 20
TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}
BODY = random.Random(9).randbytes(32 * MIB)
SETTINGS = {"storage__pack_bytes": str(5 * MIB), "server__idle_timeout_s": "3", "server__stop_grace_s": "1"}


@pytest.fixture
def hive(tmp_path):
    made = made_hive(tmp_path / "hive", **SETTINGS)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def url(hive):
    with hive.client() as client:
        headers = {**TUS, "Upload-Length": str(len(BODY)), "Upload-Metadata": "path L2Y="}
        answer = client.post("/tus/", headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]


def offset_of(hive, url):
    with hive.client() as client:
        answer = client.head(url, headers=TUS)
        assert answer.status_code == 200
        return int(answer.headers["upload-offset"])


def until_offset(hive, url, least):
    """The offset, as soon as it is so large."""
    deadline = time.monotonic() + 20
    while (offset := offset_of(hive, url)) < least:
        assert time.monotonic() < deadline, f"the offset stays at {offset}"
        time.sleep(0.05)  # the hive has no other way to tell
    return offset


def begin(hive, url, offset, sent):
    """A PATCH that has sent some of its body, and goes on holding the connection."""
    headers = {**PATCH, "Upload-Offset": offset, "Content-Length": len(BODY) - offset}
    head = [f"PATCH {url} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    connection = hive.connect("\r\n".join(head), b"\r\n")
    connection.sendall(BODY[offset : offset + sent])
    return connection


def finish(hive, url):
    """Send the rest; the file must be the body."""
    offset = offset_of(hive, url)
    with hive.client() as client:
        answer = client.patch(url, headers={**PATCH, "Upload-Offset": str(offset)}, content=BODY[offset:])
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(BODY)))
        got = client.get("/api/filesystem/data", params={"path": "/f"})
        assert got.content == BODY
        versions = client.get("/api/filesystem/info", params={"path": "/f"}).json()["versions"]
        assert len(versions) == 1
    assert fsck(hive)["clean"]


def fsck(hive):
    """What a check of everything finds."""
    with hive.client() as client:
        job = client.post("/api/admin/jobs", json={"kind": "fsck", "options": {"read_data": True}}).json()
        deadline = time.monotonic() + 30
        while job["state"] not in ("done", "failed"):
            assert time.monotonic() < deadline
            time.sleep(0.05)  # a job is asked for
            job = client.get(f"/api/admin/jobs/{job['id']}").json()
        assert job["state"] == "done", job
        return job["result"]


def test_a_connection_that_breaks(hive, url):
    connection = begin(hive, url, 0, 7 * MIB + 5)
    connection.close()
    assert until_offset(hive, url, 7 * MIB + 5) == 7 * MIB + 5
    begin(hive, url, 7 * MIB + 5, 1).close()
    assert until_offset(hive, url, 7 * MIB + 6) == 7 * MIB + 6
    finish(hive, url)


def test_a_hive_that_is_killed_while_bytes_come(hive, url):
    connection = begin(hive, url, 0, 24 * MIB)
    saved = until_offset(hive, url, 10 * MIB)
    hive.stop(signal.SIGKILL)
    connection.close()
    hive.start()
    assert saved <= offset_of(hive, url) <= 24 * MIB
    finish(hive, url)


def test_kills_at_random_moments(hive, url):
    chance = random.Random(3)
    told = 0
    for _ in range(4):
        offset = offset_of(hive, url)
        assert offset >= told
        told = offset
        connection = begin(hive, url, offset, 0)
        sender = threading.Thread(target=_send, args=(connection, BODY[offset : offset + 9 * MIB]))
        sender.start()
        time.sleep(chance.uniform(0, 0.4))  # a random moment is what is tested
        hive.stop(signal.SIGKILL)
        sender.join()
        connection.close()
        hive.start()
    finish(hive, url)


def _send(connection, body):
    try:
        connection.sendall(body)
    except OSError:
        return


def test_a_hive_that_stops_keeps_what_came(hive, url):
    connection = begin(hive, url, 0, 3 * MIB)
    time.sleep(1)  # the bytes are on their way
    assert hive.stop() == 0
    connection.close()
    hive.start()
    assert offset_of(hive, url) == 3 * MIB
    finish(hive, url)


def test_a_body_that_stands_still(hive, url):
    connection = begin(hive, url, 0, 2 * MIB)
    connection.settimeout(20)
    answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 503")
    assert json.loads(answer.partition("\r\n\r\n")[2])["code"] == "timed-out"
    assert offset_of(hive, url) == 2 * MIB
    connection.close()
    finish(hive, url)


def test_two_at_once_and_a_look_meanwhile(hive, url):
    first = begin(hive, url, 0, 2 * MIB)
    with hive.client() as client:
        time.sleep(0.2)  # the first bytes are on their way
        second = client.patch(url, headers={**PATCH, "Upload-Offset": "0"}, content=BODY)
        assert (second.status_code, second.headers["retry-after"]) == (423, "1")
        assert offset_of(hive, url) == 0
        time.sleep(2.2)  # so long without a byte: its connection may be dead
        assert offset_of(hive, url) == 2 * MIB
        first.settimeout(10)
        assert first.recv(100).startswith(b"HTTP/1.1 423")
        finish(hive, url)
    first.close()


def test_giving_up_while_bytes_come(hive, url):
    first = begin(hive, url, 0, 2 * MIB)
    with hive.client() as client:
        time.sleep(0.2)  # the first bytes are on their way
        assert client.delete(url, headers=TUS).status_code == 204
        assert client.head(url, headers=TUS).status_code == 404
        assert client.get("/api/filesystem/spaces").json()["spaces"][0]["used_bytes"] == 0
    first.close()
    assert fsck(hive)["clean"]
