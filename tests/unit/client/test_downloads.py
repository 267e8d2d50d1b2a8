"""Fetching trees from a server that serves what a hive would, and fails as one might."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from skep.base.errors import ChecksumMismatch, LocalFailure, NodeNotFound, PreconditionFailed, Unauthenticated
from skep.client.calls import Caller
from skep.client.downloads import PART_SUFFIX, Download, local_states, part_path, run_download
from skep.client.files import Files
from skep.client.records import Node
from skep.client.retries import RetryPolicy
from skep.client.transport import Transport, parse_address
from skep.client.trees import plan_download
from skep.client.work import Tally

from .serving import Peer, respond, serving

QUICK = RetryPolicy(attempts=3, first_pause_s=0, pause_max_s=0)
CONTENT = bytes(range(256)) * 5000


@dataclass
class Shelf:
    """What the server has, and after how many bytes it breaks each answer off."""

    contents: dict[str, bytes] = field(default_factory=dict)
    breaks_after: list[int] = field(default_factory=list)
    etag: str = "e1"
    ranges: list[str | None] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = self.contents.get(handler.path.rpartition("/")[2])
        if content is None:
            respond(handler, 404, b'{"code": "node-not-found", "detail": "gone"}', Content_Type="application/json")
            return
        if handler.headers["if-match"] not in (None, f'"{self.etag}"'):
            respond(handler, 412, b'{"code": "precondition-failed", "detail": "x"}', Content_Type="application/json")
            return
        wanted = handler.headers["range"]
        self.ranges.append(wanted)
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        body = content[int(match[1]) :] if match else content
        handler.send_response(206 if match else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.breaks_after:
            body = body[: self.breaks_after.pop(0)]
            handler.close_connection = True
        handler.wfile.write(body)


def node(path: str, content: bytes | None = None, **raw: object) -> Node:
    name = path.rpartition("/")[2]
    kind = "directory" if content is None else "file"
    size_bytes = len(content or b"")
    return Node(name, name, path, kind, size_bytes, "e1", 1_600_000_000_000_001, 1, None, raw)  # type: ignore[arg-type]


def fetch(peer: Peer, root: Path, nodes: list[Node], top: str = "/p") -> Tally:
    caller = Caller(Transport(parse_address(peer.url)), None, policy=QUICK)
    download = Download(Files(caller), root, policy=QUICK)
    relatives = [each.path[len(top) + 1 :] for each in nodes]
    return run_download(download, plan_download(top, nodes, local_states(root, relatives)))


def test_a_tree_comes_with_its_times_and_nothing_else(tmp_path: Path) -> None:
    shelf = Shelf({"a": CONTENT, "b": b""})
    nodes = [node("/p"), node("/p/d"), node("/p/empty"), node("/p/a", CONTENT), node("/p/d/b", b"")]
    with serving(shelf.answer) as peer:
        tally = fetch(peer, tmp_path / "to", nodes)
    assert (tally.files, tally.size_bytes, tally.failures) == (2, len(CONTENT), [])
    found = sorted(str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*"))
    assert found == ["a", "d", "d/b", "empty"]
    assert (tmp_path / "to/a").read_bytes() == CONTENT
    assert {path.stat().st_mtime_ns for path in (tmp_path / "to").rglob("*")} == {1_600_000_000_000_001_000}


def test_a_second_run_fetches_nothing(tmp_path: Path) -> None:
    shelf = Shelf({"a": CONTENT})
    nodes = [node("/p"), node("/p/a", CONTENT)]
    with serving(shelf.answer) as peer:
        fetch(peer, tmp_path, nodes)
        tally = fetch(peer, tmp_path, nodes)
    assert (tally.files, tally.unchanged, len(shelf.ranges)) == (0, 1, 1)


def test_a_broken_answer_is_continued_where_it_ended(tmp_path: Path) -> None:
    shelf = Shelf({"a": CONTENT}, breaks_after=[1000, 500_000])
    with serving(shelf.answer) as peer:
        tally = fetch(peer, tmp_path, [node("/p"), node("/p/a", CONTENT)])
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert shelf.ranges == [None, "bytes=1000-", "bytes=501000-"]
    assert tally.size_bytes == len(CONTENT)


def test_a_later_run_goes_on_with_the_part_and_removes_stale_ones(tmp_path: Path) -> None:
    shelf = Shelf({"a": CONTENT})
    part_path(tmp_path / "a", "e1").write_bytes(CONTENT[:700_000])
    part_path(tmp_path / "a", "of an older version").write_bytes(b"old")
    with serving(shelf.answer) as peer:
        fetch(peer, tmp_path, [node("/p"), node("/p/a", CONTENT)])
    assert shelf.ranges == ["bytes=700000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_what_changed_on_the_hive_meanwhile_is_a_failure_and_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with serving(Shelf({"a": CONTENT}, etag="e2").answer) as peer:
        tally = fetch(peer, tmp_path, [node("/p"), node("/p/a", CONTENT)])
    assert [type(failure.error) for failure in tally.failures] == [PreconditionFailed]
    assert (tmp_path / "a").read_bytes() == b"mine"
    assert tally.size_bytes == 0


def test_bytes_with_another_digest_are_thrown_away(tmp_path: Path) -> None:
    right, wrong = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha256(b"").hexdigest()
    nodes = [node("/p"), node("/p/a", CONTENT, sha256=wrong), node("/p/b", CONTENT, sha256=right)]
    with serving(Shelf({"a": CONTENT, "b": CONTENT}).answer) as peer:
        tally = fetch(peer, tmp_path, nodes)
    assert [type(failure.error) for failure in tally.failures] == [ChecksumMismatch]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_one_file_that_is_gone_does_not_stop_the_others(tmp_path: Path) -> None:
    with serving(Shelf({"b": b"b"}).answer) as peer:
        tally = fetch(peer, tmp_path, [node("/p"), node("/p/a", CONTENT), node("/p/b", b"b")])
    assert [type(failure.error) for failure in tally.failures] == [NodeNotFound]
    assert (tmp_path / "b").read_bytes() == b"b"
    assert tally.files == 1


def test_without_access_everything_stops(tmp_path: Path) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        respond(handler, 401, b'{"code": "unauthenticated", "detail": "who?"}', Content_Type="application/json")

    nodes = [node("/p"), *(node(f"/p/{i}", b"x") for i in range(200))]
    with serving(refuse) as peer, pytest.raises(Unauthenticated):
        fetch(peer, tmp_path, nodes)
    assert len(peer.seen) < 50


def test_a_link_below_the_target_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    (tmp_path / "to").mkdir()
    (tmp_path / "to/a").symlink_to(outside)
    (tmp_path / "to/d").symlink_to(tmp_path, target_is_directory=True)
    nodes = [node("/p"), node("/p/d"), node("/p/a", b"new"), node("/p/d/outside", b"new")]
    with serving(Shelf({"a": b"new", "outside": b"new"}).answer) as peer:
        tally = fetch(peer, tmp_path / "to", nodes)
    assert outside.read_bytes() == b"untouched"
    assert (tmp_path / "to/a").read_bytes() == b"new"
    assert not (tmp_path / "to/a").is_symlink()
    assert len(tally.failures) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir(mode=0o500)
    with serving(Shelf({"a": b"x"}).answer) as peer:
        tally = fetch(peer, tmp_path / "to", [node("/p"), node("/p/a", b"x")])
    assert [type(failure.error) for failure in tally.failures] == [LocalFailure]


def test_parts_are_named_by_target_and_content() -> None:
    path = part_path(Path("/x") / ("n" * 255), "etag")
    assert path.parent == Path("/x")
    assert path.name.endswith(PART_SUFFIX)
    assert len(path.name) < 64
    assert path != part_path(Path("/x") / ("n" * 255), "other")
