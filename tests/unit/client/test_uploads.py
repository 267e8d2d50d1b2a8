"""Sending trees to a server that takes what a hive would, and fails as one might."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from skep.base.errors import InvalidName, LocalFailure, QuotaExceeded
from skep.client.calls import Caller
from skep.client.files import Files
from skep.client.journal import Journal
from skep.client.retries import RetryPolicy
from skep.client.scan import LocalDirectory, LocalFile, scan
from skep.client.transport import Transport, parse_address
from skep.client.trees import plan_upload
from skep.client.uploads import BATCH_ITEMS, SMALL_BYTES, Upload, run_upload
from skep.client.work import Tally

from .serving import Peer, respond, serving

QUICK = RetryPolicy(attempts=3, first_pause_s=0, pause_max_s=0)


@dataclass
class Taker:
    """Keeps what is sent. ``refuse`` may give the problem that a path meets."""

    files: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    refuse: Callable[[str], tuple[int, str] | None] = lambda path: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = handler.taken  # type: ignore[attr-defined]
        with self.lock:
            self.calls.append(f"{handler.command} {parts.path}")
            if parts.path.endswith("/batch"):
                answer: object = {"results": [self._take(*item) for item in read_batch(body)]}
            elif parts.path.endswith("/mkdir"):
                self.directories.append(json.loads(body)["path"])
                answer = as_node(self.directories[-1])
            else:
                answer = self._take(query["path"], body, int(query["modified_us"]))
        problem = answer.get("problem") if isinstance(answer, dict) else None
        status = problem["status"] if problem else 200
        text = json.dumps(problem or answer).encode()
        respond(handler, status, text, Content_Type="application/problem+json" if problem else "application/json")

    def _take(self, path: str, body: bytes, modified_us: int) -> dict[str, object]:
        refused = self.refuse(path)
        if refused:
            return {"path": path, "problem": {"status": refused[0], "code": refused[1], "detail": "no"}}
        self.files[path] = (body, modified_us)
        return {"path": path, "status": 201, "node": as_node(path)}


def as_node(path: str) -> dict[str, object]:
    return {"id": path, "name": path.rpartition("/")[2], "path": path, "kind": "file", "etag": f"etag of {path}"}


def read_batch(body: bytes) -> list[tuple[str, bytes, int]]:
    assert body[:4] == b"SKB1"
    position, items = 4, []
    while size := struct.unpack_from(">I", body, position)[0]:
        head = json.loads(body[position + 4 : position + 4 + size])
        position += 4 + size
        items.append((head["path"], body[position : position + head["size_bytes"]], head["modified_us"]))
        position += head["size_bytes"]
    assert position + 4 == len(body)
    return items


def send(peer: Peer, source: Path, journal: Journal | None = None) -> Tally:
    caller = Caller(Transport(parse_address(peer.url)), None, policy=QUICK)
    entries = [entry for entry in scan(str(source), "/t") if isinstance(entry, LocalFile | LocalDirectory)]
    plan = plan_upload(entries, {}, journal.sent if journal else {})
    return run_upload(Upload(Files(caller), journal=journal), plan)


def test_small_files_go_in_batches_large_ones_alone_empty_directories_too(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(SMALL_BYTES + 1))
    (tmp_path / "edge").write_bytes(os.urandom(SMALL_BYTES))
    (tmp_path / "none").touch()
    (tmp_path / "dir").mkdir()
    for path in tmp_path.iterdir():
        os.utime(path, ns=(0, 1_500_000_000_123_456_789))
    taker = Taker()
    with serving(taker.answer) as peer:
        tally = send(peer, tmp_path)
    assert {path: body for path, (body, _) in taker.files.items()} == {
        f"/t/{path.name}": path.read_bytes() for path in tmp_path.iterdir() if path.is_file()
    }
    assert {modified_us for _, modified_us in taker.files.values()} == {1_500_000_000_123_456}
    assert taker.directories == ["/t/dir"]
    assert sorted(taker.calls) == [
        "POST /api/filesystem/batch",
        "POST /api/filesystem/mkdir",
        "PUT /api/filesystem/data",
    ]
    assert (tally.files, tally.failures) == (3, [])
    assert tally.size_bytes == 2 * SMALL_BYTES + 1


def test_many_files_go_in_several_batches(tmp_path: Path) -> None:
    for number in range(BATCH_ITEMS + 1):
        (tmp_path / str(number)).touch()
    taker = Taker()
    with serving(taker.answer) as peer:
        tally = send(peer, tmp_path)
    assert tally.files == len(taker.files) == BATCH_ITEMS + 1
    assert len(taker.calls) == 2


def test_one_refused_file_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a", "bad", "c"):
        (tmp_path / name).write_bytes(b"x")
    taker = Taker(refuse=lambda path: (400, "invalid-name") if path.endswith("bad") else None)
    with serving(taker.answer) as peer:
        tally = send(peer, tmp_path)
    assert sorted(taker.files) == ["/t/a", "/t/c"]
    assert [type(failure.error) for failure in tally.failures] == [InvalidName]


def test_no_room_ends_everything(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).write_bytes(bytes(SMALL_BYTES + 1))
    taker = Taker(refuse=lambda path: (507, "quota-exceeded"))
    with serving(taker.answer) as peer, pytest.raises(QuotaExceeded):
        send(peer, tmp_path)
    assert len(taker.calls) < 20


def test_a_passing_failure_is_tried_again_and_counted_once(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(SMALL_BYTES + 1))
    failures = iter([(503, "unavailable"), (503, "unavailable")])
    taker = Taker(refuse=lambda path: next(failures, None))
    with serving(taker.answer) as peer:
        tally = send(peer, tmp_path)
    assert (tally.files, tally.size_bytes, len(taker.calls)) == (1, SMALL_BYTES + 1, 3)


def test_a_file_that_changes_while_it_is_read_is_not_counted_as_sent(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(SMALL_BYTES + 1))
    (tmp_path / "small").write_bytes(b"1")
    journal = Journal(tmp_path / "journal", "x")
    entries = [LocalFile(f"/t/{name}", str(tmp_path / name), 1, 1) for name in ("big", "small")]
    with serving(Taker().answer) as peer:
        upload = Upload(Files(Caller(Transport(parse_address(peer.url)), None, policy=QUICK)), journal=journal)
        tally = run_upload(upload, plan_upload(entries, {}, {}))
    journal.close()
    assert [type(failure.error) for failure in tally.failures] == [LocalFailure, LocalFailure]
    assert Journal(tmp_path / "journal", "x").sent == {}


def test_a_file_that_went_away_is_a_failure_of_its_own(tmp_path: Path) -> None:
    entries = [LocalFile("/t/gone", str(tmp_path / "gone"), 1, 1)]
    with serving(Taker().answer) as peer:
        files = Files(Caller(Transport(parse_address(peer.url)), None))
        tally = run_upload(Upload(files), plan_upload(entries, {}, {}))
    assert [type(failure.error) for failure in tally.failures] == [LocalFailure]


def test_the_journal_has_what_was_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_bytes(b"x")
    (tmp_path / "src/bad").write_bytes(b"x")
    journal = Journal(tmp_path / "journal", "x")
    taker = Taker(refuse=lambda path: (400, "invalid-name") if path.endswith("bad") else None)
    with serving(taker.answer) as peer:
        send(peer, tmp_path / "src", journal)
    journal.close()
    sent = Journal(tmp_path / "journal", "x").sent
    assert {target: line.etag for target, line in sent.items()} == {"/t/a": "etag of /t/a"}
