"""Paths on the hive as commands take them."""

from __future__ import annotations

import pytest

from skep.base.errors import BadInput, InvalidPath
from skep.cli.places import hive_path, name_of, wants_inside


@pytest.mark.parametrize(
    ("text", "path"), [("/", "/"), ("/a", "/a"), ("/a/", "/a"), ("//a//b/./c/", "/a/b/c"), ("/a b/ü", "/a b/ü")]
)
def test_paths_in_their_plain_form(text: str, path: str) -> None:
    assert hive_path(text) == path


@pytest.mark.parametrize("text", ["", "a", "./a", "~/a", "/a/../b", "/.."])
def test_paths_that_are_none(text: str) -> None:
    with pytest.raises(InvalidPath):
        hive_path(text)


@pytest.mark.parametrize("text", ["/a/", "/", ".", "..", "./", "a/.", "a/.."])
def test_written_as_a_directory_to_put_into(text: str) -> None:
    assert wants_inside(text)


@pytest.mark.parametrize("text", ["/a", "a", "a.", "..a"])
def test_written_as_the_thing_itself(text: str) -> None:
    assert not wants_inside(text)


def test_the_root_has_no_name() -> None:
    assert name_of("/a/b") == "b"
    with pytest.raises(BadInput):
        name_of("/")
