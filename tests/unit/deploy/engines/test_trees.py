"""A tree's ref comes from its content alone, and its archive is the same each time."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from skep.base.errors import BadInput, Integrity
from skep.deploy.engines.trees import archive_ref, pack_tree, tree_ref


def make(top: Path) -> Path:
    (top / "bin").mkdir(parents=True)
    (top / "bin" / "run").write_text("#!/bin/sh\n")
    (top / "bin" / "run").chmod(0o755)
    (top / "data é").write_bytes(bytes(3_000_000))
    (top / "empty").mkdir()
    (top / "bin" / "up").symlink_to("../data é")
    (top / ".git").mkdir()
    (top / ".git" / "HEAD").write_text("left out")
    return top


def test_times_owners_and_git_do_not_count(tmp_path: Path) -> None:
    one, two = make(tmp_path / "1"), make(tmp_path / "2")
    os.utime(two / "bin" / "run", (1, 1))
    (two / "data é").chmod(0o600)
    (two / ".git" / "other").write_text("x")
    assert tree_ref(one) == tree_ref(two)
    archives = [tmp_path / "1.tar", tmp_path / "2.tar"]
    sizes = [pack_tree(tree, archive) for tree, archive in zip((one, two), archives, strict=True)]
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert sizes[0] == archives[0].stat().st_size


def test_an_unpacked_archive_has_the_same_ref(tmp_path: Path) -> None:
    tree = make(tmp_path / "1")
    pack_tree(tree, tmp_path / "tar")
    with tarfile.open(tmp_path / "tar") as tar:
        tar.extractall(tmp_path / "2", filter="tar")
    assert tree_ref(tmp_path / "2") == tree_ref(tree)


@pytest.mark.parametrize("change", ["content", "mode", "name", "link", "kind", "new"])
def test_everything_else_counts(tmp_path: Path, change: str) -> None:
    tree = make(tmp_path / "1")
    before = tree_ref(tree)
    match change:
        case "content":
            (tree / "bin" / "run").write_text("#!/bin/ls\n")
        case "mode":
            (tree / "bin" / "run").chmod(0o644)
        case "name":
            (tree / "bin" / "run").rename(tree / "bin" / "ran")
        case "link":
            (tree / "bin" / "up").unlink()
            (tree / "bin" / "up").symlink_to("run")
        case "kind":
            (tree / "empty").rmdir()
            (tree / "empty").write_text("")
        case "new":
            (tree / "empty" / "file").write_text("")
    assert tree_ref(tree) != before


def test_an_archive_says_what_it_holds_and_a_cut_one_is_none(tmp_path: Path) -> None:
    tree = make(tmp_path / "1")
    (tree / "bin" / "out").symlink_to("/usr/bin/env")
    archive = tmp_path / "tar"
    pack_tree(tree, archive)
    assert archive_ref(archive) == tree_ref(tree)
    archive.write_bytes(archive.read_bytes()[:2_000_000])
    with pytest.raises(Integrity):
        archive_ref(archive)


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    tree = make(tmp_path / "1")
    os.mkfifo(tree / "pipe")
    with pytest.raises(BadInput, match="neither file, directory nor link"):
        pack_tree(tree, tmp_path / "tar")
