"""Walking local trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skep.base.errors import BadInput
from skep.client.scan import LocalDirectory, LocalFile, Skipped, scan


def test_a_tree_in_order_with_sizes_and_times(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "deep.txt").write_bytes(b"12345")
    (tmp_path / "a.txt").write_bytes(b"1")
    os.utime(tmp_path / "a.txt", ns=(5, 1_234_567_890))
    found = list(scan(str(tmp_path), "/to"))
    assert found == [
        LocalDirectory("/to", str(tmp_path)),
        LocalFile("/to/a.txt", str(tmp_path / "a.txt"), 1, 1_234_567_890),
        LocalDirectory("/to/b", str(tmp_path / "b")),
        LocalFile("/to/b/deep.txt", str(tmp_path / "b/deep.txt"), 5, (tmp_path / "b/deep.txt").stat().st_mtime_ns),
    ]


def test_into_the_root_of_a_space(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert [found.target for found in scan(str(tmp_path), "/") if not isinstance(found, Skipped)] == ["/", "/x"]


def test_links_are_left_out_with_a_note_and_followed_when_asked(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("real")
    skipped = [found for found in scan(str(tmp_path), "/t") if isinstance(found, Skipped)]
    assert [(Path(s.local).name, s.failed) for s in skipped] == [("link", False)]
    followed = [found for found in scan(str(tmp_path), "/t", follow=True) if isinstance(found, LocalFile)]
    assert [(found.target, found.size_bytes) for found in followed] == [("/t/link", 3), ("/t/real", 3)]


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "up").symlink_to("..")
    found = list(scan(str(tmp_path), "/t", follow=True))
    assert [type(entry).__name__ for entry in found] == ["LocalDirectory", "LocalDirectory", "Skipped"]


def test_a_broken_link_is_a_failure_when_followed(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to("nowhere")
    [skipped] = [found for found in scan(str(tmp_path), "/t", follow=True) if isinstance(found, Skipped)]
    assert skipped.failed


def test_pipes_are_left_out_with_a_note(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    [skipped] = [found for found in scan(str(tmp_path), "/t") if isinstance(found, Skipped)]
    assert "named pipe" in skipped.reason
    assert not skipped.failed


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/bad\xff", os.O_CREAT | os.O_WRONLY))
    [skipped] = [found for found in scan(str(tmp_path), "/t") if isinstance(found, Skipped)]
    assert skipped.failed
    assert "UTF-8" in skipped.reason


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        list(scan(str(tmp_path / "nowhere"), "/t"))
