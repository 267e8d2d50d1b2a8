"""What a follower of a path or a node sees."""

from __future__ import annotations

import pytest

from skep.base.ids import new_id
from skep.events import Change
from skep.filesystem.following import Sight, below
from skep.filesystem.spaces import Space

SPACE, FILE = new_id(), new_id()
PLACE = Space(SPACE, "personal", new_id(), "x", new_id(), new_id(), None, 0, 9, 1, 1)


def change(
    path: str, kind: str = "created", *, node: bytes = b"", old: str | None = None, what: str = "file"
) -> Change:
    return Change(SPACE, 1, kind, node or new_id(), what, path, old, None, None, 0, None, 1)


@pytest.mark.parametrize(
    ("path", "top", "inside"),
    [("/a", "/", True), ("/", "/", True), ("/a", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False),
     ("/", "/a", False)],
)  # fmt: skip
def test_below(path, top, inside):
    assert below(path, top) is inside


@pytest.mark.parametrize(
    ("seen", "what"),
    [
        (True, change("/a/b")),
        (True, change("/a/b/c.txt")),
        (True, change("/z", "moved", old="/a/b/c.txt")),
        (True, change("/a/b/new", "moved", old="/z")),
        (True, change("/z", "moved", old="/a", what="directory")),
        (True, change("/a", "trashed", what="directory")),
        (False, change("/a/bc")),
        (False, change("/z/a/b")),
        (False, change("/y", "moved", old="/z")),
    ],
)
def test_a_path_sees_what_is_at_below_and_around_it(seen, what):
    assert (Sight(PLACE, path="/a/b").seen(what) is not None) is seen


def test_the_root_sees_everything():
    assert Sight(PLACE).seen(change("/any", "metadata"))


def test_a_node_is_followed_through_its_moves_and_those_of_directories_above_it():
    sight = Sight(PLACE, path="/a/b/f.txt", node_id=FILE)
    assert sight.seen(change("/a/b/f.txt", "updated", node=FILE))
    assert not sight.seen(change("/a/b/other.txt", "updated"))
    assert not sight.seen(change("/a/b", "metadata", what="directory"))
    assert sight.seen(change("/a/b/g.txt", "moved", node=FILE, old="/a/b/f.txt"))
    assert sight.seen(change("/c", "moved", old="/a", what="directory"))
    assert sight.path == "/c/b/g.txt"
    assert not sight.seen(change("/a", "trashed", what="directory"))
    assert sight.seen(change("/c/b", "trashed", what="directory"))
