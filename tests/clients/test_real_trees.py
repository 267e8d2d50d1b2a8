"""Trees that nobody made for a test go in, disks are lost one after another, and `diff -r` finds nothing.

The Python standard library with its compiled files, a git clone with its objects, photos from a real
encoder: small parts of them with every run, all of them with `make test-long`.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from .test_cli import LIBRARY, Program, free_port

ROOT = Path(__file__).resolve().parents[2]
SMALL_PARTS = ("json", "email", "encodings", "lib-dynload")
LIMIT_S = 900


def test_a_part_of_each_tree_outlives_two_disks(tmp_path: Path) -> None:
    trees = tmp_path / "trees"
    for part in SMALL_PARTS:
        copy_library(LIBRARY / part, trees / "library" / part)
    clone(trees / "clone", depth=5)
    photos(trees / "photos", count=6, width=900)
    lose_two_disks(tmp_path, trees)


@pytest.mark.long
def test_whole_trees_outlive_two_disks(tmp_path: Path) -> None:
    trees = tmp_path / "trees"
    copy_library(LIBRARY, trees / "library")
    clone(trees / "clone", depth=None)
    photos(trees / "photos", count=40, width=4000)
    lose_two_disks(tmp_path, trees)


def lose_two_disks(home: Path, trees: Path) -> None:
    """Over ec(2,1) on three disks: lose one, compare; repair onto a new one, lose another, compare."""
    skep = Program(home, free_port(), {"SKEP_WORKERS_REPAIR_PERIOD_S": "1h"})
    try:
        made = skep.json("up")
        skep("login", skep.url, "-u", "admin", "--password-stdin", typed=made["password"] + "\n")
        for name in ("disk2", "disk3"):
            add_disk(skep, name)
        skep("scheme", "set", "ec(2,1)")
        count = sum(path.is_file() for path in trees.rglob("*"))
        put = skep.json("put", trees, "/trees")
        assert (put["files"], put["failed"], put["skipped"]) == (count, [], [])

        for left in (home / "disk2").iterdir():  # the disk is emptied under the running hive
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        compare(skep, trees, "first")

        skep("store", "lost", "disk2", "--yes")
        add_disk(skep, "disk4")
        assert skep.json("repair")["left"] == 0
        assert any((home / "disk4").rglob("*.?")), "the repair has put nothing on the new disk"

        skep("down")  # and this one is gone before the hive starts
        (home / "disk3").rename(home / "drawer")
        skep("up")
        compare(skep, trees, "second")
        skep("store", "lost", "disk3", "--yes")
        add_disk(skep, "disk5")
        assert skep.json("repair")["left"] == 0
        assert skep.json("fsck", "--read-data")["clean"]
    finally:
        skep("down")


def add_disk(skep: Program, name: str) -> None:
    (skep.home / name).mkdir()
    skep("store", "add", name, f"fs://{skep.home / name}", "--zone", name)


def compare(skep: Program, trees: Path, name: str) -> None:
    """Fetch the tree; it is the same to the last byte, empty directories and all, and git finds it whole."""
    copy = skep.home / name
    got = skep.json("get", "/trees", copy)
    assert got["failed"] == []
    told = subprocess.run(["diff", "-r", trees, copy], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    git("-C", copy / "clone", "fsck", "--full", "--strict")
    shutil.rmtree(copy)


def copy_library(source: Path, target: Path) -> None:
    """The library as a user's machine has it, compiled; without what was installed beside it, and without links."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("site-packages", "dist-packages"))
    for path in list(target.rglob("*")):
        if path.is_symlink():
            path.unlink()
    compiler = [sys.executable, "-W", "ignore", "-m", "compileall", "-q", target]
    subprocess.run(compiler, capture_output=True, timeout=LIMIT_S, check=False)  # some of its tests are no Python


def clone(target: Path, *, depth: int | None) -> None:
    """A clone of this repository; where the tests came without one, its files in a new repository."""
    if (ROOT / ".git").exists():
        limit = [] if depth is None else ["--depth", str(depth)]
        git("clone", "--quiet", *limit, f"file://{ROOT}", target)
        return
    shutil.copytree(ROOT / "src", target)
    git("init", "--quiet", target)
    git("-C", target, "add", ".")
    git("-C", target, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "all")


def git(*arguments: str | Path) -> None:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr


def photos(target: Path, *, count: int, width: int) -> None:
    """Pictures as a camera's encoder leaves them: smooth and grainy parts, several qualities, a thumbnail each."""
    target.mkdir(parents=True)
    for number, image in enumerate(_scenes(count, width)):
        image.save(target / f"IMG_{number:04}.JPG", quality=(75, 85, 95)[number % 3], progressive=number % 2 == 1)
        image.thumbnail((160, 120))
        image.save(target / f"IMG_{number:04}.thumbnail.png")


def _scenes(count: int, width: int) -> Iterator[Image.Image]:
    height = width * 3 // 4
    chance = random.Random(7)
    for _ in range(count):
        sky = Image.linear_gradient("L").resize((width, height))
        sun = Image.radial_gradient("L").rotate(chance.randrange(360)).resize((width, height))
        grain = Image.effect_noise((width, height), chance.randrange(10, 60))
        yield Image.merge("RGB", (sky, sun, grain))
