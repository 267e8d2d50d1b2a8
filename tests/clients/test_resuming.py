"""``skep put`` of large files over a line that breaks, against a real hive."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from skep.base.errors import SkepError
from skep.client.calls import Caller
from skep.client.files import Files
from skep.client.journal import Journal
from skep.client.retries import RetryPolicy
from skep.client.scan import scan
from skep.client.transport import Transport, parse_address
from skep.client.trees import plan_upload
from skep.client.uploads import RESUMABLE_BYTES, Upload, run_upload
from skep.testing.process import made_hive

MIB = 1 << 20
BODY = random.Random(4).randbytes(RESUMABLE_BYTES + 12 * MIB + 77)
PIECE = 64 << 10


class Line:
    """A line to a hive that breaks after so many bytes, as often as it is told to."""

    def __init__(self, url: str, cuts: list[int]) -> None:
        self.cuts = cuts
        self.passed_bytes = 0
        host, _, port = url.removeprefix("http://").partition(":")
        self._hive = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._hive)
                for one, other, counts in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._pass, args=(one, other, counts), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, counts: bool) -> None:
        here = 0
        with contextlib.suppress(OSError):
            while data := one.recv(PIECE):
                if counts:
                    here += len(data)
                    self.passed_bytes += len(data)
                    if self.cuts and here > self.cuts[0]:
                        self.cuts.pop(0)
                        break
                other.sendall(data)
        for side in (one, other):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


class Token:
    def __init__(self, text: str) -> None:
        self._text = text

    def bearer(self) -> str:
        return self._text

    def reject(self, bearer: str) -> None:
        raise AssertionError("the token is good")


class Bar:
    """What a progress bar would show."""

    def __init__(self) -> None:
        self.bytes = 0

    def moved(self, size_bytes: int) -> None:
        self.bytes += size_bytes
        assert self.bytes >= 0

    def finished(self, files: int) -> None: ...


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    made = made_hive(tmp_path_factory.mktemp("resume") / "hive", storage__pack_bytes=str(5 * MIB))
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(BODY)
    (tree / "small").write_bytes(b"small")
    return tree


def put(hive, line: Line, source: Path, target: str, journals: Path, *, attempts: int = 5, bar: Bar | None = None):
    """One run of ``skep put``: its tally."""
    policy = RetryPolicy(attempts=attempts, first_pause_s=0.05)
    files = Files(Caller(Transport(parse_address(line.url)), Token(hive.token), policy=policy))
    journal = Journal(journals, hive.url, target)
    upload = Upload(files, journal=journal, progress=bar, threads=2)
    try:
        return run_upload(upload, plan_upload(list(scan(str(source), target, follow=False)), {}, journal.sent))
    finally:
        journal.close()


def content(hive, path: str) -> bytes:
    with hive.client() as client:
        return client.get("/api/filesystem/data", params={"path": path}).content


def versions(hive, path: str) -> int:
    with hive.client() as client:
        return len(client.get("/api/filesystem/info", params={"path": path}).json()["versions"])


def test_a_line_that_breaks_costs_only_what_was_on_its_way(hive, source, tmp_path):
    line = Line(hive.url, [9 * MIB, 7 * MIB, 3 * MIB])
    bar = Bar()
    tally = put(hive, line, source, "/broken", tmp_path / "journals", bar=bar)
    assert (tally.failures, tally.files) == ([], 2)
    assert line.cuts == []
    assert tally.size_bytes == bar.bytes == len(BODY) + len(b"small")
    assert line.passed_bytes < len(BODY) + 8 * MIB, "what had arrived was sent again"
    assert content(hive, "/broken/large") == BODY
    assert versions(hive, "/broken/large") == 1
    line.close()


def test_another_run_goes_on_where_one_was_given_up(hive, source, tmp_path):
    line = Line(hive.url, [15 * MIB] * 20)
    with pytest.raises(SkepError):
        put(hive, line, source, "/given-up", tmp_path / "journals", attempts=1)
    line.close()
    second = Line(hive.url, [])
    tally = put(hive, second, source, "/given-up", tmp_path / "journals")
    assert tally.failures == []
    assert second.passed_bytes < len(BODY) - 10 * MIB
    assert content(hive, "/given-up/large") == BODY
    second.close()


def test_a_file_that_changed_meanwhile_begins_anew(hive, source, tmp_path):
    line = Line(hive.url, [15 * MIB] * 20)
    with pytest.raises(SkepError):
        put(hive, line, source, "/changed", tmp_path / "journals", attempts=1)
    line.close()
    (source / "large").write_bytes(BODY[::-1])
    os.utime(source / "large", ns=(1, 1))
    second = Line(hive.url, [])
    assert put(hive, second, source, "/changed", tmp_path / "journals").failures == []
    assert content(hive, "/changed/large") == BODY[::-1]
    with hive.client() as client:
        space = client.get("/api/filesystem/spaces").json()["spaces"][0]
    second.close()
    tops = _tops(hive)
    kept = [(f"/{top}/{name}", size) for top in tops for name, size in (("large", len(BODY)), ("small", 5))]
    assert space["used_bytes"] == sum(size * versions(hive, path) for path, size in kept)


def _tops(hive) -> list[str]:
    with hive.client() as client:
        return [node["name"] for node in client.get("/api/filesystem/info").json()["dirs"]]


def test_an_upload_that_is_gone_begins_anew(hive, source, tmp_path):
    line = Line(hive.url, [15 * MIB] * 20)
    with pytest.raises(SkepError):
        put(hive, line, source, "/gone", tmp_path / "journals", attempts=1)
    line.close()
    [journal] = (tmp_path / "journals").glob("*.jsonl")
    [url] = {part for line in journal.read_text().splitlines() for part in line.split('"') if part.startswith("/tus/")}
    with hive.client() as client:
        assert client.delete(url).status_code == 204
    second = Line(hive.url, [])
    assert put(hive, second, source, "/gone", tmp_path / "journals").failures == []
    assert content(hive, "/gone/large") == BODY
    second.close()
